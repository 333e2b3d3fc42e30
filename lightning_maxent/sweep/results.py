"""The trials of a sweep as plain data, and the commands and files that follow from the best one."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_maxent.cli.configurations import contents
from lightning_maxent.comparison.specification import flat
from lightning_maxent.sweep.specification import Choices, Sweep
from lightning_maxent.sweep.study import REASON, SCORES, trials_of

if TYPE_CHECKING:
    from optuna.study import Study

FINISHED, PRUNED, FAILED, UNFINISHED = "finished", "pruned", "failed", "unfinished"
CHECK_SEEDS = 3  # seeds of the comparison that checks the best trial


class Tried(NamedTuple):
    """A trial; ``value`` is NaN unless it finished, and ``curve`` is ``environment steps -> interquartile mean``."""

    number: int
    status: str
    value: float
    values: dict[str, Any]
    scores: dict[str, float]  # by seed
    curve: dict[int, float]
    seconds: float | None
    reason: str

    @property
    def last(self) -> float:
        """The last evaluation; NaN if there is none."""
        return self.curve[max(self.curve)] if self.curve else math.nan

    @property
    def shown(self) -> float:
        """Its value, or the last evaluation if it has none."""
        return self.last if math.isnan(self.value) else self.value


def tried(study: "Study") -> list[Tried]:
    """All trials that have begun, by number."""
    from optuna.trial import TrialState

    status = {TrialState.COMPLETE: FINISHED, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}
    return [
        Tried(
            number=trial.number,
            status=status.get(trial.state, UNFINISHED),
            value=math.nan if trial.state != TrialState.COMPLETE or trial.value is None else trial.value,
            values=dict(trial.params),
            scores=dict(trial.user_attrs.get(SCORES, {})),
            curve=dict(sorted(trial.intermediate_values.items())),
            seconds=trial.duration.total_seconds() if trial.duration else None,
            reason=str(trial.user_attrs.get(REASON, "")),
        )
        for trial in trials_of(study)
    ]


def ranked(trials: Sequence[Tried], direction: str) -> list[Tried]:
    """The trials from the best to the worst: finished ones, pruned ones by their last evaluation, and all others."""
    sign = -1 if direction == "maximize" else 1

    def place(trial: Tried) -> tuple[int, float, int]:
        order = [FINISHED, PRUNED].index(trial.status) if trial.status in (FINISHED, PRUNED) else 2
        return order, 0 if math.isnan(trial.shown) else sign * trial.shown, trial.number

    return sorted(trials, key=place)


def rows_of(sweep: Sweep, trials: Sequence[Tried], out: Path) -> list[dict[str, Any]]:
    """One row of ``trials.csv`` per trial."""
    return [
        {"trial": trial.number, "status": trial.status, "value": _filled(trial.value)}
        | {name: trial.values.get(name, "") for name in sweep.space}
        | {f"seed {seed}": trial.scores.get(str(seed), "") for seed in sweep.seeds}
        | {"env_steps": max(trial.curve, default=0), "last_evaluation": _filled(trial.last)}
        | {"seconds": "" if trial.seconds is None else round(trial.seconds, 1)}
        | {"folder": str(out / "runs" / f"trial{trial.number}"), "reason": trial.reason}
        for trial in trials
    ]


def command_of(settings: Sequence[str], seed: int | None = None) -> str:
    """The command line that trains with these settings."""
    first = next((place for place, item in enumerate(settings) if item.startswith("--")), len(settings))
    later = [item if item.startswith("--") else f"--config={item}" for item in settings[first:]]
    own = [] if seed is None else [f"--seed_everything={seed}"]
    return shlex.join(["lightning-maxent", "fit", *settings[:first], *later, *own])


def at_length(sweep: Sweep, values: Mapping[str, Any]) -> tuple[list[str], str] | None:
    """The settings without the ``--trainer.max_steps`` of the sweep, and in words the length that remains.

    None if the settings of the sweep do not shorten the runs.
    """
    long = [item for item in sweep.settings_of(values) if not item.startswith("--trainer.max_steps=")]
    if len(long) == len(sweep.settings_of(values)):
        return None
    steps = flat(contents(long)).get("trainer.max_steps")
    return long, f"{int(steps):,} environment steps" if steps else "the length of its configuration"


def check_of(sweep: Sweep, values: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison of the best trial with the settings alone, or with the first values, on seeds that are new."""
    new = max(sweep.seeds) + 1
    beside = sweep.settings_of(sweep.first[0]) if sweep.first else sweep.settings
    return {
        "variants": {"first values" if sweep.first else "settings alone": beside, "best": sweep.settings_of(values)},
        "seeds": list(range(new, new + CHECK_SEEDS)),
        "metric": sweep.metric,
    }


def described(sweep: Sweep, name: str) -> str:
    """The values that a parameter may have, in words."""
    parameter = sweep.space[name]
    if isinstance(parameter, Choices):
        return ", ".join(parameter.choices)
    how = ", uniform in the logarithm" if parameter.log else f", in steps of {parameter.step}" if parameter.step else ""
    return f"{parameter.low} to {parameter.high}{how}"


def _filled(number: float) -> float | str:
    return "" if math.isnan(number) else number
