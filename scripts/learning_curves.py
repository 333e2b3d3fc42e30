r"""Collect the evaluations of several runs in one csv and draw their learning curves, with reference curves if given.

    python scripts/learning_curves.py runs/*/HalfCheetah-v5/seed* --out docs/results/half_cheetah \
        --reference configs/compare/mujoco_v5_returns.csv

Writes ``<out>.csv`` (algorithm, env, seed and the evaluation columns of every run) and ``<out>.png`` (one line per
seed, the mean over seeds in bold), and prints the last evaluation of each run.
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import yaml
from matplotlib.figure import Figure

from lightning_maxent.cli.command import one_sentence_errors
from lightning_maxent.comparison.pictures import draw_reference
from lightning_maxent.comparison.reference import Reference, read_reference
from lightning_maxent.comparison.results import at_shared_steps, write_table
from lightning_maxent.errors import MaxEntError
from lightning_maxent.metrics.metrics_csv import read_metrics

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
    return [
        about | {"env_steps": row["env_steps"]} | {name: row.get(f"eval/{name}", "") for name in COLUMNS}
        for row in read_metrics(run / "metrics.csv")[1]
        if row["eval/return_mean"]
    ]


def draw(rows: list[dict[str, str]], reference: list[Reference], picture: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    by_algorithm: dict[str, dict[int, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_algorithm[row["algorithm"]][int(row["seed"])].append((int(row["env_steps"]), float(row["return_mean"])))
    for index, (algorithm, seeds) in enumerate(sorted(by_algorithm.items())):
        for points in seeds.values():
            axes.plot(*zip(*points, strict=True), color=f"C{index}", alpha=0.35, linewidth=1)
        shared = at_shared_steps({seed: dict(points) for seed, points in seeds.items()})
        mean = shared.scores.mean(1)
        axes.plot(shared.steps, mean, color=f"C{index}", linewidth=2, label=f"{algorithm}, mean of {len(seeds)} seeds")
    last = max(int(row["env_steps"]) for row in rows)
    known = [each.until(last) for each in reference if each.env_id == rows[0]["env"]]
    draw_reference(axes, [each for each in known if each.points])
    axes.set(title=rows[0]["env"], xlabel="environment steps", ylabel="return of deterministic episodes")
    axes.legend()
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--reference", type=Path, help="csv: env, algorithm, env_steps, return_mean, return_std, seeds")
    parser.add_argument("--out", type=Path, required=True, help="path of csv and picture, without the extension")
    args = parser.parse_args()
    reference = read_reference(args.reference) if args.reference else []
    if strange := [run for run in args.runs if not (run / "metrics.csv").is_file()]:
        raise MaxEntError(f"{strange[0]} is not the folder of a run: it has no metrics.csv.")
    args.out.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the work
    runs = [evaluations(run) for run in sorted(args.runs)]
    counts = Counter((rows[0]["algorithm"], rows[0]["seed"]) for rows in runs if rows)
    if twice := [f"{algorithm} with seed {seed}" for (algorithm, seed), count in counts.items() if count > 1]:
        raise MaxEntError(
            f"There are several runs of {' and of '.join(twice)}, which would give one curve: draw each kind of run "
            f"separately, or use lightning-maxent compare."
        )
    rows = [row for run in runs for row in run]
    if len(env_ids := sorted({row["env"] for row in rows})) != 1:
        raise MaxEntError(f"All runs must have the same environment, but these have: {', '.join(env_ids)}.")
    write_table(rows, Path(f"{args.out}.csv"))
    draw(rows, reference, Path(f"{args.out}.png"))
    final = {(row["algorithm"], row["seed"]): row for row in rows}
    for (algorithm, seed), row in final.items():
        print(f"{algorithm} seed {seed}: {float(row['return_mean']):.1f} at {row['env_steps']} environment steps")


if __name__ == "__main__":
    with one_sentence_errors(Path(__file__).name):
        main()
