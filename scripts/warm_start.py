r"""Compare how fast soft Q-learning and DDPG adapt when three of the four goals of the multi-goal world are removed.

    python scripts/warm_start.py --out docs/results/warm_start

First both learn the world with four goals, with the same critic, target and number of environment steps, each on its
own data.  Then three goals are removed, and both continue from their weights with new data ("warm").  For comparison,
both also start from random weights ("anew").  The result for every goal and seed is the return of 20 episodes over
environment steps, with deterministic actions (for soft Q-learning, the sample with the highest Q) and with samples of
the policy.  Writes ``<out>.csv`` and ``<out>.png``.  Finished runs in ``--runs_dir`` are not repeated.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from lightning_maxent.backends.run import QUIET
from lightning_maxent.cli.command import fit_once, one_sentence_errors
from lightning_maxent.comparison.results import write_table
from lightning_maxent.errors import check_positive
from lightning_maxent.exact.multi_goal import GOALS
from lightning_maxent.metrics.metrics_csv import read_metrics

CONFIGS = {"soft": "continuous_soft_q/multi_goal", "deterministic": "ddpg/multi_goal"}
TARGET = ["--model.target=lightning_maxent.targets.PeriodicTarget", "--model.target.init_args.every=100"]  # for both
WAYS = {
    "soft, warm": "soft",
    "deterministic, warm": "deterministic",
    "soft, anew": "soft",
    "deterministic, anew": "deterministic",
}


class Job(NamedTuple):
    """One run with four goals if ``goal`` is None, else with this goal only; ``way`` is a key of ``WAYS``."""

    way: str
    goal: int | None
    seed: int
    steps: int
    runs_dir: Path
    arguments: list[str]

    @property
    def name(self) -> str:
        goal = "all" if self.goal is None else f"goal{self.goal}"
        return f"{self.way.replace(', ', '_')}_{goal}_seed{self.seed}"


def carry_out(job: Job) -> Path:
    """Train a run, unless it is already finished, and return its folder."""
    torch.set_num_threads(1)
    flags = [
        f"--config={CONFIGS[WAYS.get(job.way, job.way)]}",
        f"--seed_everything={job.seed}",
        f"--trainer.max_steps={job.steps}",
        *TARGET,
        *QUIET,
    ]
    if job.goal is not None:
        flags += [f"--data.env_kwargs={{goals: [{list(GOALS[job.goal])}]}}", "--data.eval_interval=125"]
        flags += ["--data.learning_starts=64"]
    if job.way.endswith("warm"):
        (trained,) = job.runs_dir.glob(f"*/*/{WAYS[job.way]}_all_seed{job.seed}")
        flags += ["--trainer.callbacks+=lightning_maxent.callbacks.warm_start.WarmStart"]
        flags += [f"--trainer.callbacks.path={trained}/checkpoints/last.ckpt"]
    return fit_once([*flags, *job.arguments], job.runs_dir, job.name)


def evaluations(job: Job, folder: Path) -> list[dict[str, float | str]]:
    """The rows of a run in the csv."""
    rows = [row for row in read_metrics(folder / "metrics.csv")[1] if row["eval/return_mean"]]
    assert job.goal is not None
    return [
        {
            "agent": job.way,
            "goal": str(GOALS[job.goal]),
            "seed": job.seed,
            "env_steps": int(row["env_steps"]),
            "return": float(row["eval/return_mean"]),
            "sampled_return": float(row["eval/sampled_return_mean"]),
        }
        for row in rows
    ]


def draw(rows: list[dict[str, float | str]], picture: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for index, way in enumerate(WAYS):
        of_way = [row for row in rows if row["agent"] == way]
        steps = sorted({int(row["env_steps"]) for row in of_way})
        returns = np.array([[float(row["return"]) for row in of_way if row["env_steps"] == step] for step in steps])
        axis.plot(steps, np.median(returns, 1), color=f"C{index}", label=f"{way}, median")
        axis.fill_between(steps, returns.min(1), returns.max(1), color=f"C{index}", alpha=0.15, linewidth=0)
    axis.set_yscale("symlog", linthresh=100)  # linear between -100 and 100
    axis.set(xlabel="environment steps since three goals were removed", ylabel="return of deterministic episodes")
    axis.legend()
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--before", type=int, default=20_000, help="environment steps with four goals")
    parser.add_argument("--after", type=int, default=1_500, help="environment steps with one goal")
    parser.add_argument("--jobs", type=int, default=2, help="number of parallel runs, one thread each")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs/warm_start"), help="folder of runs")
    parser.add_argument("--out", type=Path, required=True, help="path of csv and picture, without the extension")
    args, further = parser.parse_known_args()  # further options go to every run, such as --data.batch_size 32
    check_positive(**{"--jobs": args.jobs})
    args.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the work
    args.runs_dir = args.runs_dir.absolute()
    first = [Job(way, None, seed, args.before, args.runs_dir, further) for way in CONFIGS for seed in args.seeds]
    then = [
        Job(way, goal, seed, args.after, args.runs_dir, further)
        for way in WAYS
        for goal in range(len(GOALS))
        for seed in args.seeds
    ]
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        bar = tqdm(total=len(first) + len(then), unit="run")
        for _ in pool.map(carry_out, first):
            bar.update()
        rows = []
        for job, folder in zip(then, pool.map(carry_out, then)):
            rows += evaluations(job, folder)
            bar.update()
    write_table(rows, Path(f"{args.out}.csv"))
    draw(rows, Path(f"{args.out}.png"))
    print(f"Drawn: {args.out}.png")


if __name__ == "__main__":
    with one_sentence_errors(Path(__file__).name):
        main()
