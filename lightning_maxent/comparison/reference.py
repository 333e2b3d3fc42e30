"""Published learning curves, drawn beside those of a comparison; they do not influence any run."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_maxent.backends.run import Run
from lightning_maxent.comparison.results import Curves
from lightning_maxent.comparison.specification import contents, flat
from lightning_maxent.errors import MaxEntError

METRIC = "eval/return_mean"  # the metric of every reference
COLUMNS = ("env", "algorithm", "env_steps", "return_mean", "return_std", "seeds")


class Point(NamedTuple):
    """Mean and standard deviation of the return over seeds, after a number of environment steps."""

    env_steps: int
    mean: float
    deviation: float
    seeds: int


class Reference(NamedTuple):
    """The curve of one algorithm on one environment, ordered by environment steps."""

    env_id: str
    algorithm: str
    points: tuple[Point, ...]

    def until(self, env_steps: int) -> "Reference":
        """The part of the curve up to a number of environment steps."""
        return self._replace(points=tuple(point for point in self.points if point.env_steps <= env_steps))


def find_reference(name: str, folder: Path) -> Path:
    """The absolute path of a csv: in ``folder`` if it is there, else relative to the working directory.

    The path is absolute so that the comparison can be resumed from any working directory.
    """
    beside = folder / name
    return (beside if beside.is_file() else Path(name)).absolute()


def read_reference(path: Path) -> list[Reference]:
    """The curves in a csv file, in the order in which they first appear.

    Raises:
        MaxEntError: if the file cannot be read, lacks a column, or holds no number where one is needed.
    """
    points: dict[tuple[str, str], list[Point]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise MaxEntError(
                    f"The reference {path} has no column {' and no '.join(missing)}; it needs {', '.join(COLUMNS)}."
                )
            for row in reader:
                env_steps, mean, deviation, seeds = (
                    _number(row[name], f"{name} in line {reader.line_num} of the reference {path}", name)
                    for name in COLUMNS[2:]
                )
                point = Point(int(env_steps), mean, deviation, int(seeds))
                points.setdefault((row["env"], row["algorithm"]), []).append(point)
    except (OSError, csv.Error) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise MaxEntError(
            f"The reference {path} cannot be read ({what}): give the path of a csv with {', '.join(COLUMNS)}, or leave "
            f"it out."
        ) from error
    return [Reference(*names, tuple(sorted(found))) for names, found in points.items()]


def reference_by_task(
    reference: Sequence[Reference], runs: Iterable[Run], curves: Mapping[str, Mapping[str, Curves]], metric: str
) -> dict[str, list[Reference]]:
    """The published curves by task, up to the last environment step of the runs.

    A task has curves if all variants use the same environment there, and the reference has points within that range.
    """
    if not reference or metric != METRIC:
        return {}
    env_ids: dict[str, set[str]] = {}
    for task, settings in {(run.task, run.settings) for run in runs}:
        env_ids.setdefault(task, set()).add(str(flat(contents(settings)).get("data.env_id")))
    found = {}
    for task, variants in curves.items():
        last = max((int(each.steps[-1]) for each in variants.values() if len(each.steps)), default=0)
        parts = [each.until(last) for each in reference if {each.env_id} == env_ids[task]]
        found[task] = [part for part in parts if part.points]
    return {task: parts for task, parts in found.items() if parts}


def seeds_of(reference: Iterable[Reference]) -> str:
    """``5 seeds``, or ``4 to 5 seeds`` if the points have different numbers of seeds."""
    numbers = [point.seeds for each in reference for point in each.points]
    fewest, most = min(numbers), max(numbers)
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"


def _number(text: str | None, where: str, name: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value < 0 and name != "return_mean"):
        least = "" if name == "return_mean" else " from 0"
        raise MaxEntError(f"{where} must be a number{least}, but is {text!r}.")
    return value
