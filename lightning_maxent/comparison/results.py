"""Reads the ``metrics.csv`` of all runs into one table and computes the statistics of a comparison."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from lightning_maxent.backends.run import Run
from lightning_maxent.comparison import statistics as st
from lightning_maxent.comparison.specification import Comparison
from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole
from lightning_maxent.metrics.metrics_csv import read_metrics

ALL_TASKS = "all tasks"
MEAN, MEDIAN, IQM, AREA = "mean", "median", "interquartile mean", "area under curve"
IMPROVEMENT, DIFFERENCE = "probability of improvement", "mean difference"  # of pairs of variants

Row = dict[str, Any]


class Statistic(NamedTuple):
    """A statistic with its interval; ``against`` is the other variant if it compares two variants, else empty."""

    task: str
    variant: str
    against: str
    statistic: str
    runs: int
    value: float
    low: float
    high: float


class Curves(NamedTuple):
    """The evaluations of one variant on one task, at the environment steps at which all its runs were evaluated."""

    steps: Float[np.ndarray, " point"]
    scores: Float[np.ndarray, "point run"]
    seeds: tuple[int, ...]  # one per run


def tidy_rows(runs: Sequence[Run], metric: str) -> list[Row]:
    """One row per evaluation of each run.

    ``seconds`` is the time for collecting and learning until then, without evaluations, from the logged speed.  Values
    that were not logged at the step of an evaluation are empty.

    Raises:
        MaxEntError: if no evaluation of any run has the metric.
    """
    rows = [row for run in runs if run.metrics for row in _evaluations(run, run.metrics, metric)]
    if rows and not any(row[metric] for row in rows):
        columns = dict.fromkeys(name for run in runs if run.metrics for name in read_metrics(run.metrics)[0])
        known = ", ".join(name for name in columns if name.startswith("eval/"))
        raise MaxEntError(f"No run has the metric {metric!r}; use --draw_only with --metric and one of {known}.")
    return rows


def _evaluations(run: Run, path: Path, metric: str) -> list[Row]:
    rows, seconds, logged_at = [], 0.0, 0
    for measured in read_metrics(path)[1]:
        steps, speed = int(measured["env_steps"]), measured.get("speed/env_steps_per_s")
        if speed:
            seconds, logged_at = seconds + (steps - logged_at) / float(speed), steps
        if measured.get("eval/return_mean") or measured.get(metric):
            columns = ["gradient_steps", "eval/return_mean", "eval/return_std", "eval/sampled_return_mean", metric]
            about = {"variant": run.variant, "task": run.task, "seed": run.seed, "status": run.status}
            when = {"env_steps": steps, "seconds": round(seconds, 3) if speed else ""}
            rows.append(about | when | {name: measured.get(name, "") for name in columns})
    return rows


def write_table(rows: Sequence[Any], path: Path) -> None:
    """Write rows, which are dicts or named tuples, to a csv file."""
    dicts = [row if isinstance(row, dict) else row._asdict() for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, dicts[0])
    writer.writeheader()
    writer.writerows(dicts)
    write_whole(path, text.getvalue())


def curves_of(rows: Iterable[Row], metric: str) -> dict[str, dict[str, Curves]]:
    """``task -> variant -> Curves``, without failed runs."""
    points: dict[str, dict[str, dict[int, dict[int, float]]]] = {}
    for row in rows:
        if row["status"] != "failed" and row[metric] != "":
            runs = points.setdefault(row["task"], {}).setdefault(row["variant"], {})
            runs.setdefault(int(row["seed"]), {})[int(row["env_steps"])] = float(row[metric])
    return {
        task: {variant: at_shared_steps(runs) for variant, runs in variants.items()}
        for task, variants in points.items()
    }


def at_shared_steps(runs: dict[int, dict[int, float]]) -> Curves:
    """The scores at the environment steps that all runs have; ``runs`` is ``seed -> environment step -> score``."""
    steps = sorted(set.intersection(*map(set, runs.values())))
    scores = np.array([[run[step] for run in runs.values()] for step in steps], dtype=float)
    return Curves(np.array(steps, dtype=float), scores.reshape(len(steps), len(runs)), tuple(runs))


def shared_steps(variants: dict[str, Curves]) -> list[float]:
    """The environment steps at which all runs of a task were evaluated; runs are compared at the last one."""
    steps = [set(curves.steps.tolist()) for curves in variants.values()]
    return sorted(set.intersection(*steps)) if steps else []


class Scores(NamedTuple):
    """Scores ``[run]`` of each variant on one task: at the last shared step, and the area over all shared steps."""

    last: dict[str, Float[np.ndarray, " run"]]
    area: dict[str, Float[np.ndarray, " run"]]
    seeds: dict[str, tuple[int, ...]]

    def paired(self, variant: str, other: str) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
        """The last scores of two variants, seed by seed, for the seeds that both have."""
        shared = [seed for seed in self.seeds[variant] if seed in self.seeds[other]]
        first, second = ([self.seeds[name].index(seed) for seed in shared] for name in (variant, other))
        return self.last[variant][first], self.last[other][second]


def scores_of(variants: dict[str, Curves]) -> Scores | None:
    """The scores by which the runs of one task are compared; None if they share no step."""
    steps = shared_steps(variants)
    if not steps:
        return None
    shared = {name: curves.scores[np.isin(curves.steps, steps)].T for name, curves in variants.items()}
    return Scores(
        {name: scores[:, -1] for name, scores in shared.items()},
        {name: np.asarray(st.area_under_curve(np.array(steps), scores)) for name, scores in shared.items()},
        {name: curves.seeds for name, curves in variants.items()},
    )


def summarize(comparison: Comparison, curves: dict[str, dict[str, Curves]]) -> list[Statistic]:
    """All statistics: of each task, of each pair of variants, and, if there are several tasks, over all tasks.

    Statistics over all tasks use normalized scores, and exist for variants that were evaluated on every task.  Pairs of
    variants use the seeds that both have on a task; without such seeds there is no statistic.
    """
    scores = {task: found for task in comparison.tasks if (found := scores_of(curves.get(task, {}))) is not None}
    result = []
    for task, of_task in scores.items():
        for variant in of_task.last:
            runs, area = [of_task.last[variant]], [of_task.area[variant]]
            result += [
                _estimate(task, variant, IQM, st.interquartile_mean_over_tasks, runs),
                _estimate(task, variant, MEAN, st.mean_over_tasks, runs),
                _estimate(task, variant, MEDIAN, _median_of_runs, runs),
                _estimate(task, variant, AREA, st.mean_over_tasks, area),
            ]
        for variant, other in combinations(of_task.last, 2):
            pair = of_task.paired(variant, other)
            if len(pair[0]):
                x, y = ([scores] for scores in pair)
                result.append(_estimate(task, variant, DIFFERENCE, st.mean_difference, x, y, against=other))
    everywhere = [variant for variant in comparison.variants if all(variant in each.last for each in scores.values())]
    scales = {task: scale_of(comparison, task, each) for task, each in scores.items()}
    for variant in everywhere if len(scores) > 1 else []:
        runs = [st.normalize(each.last[variant], *scales[task]) for task, each in scores.items()]
        area = [st.normalize(each.area[variant], *scales[task]) for task, each in scores.items()]
        result += [
            _estimate(ALL_TASKS, variant, IQM, st.interquartile_mean_over_tasks, runs),
            _estimate(ALL_TASKS, variant, MEAN, st.mean_over_tasks, runs),
            _estimate(ALL_TASKS, variant, MEDIAN, st.median_over_tasks, runs),
            _estimate(ALL_TASKS, variant, AREA, st.mean_over_tasks, area),
        ]
    for variant, other in permutations(everywhere if scores else [], 2):
        x, y = zip(*(each.paired(variant, other) for each in scores.values()))
        if all(len(each) for each in x):
            result.append(
                _estimate(ALL_TASKS, variant, IMPROVEMENT, st.probability_of_improvement, x, y, against=other)
            )
    return result


def scale_of(comparison: Comparison, task: str, scores: Scores) -> tuple[float, float]:
    """The scores that become 0 and 1: those given for the task, else the lowest and highest score of all its runs."""
    everyone = np.concatenate(list(scores.last.values()))
    low, high = comparison.normalization.get(task, (everyone.min(), everyone.max()))
    return float(low), float(high)


def band(scores: Float[np.ndarray, "point run"]) -> Float[np.ndarray, "two point"]:
    """The interval of the interquartile mean at every point of a curve."""
    return st.interval(st.interquartile_mean_over_tasks, [scores], resamples=1_000)


def _median_of_runs(tasks: Sequence[np.ndarray]) -> Any:
    return np.median(tasks[0], axis=-1)


def _estimate(
    task: str, variant: str, name: str, statistic: Callable[..., Any], *scores: Sequence[np.ndarray], against: str = ""
) -> Statistic:
    low, high = map(float, st.interval(statistic, *scores))
    runs = min(len(each) for sample in scores for each in sample)
    return Statistic(task, variant, against, name, runs, float(statistic(*scores)), low, high)
