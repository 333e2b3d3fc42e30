"""``lightning-maxent verify``: a table of the checks of a critic, of all built-in critics, or of an algorithm."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS, find_config
from lightning_maxent.cli.whole_numbers import accept_whole_numbers
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.errors import MaxEntError
from lightning_maxent.progress import progress
from lightning_maxent.targets import TargetBuilder
from lightning_maxent.verification.algorithm import (
    AlgorithmBuilder,
    algorithm_class,
    check_algorithm,
    problem_for,
    settings,
)
from lightning_maxent.verification.contract import contract
from lightning_maxent.verification.linear_quadratic import linear_quadratic, linear_quadratic_with_value
from lightning_maxent.verification.measurement import Measurement
from lightning_maxent.verification.multi_goal import multi_goal
from lightning_maxent.verification.regression import regression
from lightning_maxent.verification.tabular import (
    noisy_tabular,
    tabular,
    tabular_with_policy,
    tabular_with_value,
)

DESCRIPTION = """Test a critic: check its contract, and train it on problems whose soft-optimal solutions are known.  Or test an
algorithm on such a problem.

  lightning-maxent verify --critic my_package.MyCritic
  lightning-maxent verify --config critic/crossq    # a configuration of a critic, with its target
  lightning-maxent verify --critic all              # all built-in critics, with networks of width 128
  lightning-maxent verify --algorithm my_package.MyAlgorithm --algorithm.my_option 0.8

A target that passes (s,a) and (s',a') through the critic together (critic/crossq, critic/flash) cannot be a copy of V,
so the rows of ValueSAC and DiscreteValueSAC are left out for it.

A critic with small networks takes three minutes on one CPU core, or half a minute with --quick.  An algorithm takes half a
minute.  Soft returns of these problems lie within (-5, 5).  The exit status is 1 if a check fails."""

WORLDS = {
    regression: 1000,
    tabular: 1500,
    tabular_with_policy: 1500,
    tabular_with_value: 1500,
    noisy_tabular: 1500,
    linear_quadratic: 2000,
    linear_quadratic_with_value: 2000,
    multi_goal: 3000,
}
QUICK = {regression: 1000, tabular: 600}
HEAD = f"{'critic':17} {'check':70} {'value':>10} {'expected':>10} {'error':>10} {'tolerance':>10}"
WIDTH, QUANTILES = 128, 25  # of the built-in critics with --critic all


class Candidate(NamedTuple):
    """A critic to be checked."""

    name: str
    critic: CriticBuilder
    target: TargetBuilder


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise argparse.ArgumentError(None, message) from ex


def verify(arguments: Sequence[str]) -> int:
    """Run ``lightning-maxent verify`` and return the exit status: 1 if a check failed.

    Raises:
        MaxEntError: for a critic that cannot be found or built.
    """
    accept_whole_numbers()
    parser = _parser()
    _check_arguments(arguments)
    chosen = _chosen_algorithm(arguments)
    if chosen is not None:
        path = f"{chosen.__module__}.{chosen.__qualname__}"
        parser.set_defaults({"algorithm": {"class_path": path, "init_args": settings(chosen)}})
    args = parser.parse_args(list(arguments))
    if chosen is not None:
        return _verify_algorithm(chosen, parser, args)
    worlds = QUICK if args.quick else WORLDS
    candidates = _candidates(parser, args)
    failed = False
    with progress(len(candidates) * sum(worlds.values()), "updates", leave=False) as bar:
        if not args.json:
            bar.write(HEAD)
        for candidate in candidates:
            bar.set_description(candidate.name, refresh=False)
            failed |= _report(check(candidate, worlds, bar.update), "critic", candidate.name, args.json, bar)
    return int(failed)


def _report(measurements: Iterator[Measurement], kind: str, name: str, as_json: bool, bar: Any) -> bool:
    """Print each measurement when it is there, and return whether one failed."""
    failed = False
    for found in measurements:
        failed |= not found.passed
        bar.write(_json(kind, name, found) if as_json else _row(name, found))
    return failed


def _check_arguments(arguments: Sequence[str]) -> None:
    """Raise ``MaxEntError`` for arguments that are no options, and for options that exclude each other."""
    if arguments and not arguments[0].startswith("-"):
        raise MaxEntError(f"verify has options only: give the configuration of a critic as --config {arguments[0]}.")
    names = [argument.partition("=")[0] for argument in arguments]
    kinds = [name for name in ("--algorithm", "--critic", "--config") if name in names]
    if len(kinds) > 1:
        extra = ", the critic of an algorithm as --algorithm.critic" if "--algorithm" in kinds else ""
        raise MaxEntError(f"verify checks one thing at a time, but {' and '.join(kinds)} are given: choose one{extra}.")
    if "--target" in names and "--critic" not in kinds:
        raise MaxEntError("--target goes with --critic: leave it out, or set --algorithm.target of an algorithm.")


def _chosen_algorithm(arguments: Sequence[str]) -> type[AbstractAlgorithm] | None:
    """The class given by ``--algorithm``, which decides what else can be given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--algorithm", nargs="?", const="")
    path = parser.parse_known_args(arguments)[0].algorithm
    if path == "":
        raise MaxEntError("--algorithm needs the class of an algorithm, such as my_package.MyAlgorithm.")
    return None if path is None else algorithm_class(path)


def _verify_algorithm(chosen: type[AbstractAlgorithm], parser: ArgumentParser, args: Namespace) -> int:
    problem, build = problem_for(chosen), parser.instantiate_classes(args)["algorithm"]
    updates = problem.quick_updates if args.quick else problem.updates
    with torch.random.fork_rng(devices=[]), progress(updates, "updates", leave=False) as bar:
        torch.manual_seed(0)
        if not args.json:
            bar.write(HEAD.replace("critic   ", "algorithm", 1))
        measurements = check_algorithm(build, problem, updates, bar.update)
        return int(_report(measurements, "algorithm", chosen.__name__, args.json, bar))


def check(
    candidate: Candidate, worlds: dict[Callable[..., Iterator[Measurement]], int], tick: Callable[[int], Any]
) -> Iterator[Measurement]:
    """Run all checks of a critic; if a check of its contract fails, it is not trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        broken = False
        for found in contract(candidate.critic, candidate.target):
            broken |= not found.passed
            yield found
        for world, updates in worlds.items():
            if broken:
                tick(updates)
            else:
                yield from world(candidate.critic, candidate.target, updates, tick)


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="lightning-maxent verify", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--critic",
        type=CriticBuilder | str | None,
        default=None,
        help="a class, or all: the built-in critics, with networks of width 128",
    )
    parser.add_argument(
        "--target",
        type=TargetBuilder,
        default={"class_path": "lightning_maxent.targets.PolyakTarget", "init_args": {"rate": 0.02}},
        help="the class that gives the value of the next state; PolyakTarget with a rate of .02 if not given",
    )
    parser.add_argument(
        "--algorithm",
        type=AlgorithmBuilder | None,
        default=None,
        help="the class of an algorithm that learns Q from replayed transitions; its options follow as --algorithm.NAME",
    )
    parser.add_argument("--config", type=str | None, default=None, help="a configuration with a critic and a target")
    parser.add_argument("--quick", action="store_true", help="only the two fastest problems, with fewer updates")
    parser.add_argument("--json", action="store_true", help="print one JSON object for every check")
    return parser


def _candidates(parser: ArgumentParser, args: Namespace) -> list[Candidate]:
    if args.config is not None:
        return [_overlay(parser, find_config(args.config))]
    if args.critic == "all":
        return [
            _overlay(parser, str(path), small=True) for path in sorted((BUILT_IN_CONFIGS / "critic").glob("*.yaml"))
        ]
    if args.critic is None or isinstance(args.critic, str):
        given = "No critic was given" if args.critic is None else f"The critic {args.critic} cannot be imported"
        raise MaxEntError(
            f"{given}: use --critic my_package.MyCritic, --config critic/redq, --critic all, or --algorithm "
            f"my_package.MyAlgorithm."
        )
    built = parser.instantiate_classes(args)
    return [Candidate(args.critic.class_path.rpartition(".")[2], built["critic"], built["target"])]


def _overlay(parser: ArgumentParser, path: str, small: bool = False) -> Candidate:
    with open(path) as file:
        parts = yaml.safe_load(file).get("model", {}).get("init_args", {})
    if "critic" not in parts:
        raise MaxEntError(f"{path} gives no critic at model.init_args.critic.")
    chosen = {key: parts[key] for key in ("critic", "target") if key in parts}
    if small:
        chosen = _small(chosen)
    built = parser.instantiate_classes(parser.parse_object(chosen))
    return Candidate(path.rpartition("/")[2].removesuffix(".yaml"), built["critic"], built["target"])


def _small(part: Any) -> Any:
    """The same settings with narrower networks and fewer quantiles, which are faster to train."""
    if not isinstance(part, dict):
        return part
    small = {key: _small(value) for key, value in part.items()}
    if "hidden_dims" in small:
        small["hidden_dims"] = [WIDTH] * len(small["hidden_dims"])
    if "width" in small:
        small["width"] = WIDTH
    if "quantiles" in small:
        small["quantiles"] = min(QUANTILES, small["quantiles"])
    return small


def _row(name: str, found: Measurement) -> str:
    numbers = f"{found.value:10.4f} {found.expected:10.4f} {found.error:10.4f} {found.tolerance:10.4f}"
    verdict = "ok" if found.passed else f"FAILED: {found.advice}"
    return f"{name:17.17} {found.check:70.70} {numbers}  {verdict}"


def _json(kind: str, name: str, found: Measurement) -> str:
    return json.dumps(
        {
            "check": found.check,
            kind: name,
            "value": found.value,
            "expected": found.expected,
            "error": found.error,
            "tolerance": found.tolerance,
            "passed": found.passed,
            "advice": "" if found.passed else found.advice,
        }
    )
