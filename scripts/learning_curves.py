r"""Gather the evaluations of several runs into one csv and draw their curves, beside another library's if given.

    python scripts/learning_curves.py runs/*/HalfCheetah-v5/seed* --out docs/results/half_cheetah \
        --reference docs/results/reference_sac.csv

Writes ``<out>.csv`` (algorithm, env, seed, and the evaluation columns of every run) and ``<out>.png`` (a line per seed,
the mean over seeds in bold), and prints the last evaluation of each run.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from lightning_maxent.comparison.results import write_table

COLUMNS = (
    "return_mean",
    "return_std",
    "length_mean",
    "sampled_return_mean",
    "soft_return_mean",
    "entropy_mean",
    "q_mean",
    "q_bias_mean",
)


def evaluations(run: Path) -> list[dict[str, str]]:
    config = yaml.safe_load((run / "config.yaml").read_text())
    about = {
        "algorithm": config["model"]["class_path"].rpartition(".")[2],
        "env": config["data"]["init_args"]["env_id"],
        "seed": config["seed_everything"],
    }
    with (run / "metrics.csv").open() as file:
        return [
            about | {"env_steps": row["env_steps"]} | {name: row.get(f"eval/{name}", "") for name in COLUMNS}
            for row in csv.DictReader(file)
            if row["eval/return_mean"]
        ]


def draw(rows: list[dict[str, str]], reference: list[dict[str, str]], picture: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    by_algorithm: dict[str, dict[int, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_algorithm[row["algorithm"]][int(row["seed"])].append((int(row["env_steps"]), float(row["return_mean"])))
    for index, (algorithm, seeds) in enumerate(sorted(by_algorithm.items())):
        for points in seeds.values():
            axes.plot(*zip(*points, strict=True), color=f"C{index}", alpha=0.35, linewidth=1)
        length = min(map(len, seeds.values()))
        mean = np.mean([points[:length] for points in seeds.values()], axis=0)
        axes.plot(*mean.T, color=f"C{index}", linewidth=2, label=f"{algorithm}, mean of {len(seeds)} seeds")
    last = max(int(row["env_steps"]) for row in rows)
    known = [row for row in reference if row["env"] == rows[0]["env"] and int(row["env_steps"]) <= last]
    if known:
        axes.errorbar(
            [int(row["env_steps"]) for row in known],
            [float(row["return_mean"]) for row in known],
            [float(row["return_std"]) for row in known],
            color="black",
            marker="o",
            capsize=4,
            linestyle="--",
            label=f"another library's SAC, mean ± deviation of {known[0]['seeds']} seeds",
        )
    axes.set(title=rows[0]["env"], xlabel="environment steps", ylabel="return of deterministic episodes")
    axes.legend()
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--reference", type=Path, help="csv: env, algorithm, env_steps, return_mean, return_std, seeds")
    parser.add_argument("--out", type=Path, required=True, help="path of csv and picture, without ending")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)  # now, rather than after all the work
    rows = [row for run in sorted(args.runs) for row in evaluations(run)]
    write_table(rows, Path(f"{args.out}.csv"))
    reference = list(csv.DictReader(args.reference.open())) if args.reference else []
    draw(rows, reference, Path(f"{args.out}.png"))
    final = {(row["algorithm"], row["seed"]): row for row in rows}
    for (algorithm, seed), row in final.items():
        print(f"{algorithm} seed {seed}: {float(row['return_mean']):.1f} at {row['env_steps']} environment steps")


if __name__ == "__main__":
    main()
