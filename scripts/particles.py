r"""Measure the error of the soft value from n particles, and the time of an update with them.

    python scripts/particles.py --out docs/results/particles

In three states of the multi-goal world, with the exact Q: the bias and standard deviation of ``V`` from n particles.
Particles are drawn uniformly, or from a mixture of Gaussians that was fitted to ``exp(Q/alpha)/Z`` before.  Also the
time of one update of ``ContinuousSoftQLearning`` with as many particles.  In training, the biases of all later states
add up in a learned value.  Writes ``<out>.csv`` and ``<out>.png``.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from lightning_maxent import (
    AbstractParticles,
    BoxActions,
    ContinuousSoftQLearning,
    DivergenceUpdate,
    MixtureOfGaussians,
    PolicyParticles,
    Transition,
    UniformParticles,
)
from lightning_maxent.cli.command import one_sentence_errors
from lightning_maxent.comparison.results import write_table
from lightning_maxent.critics.ensemble import EnsembleCritic
from lightning_maxent.exact import MultiGoalSolution, solve_multi_goal
from lightning_maxent.networks import MLP

PROBES = ((-2.5, 0.0), (0.0, 0.0), (2.5, 2.5))
COUNTS = (2, 4, 8, 16, 32, 64, 128)
NETWORK = partial(MLP, hidden_dims=(128, 128))
PROPOSALS: dict[str, Callable[[int], AbstractParticles]] = {"uniform": UniformParticles, "policy": PolicyParticles}
BATCH = 64


def q_at(solution: MultiGoalSolution, probe: tuple[float, float]) -> Callable[[Tensor, Tensor], Tensor]:
    """The exact Q of one state; its gradient in the action is computed by finite differences."""

    class Q(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, action: Tensor) -> Tensor:
            points, states = action.detach().double().numpy(), np.tile(probe, (len(action), 1))
            ends = [(points + np.outer([1e-3], axis), points - np.outer([1e-3], axis)) for axis in np.eye(2)]
            slopes = [(solution.q_value(states, a) - solution.q_value(states, b)) / 2e-3 for a, b in ends]
            ctx.save_for_backward(torch.tensor(np.stack(slopes, -1), dtype=torch.float32))
            return torch.tensor(solution.q_value(states, points), dtype=torch.float32)

        @staticmethod
        def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
            return grad_outputs[0].unsqueeze(-1) * ctx.saved_tensors[0]

    return lambda obs, action: Q.apply(action)


def fitted_policy(q: Callable[[Tensor, Tensor], Tensor], alpha: float, updates: int) -> MixtureOfGaussians:
    """A mixture fitted to ``exp(Q/alpha)/Z`` of one state; it is close but not equal."""
    policy, update = MixtureOfGaussians(1, 2, network=NETWORK), DivergenceUpdate(16)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3, fused=True)
    for _ in range(updates):
        optimizer.zero_grad()
        update.loss(policy, q, torch.zeros(8, 1), torch.tensor(alpha)).mean().backward()
        optimizer.step()
    return policy


@torch.no_grad()
def estimates(
    particles: AbstractParticles, policy: Any, q: Callable[[Tensor, Tensor], Tensor], alpha: Tensor, repeats: int
) -> Tensor:
    """Independent estimates ``[repeat]`` of V in one state, each with fresh particles."""
    action, log_density = particles.draw(policy, torch.zeros(repeats, 1), 2)
    values = q(torch.zeros(0), action.flatten(0, 1)).view(log_density.shape)
    log_weights, log_prob = particles.weigh(values, log_density, alpha)
    return (log_weights.exp() * (values - alpha * log_prob)).sum(-1)


def milliseconds(particles: AbstractParticles, updates: int) -> float:
    """The median time of one update of 64 transitions."""
    agent = ContinuousSoftQLearning(
        2,
        BoxActions(2),
        critic=partial(EnsembleCritic, members=1, subset=1, network=NETWORK),
        policy=partial(MixtureOfGaussians, network=NETWORK),
        particles=particles,
        policy_update=DivergenceUpdate(16),
    )
    optimizers = dict(zip(agent.trained_networks(), agent.configure_optimizers()))
    obs, action = torch.randn(BATCH, 2), torch.rand(BATCH, 2) * 2 - 1
    batch = Transition(obs, action, torch.randn(BATCH), obs + action, torch.zeros(BATCH, dtype=torch.bool))
    times = []
    for _ in range(updates):
        began = time.perf_counter()
        agent.update(batch, optimizers)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))


def draw(rows: list[dict[str, Any]], picture: Path) -> None:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for proposal, line in zip(PROPOSALS, ("-", "--"), strict=True):
        for index, probe in enumerate(PROBES):
            found = [row for row in rows if row["proposal"] == proposal and row["state"] == str(probe)]
            label = f"{proposal}, at {probe}"
            left.plot(COUNTS, [row["bias"] for row in found], line, color=f"C{index}", marker="o", label=label)
        found = [row for row in rows if row["proposal"] == proposal and row["state"] == str(PROBES[0])]
        right.plot(COUNTS, [row["milliseconds_per_update"] for row in found], line, color="black", label=proposal)
    left.axhline(0, color="grey", linewidth=0.8)
    left.set(xlabel="particles per next state", ylabel="bias of V", xscale="log")
    right.set(xlabel="particles per next state", ylabel="milliseconds of one update", xscale="log", ylim=(0, None))
    left.legend(fontsize="small")
    right.legend(fontsize="small")
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=20_000, help="number of estimates of V per number of particles")
    parser.add_argument("--updates", type=int, default=1_000, help="number of updates to fit the mixture in each state")
    parser.add_argument("--timed", type=int, default=200, help="number of updates that are timed")
    parser.add_argument("--out", type=Path, required=True, help="path of csv and picture, without the extension")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the work
    torch.manual_seed(args.seed)
    solution = solve_multi_goal()
    alpha = torch.tensor(solution.alpha)
    took = {
        (proposal, count): milliseconds(build(count), args.timed)
        for proposal, build in PROPOSALS.items()
        for count in COUNTS
    }
    rows = []
    for probe in tqdm(PROBES, unit="state"):
        q = q_at(solution, probe)
        policy, exact = fitted_policy(q, solution.alpha, args.updates), float(solution.value(np.array(probe)))
        for (proposal, count), time_taken in took.items():
            value = estimates(PROPOSALS[proposal](count), policy, q, alpha, args.repeats).double()
            rows.append(
                {
                    "state": str(probe),
                    "proposal": proposal,
                    "particles": count,
                    "value": exact,
                    "bias": float(value.mean()) - exact,
                    "standard_error": float(value.std()) / len(value) ** 0.5,
                    "deviation": float(value.std()),
                    "milliseconds_per_update": time_taken,
                }
            )
    write_table(rows, Path(f"{args.out}.csv"))
    draw(rows, Path(f"{args.out}.png"))
    print(f"Drawn: {args.out}.png")


if __name__ == "__main__":
    with one_sentence_errors(Path(__file__).name):
        main()
