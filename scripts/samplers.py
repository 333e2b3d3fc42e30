r"""Measure how well each policy samples a known density in 1 to 8 dimensions, and the time of an update.

    python scripts/samplers.py --out docs/results/samplers

The problem has one step, and ``exp(Q)/Z`` is a mixture of four Gaussians truncated to the box, with equal or unequal
weights, from which exact samples can be drawn.  Every policy is trained on the exact Q with the same number of updates.
Two numbers compare 4,000 of its samples with exact samples: the energy distance (0 for equal distributions;
``baseline`` is the distance of two exact sets) and the largest error of a mode's share.  Writes ``<out>.csv`` and
``<out>.png``.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist
from scipy.stats import truncnorm
from torch import Tensor
from tqdm import tqdm

from lightning_maxent.cli.command import one_sentence_errors
from lightning_maxent.comparison.results import write_table
from lightning_maxent.errors import check_positive
from lightning_maxent.networks import MLP
from lightning_maxent.policies.flow import FlowPolicy
from lightning_maxent.policies.mixture import MixtureOfGaussians
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.policies.stein_sampler import SteinSampler
from lightning_maxent.policy_updates import DivergenceUpdate, SteinUpdate

SPREAD, SAMPLES, STATES = 0.25, 4000, 8
LOWEST = 1e-4  # lower end of the axis of the picture
WEIGHTS = {"equal": (0.25, 0.25, 0.25, 0.25), "unequal": (0.4, 0.3, 0.2, 0.1)}
NETWORK = partial(MLP, hidden_dims=(128, 128))
WAYS: dict[str, tuple[Any, DivergenceUpdate | SteinUpdate]] = {
    "Stein sampler, 8 particles": (partial(SteinSampler, network=NETWORK), SteinUpdate(8)),
    "Stein sampler, 32 particles": (partial(SteinSampler, network=NETWORK), SteinUpdate(32)),
    "Stein sampler, 128 particles": (partial(SteinSampler, network=NETWORK), SteinUpdate(128)),
    "flow, 16 samples": (partial(FlowPolicy, transforms=2, hidden_dims=(64, 64)), DivergenceUpdate(16)),
    "mixture of 4, 16 samples": (partial(MixtureOfGaussians, network=NETWORK), DivergenceUpdate(16)),
    "squashed Gaussian, 16 samples": (partial(SquashedGaussian, network=NETWORK), DivergenceUpdate(16)),
}


class World:
    """Q and exact samples of a mixture of four Gaussians, truncated to the box."""

    def __init__(self, dim: int, weights: tuple[float, ...]):
        self.weights = np.array(weights)
        if dim == 1:
            self.centers = np.array([[-0.75], [-0.25], [0.25], [0.75]])
        else:
            signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
            self.centers = 0.5 * np.tile(signs, (1, (dim + 1) // 2))[:, :dim]
        self.spread = SPREAD / 2 if dim == 1 else SPREAD

    def q(self, obs: Tensor, action: Tensor) -> Tensor:
        apart = (action.unsqueeze(-2) - torch.as_tensor(self.centers, dtype=torch.float32)) / self.spread
        return (-0.5 * apart.square().sum(-1) + torch.as_tensor(self.weights).float().log()).logsumexp(-1)

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        low, high = (-1 - self.centers) / self.spread, (1 - self.centers) / self.spread
        inside = _normal_mass(low, high).prod(-1) * self.weights
        component = rng.choice(len(inside), count, p=inside / inside.sum())
        z = truncnorm.rvs(low[component], high[component], random_state=rng)
        return self.centers[component] + self.spread * np.asarray(z)

    def shares(self, samples: np.ndarray) -> np.ndarray:
        """Fractions of the samples that are nearest to each center."""
        return np.bincount(cdist(samples, self.centers).argmin(1), minlength=4) / len(samples)


def _normal_mass(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    mass = torch.special.ndtr(torch.as_tensor(high)) - torch.special.ndtr(torch.as_tensor(low))
    return mass.numpy()


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """``2 E||X - Y|| - E||X - X'|| - E||Y - Y'||``, without pairs of a sample with itself."""
    count = len(x)
    own = (cdist(x, x).sum() + cdist(y, y).sum()) / (count * (count - 1))
    return float(2 * cdist(x, y).mean() - own)


def fit(world: World, dim: int, way: str, updates: int, seed: int) -> dict[str, Any]:
    """Train one policy and compare its samples with exact ones."""
    torch.manual_seed(seed)
    build, update = WAYS[way]
    policy, obs = build(1, dim), torch.zeros(STATES, 1)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    began = time.perf_counter()
    for _ in range(updates):
        optimizer.zero_grad()
        update.loss(policy, world.q, obs, torch.tensor(1.0)).mean().backward()
        optimizer.step()
        schedule.step()
    took = (time.perf_counter() - began) / updates
    with torch.no_grad():
        drawn = policy.unsquashed(obs[:1], SAMPLES)[0].tanh().double().numpy()
    rng = np.random.default_rng(seed)
    exact, other = world.sample(SAMPLES, rng), world.sample(SAMPLES, rng)
    return {
        "energy_distance": energy_distance(drawn, exact),
        "baseline": energy_distance(other, exact),
        "share_error": float(np.abs(world.shares(drawn) - world.shares(exact)).max()),
        "milliseconds_per_update": 1000 * took,
    }


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    figure, dims = Figure(figsize=(10, 5), layout="constrained"), sorted({row["dim"] for row in rows})
    for axis, modes in zip(figure.subplots(1, 2, sharey=True), WEIGHTS, strict=True):
        for way in WAYS:
            of_way = [row for row in rows if row["modes"] == modes and row["policy"] == way]
            mean = [np.mean([row["energy_distance"] for row in of_way if row["dim"] == dim]) for dim in dims]
            axis.plot(dims, np.maximum(mean, LOWEST), marker="o", label=way)
        chance = [max(abs(row["baseline"]) for row in rows if row["dim"] == dim) for dim in dims]
        axis.fill_between(
            dims, LOWEST, chance, color="black", alpha=0.15, label="largest distance of two sets of exact samples"
        )
        axis.set(title=f"four {modes} modes", xlabel="dimensions of the action", xscale="log", yscale="log")
        axis.set_xticks(dims, [str(dim) for dim in dims])
        axis.minorticks_off()
    figure.axes[0].set_ylabel("energy distance to the exact samples")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=2000, help="number of updates, of 8 states each")
    parser.add_argument("--out", type=Path, required=True, help="path of csv and picture, without the extension")
    args = parser.parse_args()
    check_positive(**{"--updates": args.updates})
    args.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the work
    jobs = [(m, dim, way, seed) for m in WEIGHTS for dim in args.dims for way in WAYS for seed in args.seeds]
    rows = []
    for modes, dim, way, seed in tqdm(jobs, unit="policy"):
        found = fit(World(dim, WEIGHTS[modes]), dim, way, args.updates, seed)
        told = {"modes": modes, "dim": dim, "policy": way, "particles": WAYS[way][1].count, "seed": seed}
        rows.append(told | {"updates": args.updates} | found)
    write_table(rows, Path(f"{args.out}.csv"))
    draw(rows, Path(f"{args.out}.png"))
    print(f"Drawn: {args.out}.png")


if __name__ == "__main__":
    with one_sentence_errors(Path(__file__).name):
        main()
