"""The specification of a sweep: what is fixed, what is searched, and what counts as good."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from lightning_maxent.comparison.specification import OPTIONS, check_keys, checked_seeds, checked_settings
from lightning_maxent.errors import MaxEntError, check_positive

DIRECTIONS = ("maximize", "minimize")


class Numbers(NamedTuple):
    """All numbers from ``low`` to ``high``; whole ones if both are; ``log``: uniform in their logarithm."""

    option: str
    low: int | float
    high: int | float
    log: bool
    step: int | float | None

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values to check the option with before the first run."""
        return self.low, self.high

    def settings(self, value: Any) -> list[str]:
        """The option with a value."""
        return [f"--{self.option}={_text(int(value) if self.whole else float(value))}"]

    def find(self, value: Any) -> int | float | None:
        """The number that is written as ``value``; None if it is not within the limits."""
        number = _number(value)
        return number if number is not None and self.low <= number <= self.high else None


class Choices(NamedTuple):
    """Named lists of settings, of which a trial has one."""

    choices: dict[str, list[str]]

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values to check before the first run: all of them."""
        return tuple(self.choices)

    def settings(self, value: Any) -> list[str]:
        """The settings of a choice."""
        return self.choices[value]

    def find(self, value: Any) -> str | None:
        """The name of the choice that is written as ``value``; None if there is none."""
        name = value if isinstance(value, str) else _text(value)
        return name if name in self.choices else None


@dataclasses.dataclass(frozen=True)
class Pruning:
    """When a trial is given up.

    Args:
        method: ``median``: a trial ends if its best evaluation so far is below the median of the finished trials at the
            same environment step.  ``hyperband``: brackets of successive halving (Li et al. 2018, arXiv 1603.06560).
            ``none``.
        startup_trials: for ``median``, the number of finished trials before any is given up.
        warmup_steps: for ``median``, the environment steps before a trial can be given up.
        min_steps: for ``hyperband``, the environment steps of the smallest trial; None for the first evaluation.
        reduction_factor: for ``hyperband``, one in so many trials goes on at each halving.
    """

    method: str = "median"
    startup_trials: int = 5
    warmup_steps: int = 0
    min_steps: int | None = None
    reduction_factor: int = 3


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A trial draws one value of each parameter of the space, and is run with every seed.

    Args:
        settings: configurations and options of every run, as in a comparison; those of a trial come after them.
        space: parameters by name.  A name with a dot is an option of ``lightning-maxent fit``.
        seeds: one run of each trial per seed.
        trials: the number of trials, including those given up and failed ones.
        metric: the column of ``metrics.csv`` that is searched for.
        direction: ``maximize`` or ``minimize``.
        last_evaluations: the score of a run is its mean over so many evaluations at the end.
        pruning: when a trial is given up.
        first: values of all parameters to be tried first.
        sampler_seed: the seed of the sampler.
    """

    settings: list[str]
    space: dict[str, Numbers | Choices]
    seeds: list[int]
    trials: int
    metric: str
    direction: str
    last_evaluations: int
    pruning: Pruning
    first: list[dict[str, Any]]
    sampler_seed: int

    def settings_of(self, values: Mapping[str, Any]) -> list[str]:
        """The settings of the trial that has these values of the parameters."""
        return [*self.settings, *(item for name in self.space for item in self.space[name].settings(values[name]))]

    @property
    def short_names(self) -> dict[str, str]:
        """A short name of each parameter: as many of its last words as are needed to tell it from the others."""
        words = {name: [word for word in name.split(".") if word != "init_args"] for name in self.space}
        return {
            name: next(
                ".".join(own[-count:])
                for count in range(1, len(own) + 1)
                if count == len(own) or sum(other[-count:] == own[-count:] for other in words.values()) == 1
            )
            for name, own in words.items()
        }


DEFAULTS: dict[str, Any] = {
    "seeds": [0],
    "trials": 20,
    "metric": "eval/return_mean",
    "direction": "maximize",
    "last_evaluations": 1,
    "pruning": {},
    "first": [],
    "sampler_seed": 0,
}


def make_sweep(content: Mapping[str, Any], where: str) -> Sweep:
    """A sweep from the mapping in its file.

    Args:
        content: the mapping.
        where: the name of the file, for error messages.

    Raises:
        MaxEntError: for unknown or missing keys, or values that are not allowed.
    """
    fields = [field.name for field in dataclasses.fields(Sweep)]
    check_keys(content, fields, f"A sweep ({where})")
    for key, what in (("settings", "what to train"), ("space", "what to search")):
        if not content.get(key):
            raise MaxEntError(f"{where[:1].upper()}{where[1:]} does not say {what}: give it {key}.")
    given = DEFAULTS | {key: value for key, value in content.items() if value is not None}
    space = _space(given["space"], where)
    if given["direction"] not in DIRECTIONS:
        raise MaxEntError(f"direction of {where} must be {' or '.join(DIRECTIONS)}, but is {given['direction']!r}.")
    whole = {f"{key} of {where}": given[key] for key in ("trials", "last_evaluations")}
    for name, number in {**whole, f"sampler_seed of {where}": given["sampler_seed"]}.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise MaxEntError(f"{name} must be a whole number, but is {number!r}.")
    check_positive(**whole)
    return Sweep(
        settings=checked_settings(given["settings"], f"settings of {where}"),
        space=space,
        seeds=checked_seeds(given["seeds"], where),
        trials=given["trials"],
        metric=str(given["metric"]),
        direction=given["direction"],
        last_evaluations=given["last_evaluations"],
        pruning=_pruning(given["pruning"], where),
        first=_first(given["first"], space, where),
        sampler_seed=given["sampler_seed"],
    )


def _space(given: Any, where: str) -> dict[str, Numbers | Choices]:
    if not isinstance(given, dict):
        raise MaxEntError(f"space of {where} must map each parameter to its values, but is {given!r}.")
    space: dict[str, Numbers | Choices] = {}
    for key, values in given.items():
        name = str(key).removeprefix("--")
        if name in space:
            raise MaxEntError(f"space of {where} has {name} twice: leave one out.")
        is_option = str(key).startswith("--") or "." in name
        if is_option and not f"--{name}".startswith(OPTIONS):
            raise MaxEntError(f"There is no option --{name}; the space of {where} may have {'…, '.join(OPTIONS)}….")
        space[name] = _parameter(name, values, is_option, f"{name} in the space of {where}")
    return space


def _parameter(name: str, given: Any, is_option: bool, where: str) -> Numbers | Choices:
    known = ("values",) if "values" in (given if isinstance(given, dict) else {}) else ("min", "max", "log", "step")
    if not isinstance(given, dict) or not ("values" in given or {"min", "max"} <= set(given)):
        raise MaxEntError(
            f"Give {where} values to choose from, as in {{values: [64, 128]}}, or numbers, as in "
            f"{{min: 0.0001, max: 0.01, log: true}}; it is {given!r}."
        )
    check_keys(given, known, where)
    if "values" in given:
        return Choices(_choices(name, given["values"], is_option, where))
    if not is_option:
        raise MaxEntError(
            f"{where} has numbers, but is no option: name it as on the command line, as in --data.{name}."
        )
    return _numbers(name, given, where)


def _numbers(name: str, given: Mapping[str, Any], where: str) -> Numbers:
    low, high, step = (_number(given.get(key)) for key in ("min", "max", "step"))
    log = given.get("log", False)
    if low is None or high is None or not low < high:
        raise MaxEntError(f"min and max of {where} must be two numbers, min the smaller one.")
    if not isinstance(log, bool) or (log and low <= 0):
        raise MaxEntError(f"log of {where} must be true or false, and true only if min is above 0.")
    if given.get("step") is not None and (step is None or step <= 0 or log):
        raise MaxEntError(f"step of {where} must be a number above 0, and cannot be combined with log.")
    numbers = Numbers(name, low, high, log, step)
    if numbers.whole and not isinstance(step, int | None):
        raise MaxEntError(
            f"step of {where} must be whole, as min and max are; write them with a point for other numbers."
        )
    if step is not None and not math.isclose((high - low) / step, round((high - low) / step)):
        raise MaxEntError(
            f"{where} must go from min to max in whole steps, but {high} - {low} is no multiple of {step}."
        )
    return numbers if numbers.whole else numbers._replace(low=float(low), high=float(high))


def _choices(name: str, given: Any, is_option: bool, where: str) -> dict[str, list[str]]:
    """Settings by the name of a choice: of an option, its values; of other parameters, lists of settings."""
    if not isinstance(given, list | dict) or len(given) < 2:
        raise MaxEntError(f"values of {where} must be a list of at least two.")
    if is_option:
        if isinstance(given, dict):
            raise MaxEntError(f"values of {where} must be a list, since it is an option.")
        named = [(value if isinstance(value, str) else _text(value), [f"--{name}={_text(value)}"]) for value in given]
    else:
        pairs = given.items() if isinstance(given, dict) else [(_name_of(items), items) for items in given]
        named = [(str(label), checked_settings(items or [], f"values {label} of {where}")) for label, items in pairs]
    choices = dict(named)
    if len(choices) < len(named):
        raise MaxEntError(f"values of {where} contain a value twice: {', '.join(label for label, _ in named)}.")
    return choices


def _name_of(items: Any) -> str:
    return " ".join(map(str, items)) if isinstance(items, list) and items else str(items or "none")


def _pruning(given: Any, where: str) -> Pruning:
    given = {"method": given} if isinstance(given, str) else {"method": "none"} if given is False else given
    fields = [field.name for field in dataclasses.fields(Pruning)]
    if not isinstance(given, dict):
        raise MaxEntError(f"pruning of {where} must be median, hyperband or none, or a mapping with a method.")
    check_keys(given, fields, f"pruning of {where}")
    pruning = Pruning(**given)
    if pruning.method not in ("median", "hyperband", "none"):
        raise MaxEntError(f"pruning of {where} must be median, hyperband or none, but is {pruning.method!r}.")
    least = {"startup_trials": 0, "warmup_steps": 0, "min_steps": 1, "reduction_factor": 2}
    for key, low in least.items():
        number = getattr(pruning, key)
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < low):
            raise MaxEntError(f"{key} of the pruning of {where} must be a whole number from {low}, but is {number!r}.")
    return pruning


def _first(given: Any, space: Mapping[str, Numbers | Choices], where: str) -> list[dict[str, Any]]:
    trials = given if isinstance(given, list) else [given]
    found = []
    for each in trials:
        values = {str(key).removeprefix("--"): value for key, value in each.items()} if isinstance(each, dict) else {}
        if set(values) != set(space):
            raise MaxEntError(f"Each entry of first in {where} must give a value of each of {', '.join(space)}.")
        named = {name: space[name].find(value) for name, value in values.items()}
        if outside := [f"{name}: {values[name]}" for name in space if named[name] is None]:
            raise MaxEntError(f"first in {where} has a value outside the space ({'; '.join(outside)}).")
        found.append(named)
    return found


def _number(given: Any) -> int | float | None:
    """A number; PyYAML takes ``1e-4`` for a text."""
    if isinstance(given, str):
        try:
            number = float(given)
            given = int(number) if "." not in given and number.is_integer() else number
        except (ValueError, OverflowError):
            return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        return None
    return given


def _text(value: Any) -> str:
    """A value as YAML in one line, which reads as the same value: ``1.0e-05``, where Python writes ``1e-05``."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")
