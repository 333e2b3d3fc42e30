"""The specification of a comparison, variants x tasks x seeds, from a file or from the command line."""

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from lightning_maxent.cli.configurations import contents, find_configs
from lightning_maxent.errors import MaxEntError

OPTIONS = (
    "--data.",
    "--model.",
    "--trainer.",
    "--checkpoint.",
    "--training_log.",
    "--execution",
)  # allowed in settings
OURS = ("--seed_everything", "--runs_dir", "--name", "--ckpt_path", "--config")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Every variant is run on every task with every seed.

    Settings are lists.  An item that begins with ``--`` is an option of ``lightning-maxent fit`` with its value, such
    as ``--data.env_id=Hopper-v5``.  Any other item is a configuration: the name of a built-in one, or a path.  Later
    items override earlier ones.  A run has the settings of its variant, then of its task, then of their pair in
    ``pairs``, then ``settings``.

    Args:
        variants: settings of each variant, by name.
        tasks: settings of each task, by name.
        seeds: one run of each variant on each task per seed.
        metric: the column of ``metrics.csv`` that is compared; higher is better.
        settings: settings of every run.
        normalization: ``[low, high]`` of each task, the scores that become 0 and 1 in statistics over all tasks; by
            default the lowest and the highest score of all runs on the task.
        pairs: extra settings ``variant -> task -> settings``, only for the pairs that need them.
        reference: csv file with published curves, drawn beside the runs; it does not influence any run.
    """

    variants: dict[str, list[str]]
    tasks: dict[str, list[str]]
    seeds: list[int]
    metric: str = "eval/return_mean"
    settings: list[str] = dataclasses.field(default_factory=list)
    normalization: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    pairs: dict[str, dict[str, list[str]]] = dataclasses.field(default_factory=dict)
    reference: str | None = None


def make_comparison(content: dict[str, Any], where: str) -> Comparison:
    """A comparison from the mapping in its file; ``tasks`` may also be a list of Gymnasium ids, or left out.

    Args:
        content: the mapping.
        where: the name of the file, for error messages.

    Raises:
        MaxEntError: for unknown or missing keys, or values that are not allowed.
    """
    fields = [field.name for field in dataclasses.fields(Comparison)]
    check_keys(content, fields, f"A comparison ({where})")
    if missing := [key for key in ("variants", "seeds") if not content.get(key)]:
        raise MaxEntError(f"{where[:1].upper()}{where[1:]} names no {' and no '.join(missing)} to compare.")
    every_run = checked_settings(content.get("settings") or [], f"settings of {where}")
    variants = _named_settings(content["variants"], "variants", where)
    tasks = _tasks(content.get("tasks"), variants, every_run, where)
    return Comparison(
        variants=variants,
        tasks=tasks,
        seeds=checked_seeds(content["seeds"], where),
        metric=str(content.get("metric", Comparison.metric)),
        settings=every_run,
        normalization=_normalization(content.get("normalization"), tasks, where),
        pairs=_pairs(content.get("pairs") or {}, variants, tasks, where),
        reference=_reference(content.get("reference"), where),
    )


def folder_of(name: str) -> str:
    """The name of a folder for a name: ``sac/pendulum`` -> ``sac-pendulum``."""
    return re.sub(r"[^\w.=+-]+", "-", name)


def joined_options(arguments: Sequence[str]) -> list[str]:
    """Join options that have a dot with their values: ``--data.a 1 --b 2`` -> ``--data.a=1 --b 2``.

    These are options of the runs.  Without this, a value could be parsed as the name of a comparison.
    """
    joined: list[str] = []
    for argument in arguments:
        previous = joined[-1] if joined else ""
        if previous.startswith("--") and "." in previous and "=" not in previous and not argument.startswith("--"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def environment_task(env_id: str) -> list[str]:
    """The settings of a task that is given by its Gymnasium id only."""
    return [f"--data.init_args.env_id={env_id}"]


def flat(settings: Sequence[Any]) -> dict[str, Any]:
    """``contents`` as one mapping such as ``data.env_id -> Hopper-v5``; later settings override earlier ones.

    It serves to describe differences between settings.
    """
    merged: dict[str, Any] = {}
    for item in settings:
        if isinstance(item, str):
            key, _, value = item.removeprefix("--").partition("=")
            item = {key: yaml.safe_load(value)}
        merged |= dict(_leaves(item, ""))
    return merged


def _leaves(content: Any, prefix: str) -> list[tuple[str, Any]]:
    if not isinstance(content, dict) or not content:
        key = ".".join(part for part in prefix.split(".") if part and part not in ("init_args", "class_path"))
        return [(key, content)]
    return [leaf for key, value in content.items() for leaf in _leaves(value, f"{prefix}.{key}")]


def _named_settings(given: Any, key: str, where: str) -> dict[str, list[str]]:
    if not isinstance(given, dict):
        raise MaxEntError(f"{key} of {where} must map names to lists of settings, but is {given!r}.")
    named = {str(name): checked_settings(items, f"{key} {name} of {where}") for name, items in given.items()}
    folders: dict[str, str] = {}
    for name in named:
        other = folders.setdefault(folder_of(name), name)
        if other != name:
            raise MaxEntError(f"The names {other!r} and {name!r} of {where} give the same folder: rename one.")
    return named


def checked_settings(items: Any, where: str) -> list[str]:
    """Settings from a file: a list of configurations and options, or a single one.

    Args:
        items: what the file holds.
        where: where it stands, for error messages.

    Raises:
        MaxEntError: for an unknown configuration, an option of no run, or one without a value.
    """
    items = [items] if isinstance(items, str) else items
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise MaxEntError(
            f"The {where} must be a list of configurations and of options such as --data.batch_size=64, but is {items!r}."
        )
    for item in items:
        option = item.partition("=")[0]
        if not item.startswith("--"):
            find_configs(item)
        elif option in OURS:
            raise MaxEntError(f"The {where} may not set {option}, because that is set for every run.")
        elif not option.startswith(OPTIONS):
            raise MaxEntError(f"There is no option {option}; the {where} may set {'…, '.join(OPTIONS)}….")
        elif "=" not in item or " " in option:
            raise MaxEntError(f"Write {item!r} in the {where} with its value after an equals sign: --option=value.")
        else:
            _check_yaml(item, where)
    return items


def _check_yaml(option: str, where: str) -> None:
    try:
        yaml.safe_load(option.partition("=")[2])
    except yaml.YAMLError as error:
        raise MaxEntError(
            f"The value of {option!r} in the {where} is not valid YAML: is a bracket or a quote open?"
        ) from error


def _tasks(given: Any, variants: dict[str, list[str]], every_run: list[str], where: str) -> dict[str, list[str]]:
    if isinstance(given, list):
        given = {str(env_id): environment_task(str(env_id)) for env_id in given}
    if given:
        return _named_settings(given, "tasks", where)
    found = {name: flat(contents([*items, *every_run])).get("data.env_id") for name, items in variants.items()}
    if len(set(found.values())) > 1:
        each = ", ".join(f"{name}: {env_id}" for name, env_id in found.items())
        raise MaxEntError(f"The variants of {where} have different environments ({each}): give the tasks.")
    return {str(next(iter(found.values()))): []}


def _pairs(
    given: Any, variants: dict[str, list[str]], tasks: dict[str, list[str]], where: str
) -> dict[str, dict[str, list[str]]]:
    pairs: dict[str, dict[str, list[str]]] = {}
    for variant, by_task in _known(given, "variant", variants, f"pairs of {where}").items():
        named = _known(by_task, "task", tasks, f"pairs of {variant} in {where}")
        pairs[variant] = {
            task: checked_settings(items, f"pair of {variant} and {task} of {where}") for task, items in named.items()
        }
    return pairs


def _known(given: Any, kind: str, known: dict[str, list[str]], where: str) -> dict[str, Any]:
    """A mapping whose keys are names of variants or of tasks."""
    if not isinstance(given, dict):
        raise MaxEntError(f"{where} must map each name of a {kind} to its settings, but is {given!r}.")
    for name in map(str, given):
        if name not in known:
            raise MaxEntError(f"{where} name a {kind} {name!r} that is not compared; {meant(name, known)}")
    return {str(name): content for name, content in given.items()}


def check_keys(given: Iterable[Any], known: Sequence[str], what: str) -> None:
    """Raise ``MaxEntError`` for a key that is not known; ``what`` begins the sentence."""
    for key in given:
        if key not in known:
            raise MaxEntError(f"{what} has no key {key!r}; {meant(str(key), known)}")


def meant(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the known name that is near, else all of them."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."


def _reference(given: Any, where: str) -> str | None:
    if given is not None and not isinstance(given, str):
        raise MaxEntError(f"reference of {where} must be the path of a csv, but is {given!r}.")
    return given or None


def checked_seeds(given: Any, where: str) -> list[int]:
    """Seeds from a file: a list of different whole numbers, or a single one.

    Raises:
        MaxEntError: for anything else; ``where`` names the file.
    """
    seeds = given if isinstance(given, list) else [given]
    if any(not isinstance(seed, int) or isinstance(seed, bool) or seed < 0 for seed in seeds):
        raise MaxEntError(f"seeds of {where} must be a list of whole numbers from 0, but is {given!r}.")
    if len(set(seeds)) < len(seeds):
        raise MaxEntError(f"seeds of {where} contain a seed twice: {given}.")
    return seeds


def _normalization(given: Any, tasks: dict[str, list[str]], where: str) -> dict[str, list[float]]:
    stated = given or {}
    if not isinstance(stated, dict) or (stated and set(stated) != set(tasks)):
        raise MaxEntError(
            f"normalization of {where} must give [low, high] for each of the tasks {', '.join(tasks)}, or be left out."
        )
    for task, pair in stated.items():
        numbers = isinstance(pair, list) and len(pair) == 2 and all(type(score) in (int, float) for score in pair)
        if not numbers or not -math.inf < pair[0] < pair[1] < math.inf:
            raise MaxEntError(f"normalization of {task} in {where} must be [low, high], two numbers, but is {pair!r}.")
    return {task: [float(score) for score in pair] for task, pair in stated.items()}
