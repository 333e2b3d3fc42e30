r"""Train one task at several temperatures and draw return and entropy over alpha.

    python scripts/temperature_sweep.py --config soft_q/frozen_lake --out docs/results/temperature_sweep

If alpha is too low, the policy becomes deterministic before it has found the best actions; if it is too high, the
policy stays random.  Writes ``<out>.csv`` (one row per run) and ``<out>.png``.

For environments with a table of transitions and the state as observation (FrozenLake, Taxi,
``lightning_maxent/RandomMDP-v0``), the exact optimum of every alpha is drawn too: that of the trajectory objective or,
for on-policy algorithms with ``CurrentEntropy``, that of the current-state objective.  It is left out if no optimum was
found or rewards are scaled.  Finished runs in ``--runs_dir`` are not repeated, so an interrupted sweep can be resumed.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import yaml
from matplotlib.figure import Figure
from scipy.special import entr
from tqdm import tqdm

from lightning_maxent.backends.run import QUIET
from lightning_maxent.cli.command import fit_once, one_sentence_errors
from lightning_maxent.comparison.results import write_table
from lightning_maxent.comparison.specification import folder_of
from lightning_maxent.errors import MaxEntError, check_positive
from lightning_maxent.exact import (
    FiniteMDP,
    Solution,
    entropy_regularized_policy,
    expected_return,
    read_mdp,
    soft_value_iteration,
)
from lightning_maxent.metrics.metrics_csv import read_metrics

OPTIMA = {"CurrentEntropy": entropy_regularized_policy, "TrajectoryEntropy": soft_value_iteration}
ALPHAS = (0.0005, 0.002, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0)


class Job(NamedTuple):
    """One run of the sweep."""

    config: str
    alpha: float
    seed: int
    runs_dir: Path
    arguments: list[str]

    @property
    def name(self) -> str:
        return f"alpha{self.alpha:g}_seed{self.seed}"


def train(job: Job) -> dict[str, float | str]:
    """Train a run, unless it is already finished, and read its last evaluation."""
    torch.set_num_threads(1)
    args = [
        f"--config={job.config}",
        f"--seed_everything={job.seed}",
        "--model.temperature=lightning_maxent.temperature.FixedTemperature",
        f"--model.temperature.init_args.alpha={job.alpha}",
        *QUIET,
        *job.arguments,
    ]
    folder = fit_once(args, job.runs_dir, job.name)
    last = [row for row in read_metrics(folder / "metrics.csv")[1] if row["eval/return_mean"]][-1]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    objective = part_name(config["model"]["init_args"].get("entropy_objective", ".TrajectoryEntropy"))
    return {
        "algorithm": config["model"]["class_path"].rpartition(".")[2],
        "objective": objective,
        "env": config["data"]["init_args"]["env_id"],
        "env_kwargs": json.dumps(config["data"]["init_args"]["env_kwargs"] or {}),
        "rewards": part_name(config["data"]["init_args"]["reward_scaling"]),
        "alpha": job.alpha,
        "seed": job.seed,
        "env_steps": int(last["env_steps"]),
        "return": float(last["eval/return_mean"]),
        "sampled_return": float(last["eval/sampled_return_mean"]),
        "entropy": float(last["eval/entropy_mean"]),
        "discount": config["model"]["init_args"]["discount"],
    }


def part_name(part: str | dict[str, Any]) -> str:
    """The name of the class of a part of a configuration."""
    return (part if isinstance(part, str) else part["class_path"]).rpartition(".")[2]


def exact_curve(env: gym.Env, discount: float, objective: str, alphas: Iterable[float]) -> np.ndarray | None:
    """``[alpha, (return, entropy)]`` of the optimal policy, as evaluations measure them.

    These are the undiscounted return up to the time limit, and the entropy per step.  The result is None if there is no
    solver for the objective, the environment has no table, or its observation is not the state.
    """
    if objective not in OPTIMA or not (
        hasattr(env.unwrapped, "P") and isinstance(env.observation_space, gym.spaces.Discrete) and env.spec
    ):
        return None
    mdp, horizon = read_mdp(env, discount), env.spec.max_episode_steps
    best = OPTIMA[objective]
    return np.array([_return_and_entropy(mdp, best, alpha, horizon) for alpha in alphas])


def _return_and_entropy(
    mdp: FiniteMDP, best: Callable[[FiniteMDP, float], Solution], alpha: float, horizon: int | None
) -> tuple[float, float]:
    try:
        policy = best(mdp, alpha).policy
    except MaxEntError:
        return np.nan, np.nan

    def per_episode(reward: np.ndarray) -> float:
        world = FiniteMDP(mdp.transition, reward, mdp.discount, mdp.terminal, mdp.start)
        return expected_return(world, policy, horizon, discount=1.0)

    entropy = np.repeat(entr(policy).sum(-1, keepdims=True), mdp.actions, axis=1)
    return per_episode(mdp.reward), per_episode(entropy) / per_episode(np.ones_like(mdp.reward))


def draw(rows: list[dict[str, float | str]], picture: Path) -> None:
    alphas = np.array(sorted({float(row["alpha"]) for row in rows}))
    exact = None
    if rows[0]["rewards"] == "RawRewards":
        with closing(gym.make(str(rows[0]["env"]), **json.loads(str(rows[0]["env_kwargs"])))) as env:
            exact = exact_curve(env, float(rows[0]["discount"]), str(rows[0]["objective"]), alphas)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots(2, sharex=True)
    for index, (axis, name, label) in enumerate(
        zip(axes, ("sampled_return", "entropy"), ("return of the stochastic policy", "entropy (nats)"), strict=True)
    ):
        points = [[float(row[name]) for row in rows if row["alpha"] == alpha] for alpha in alphas]
        for alpha, values in zip(alphas, points, strict=True):
            axis.plot([alpha] * len(values), values, "o", color=f"C{index}", alpha=0.5)
        axis.plot(alphas, [np.mean(values) for values in points], color=f"C{index}", label="learned, mean of the seeds")
        if exact is not None:
            axis.plot(alphas, exact[:, index], "k--", label="exact optimum")
        axis.set(ylabel=label, xscale="log")
        axis.legend()
    axes[0].set_title(f"{rows[0]['algorithm']} on {rows[0]['env']}, {rows[0]['env_steps']:,} environment steps")
    axes[1].set_xlabel("temperature alpha (reward per nat)")
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="soft_q/frozen_lake", help="a configuration, built in or a path")
    parser.add_argument("--alphas", type=float, nargs="+", default=ALPHAS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="number of parallel runs, one thread each")
    parser.add_argument("--runs_dir", type=Path, help="folder of runs; default: runs/temperature_sweep/<configuration>")
    parser.add_argument("--out", type=Path, required=True, help="path of csv and picture, without the extension")
    args, further = parser.parse_known_args()  # further options go to every run, such as --trainer.max_steps 5000
    check_positive(**{"--jobs": args.jobs})
    args.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the work
    runs_dir = args.runs_dir or Path("runs/temperature_sweep") / folder_of(args.config)
    jobs = [Job(args.config, alpha, seed, runs_dir, further) for alpha in args.alphas for seed in args.seeds]
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(tqdm(pool.map(train, jobs), total=len(jobs), unit="run"))
    write_table(rows, Path(f"{args.out}.csv"))
    draw(rows, Path(f"{args.out}.png"))
    print(f"Drawn: {args.out}.png")


if __name__ == "__main__":
    with one_sentence_errors(Path(__file__).name):
        main()
