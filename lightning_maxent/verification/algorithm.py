"""Checks of an algorithm: trains it on a problem whose soft-optimal solution is known."""

import importlib
import inspect
from abc import ABC
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser

from lightning_maxent.actions import AbstractActions, BoxActions, FiniteActions
from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.algorithms.continuous import ActorCritic
from lightning_maxent.algorithms.feeding import Replay
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.errors import MaxEntError, errors_of
from lightning_maxent.verification import linear_quadratic, tabular
from lightning_maxent.verification.measurement import Measurement

AlgorithmBuilder = Callable[[int, AbstractActions], AbstractAlgorithm]
"""Builds an algorithm from ``obs_dim`` and the action space."""


class Problem(NamedTuple):
    """A problem with a known solution, and what an algorithm needs to be trained on it."""

    obs_dim: int
    actions: AbstractActions
    alpha: float
    discount: float
    policy: str
    """Class path of a policy for these actions."""
    zero_temperature: bool
    """Whether its solution is known at the temperature 0."""
    updates: int
    quick_updates: int
    errors: Callable[[Any, int, Callable[[int], Any]], Iterator[Measurement]]
    """Trains an algorithm and measures its errors."""


FINITE = Problem(
    obs_dim=tabular.STATES,
    actions=FiniteActions((tabular.ACTIONS,)),
    alpha=tabular.ALPHA,
    discount=tabular.DISCOUNT,
    policy="lightning_maxent.Categorical",
    zero_temperature=True,
    updates=1_500,
    quick_updates=600,
    errors=tabular.errors,
)
CONTINUOUS = Problem(
    obs_dim=2,
    actions=BoxActions(1),
    alpha=linear_quadratic.ALPHA,
    discount=linear_quadratic.WORLD.discount,
    policy="lightning_maxent.SquashedGaussian",
    zero_temperature=False,
    updates=2_000,
    quick_updates=1_000,
    errors=linear_quadratic.errors,
)
NETWORK = {"class_path": "lightning_maxent.MLP", "init_args": {"hidden_dims": [64, 64]}}


def algorithm_class(path: str) -> type[Any]:
    """Import the class of an algorithm that these checks can train.

    Raises:
        MaxEntError: if there is no such class, or it is not an algorithm that learns Q from replayed transitions and whose
            policy has a density, or probabilities of finite actions.
    """
    module, _, name = path.rpartition(".")
    try:
        chosen = getattr(importlib.import_module(module or "lightning_maxent"), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise MaxEntError(
            f"The algorithm {path} cannot be imported ({error}): give it as my_package.MyAlgorithm."
        ) from error
    kinds = (FiniteAlgorithm, ActorCritic)
    is_algorithm = inspect.isclass(chosen) and issubclass(chosen, kinds) and ABC not in chosen.__bases__
    if not is_algorithm or not isinstance(getattr(chosen, "feeding", None), Replay):
        raise MaxEntError(
            f"{name} cannot be checked: verify trains subclasses of FiniteAlgorithm and of ActorCritic on given transitions, "
            f"and the algorithm must learn from those."
        )
    return chosen


def problem_for(chosen: type[AbstractAlgorithm]) -> Problem:
    """The problem for the kind of actions that an algorithm has."""
    return FINITE if issubclass(chosen, FiniteAlgorithm) else CONTINUOUS


def arguments_of(chosen: type[AbstractAlgorithm]) -> list[str]:
    """Names of the arguments of an algorithm, with those that its ``**kwargs`` pass on to a base class."""
    names = ArgumentParser().add_class_arguments(chosen, fail_untyped=False)
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def settings(chosen: type[AbstractAlgorithm]) -> dict[str, Any]:
    """The arguments of an algorithm in these checks, for those that it has: small networks, a fixed temperature.

    Raises:
        MaxEntError: if the first two arguments of the algorithm are not ``obs_dim`` and ``actions``, or if its code does
            not show which arguments its ``**kwargs`` take.
    """
    problem, arguments = problem_for(chosen), arguments_of(chosen)
    own = inspect.signature(chosen).parameters
    hidden = any(each.kind is each.VAR_KEYWORD for each in own.values()) and set(arguments) <= own.keys()
    if hidden or arguments[:2] != ["obs_dim", "actions"]:
        raise MaxEntError(
            f"{chosen.__name__} cannot be checked, because the arguments of its constructor cannot be read from its code: "
            f"list them, obs_dim and actions first, as in def __init__(self, obs_dim, actions, critic, discount)."
        )
    networks = {
        "critic": "lightning_maxent.TwinCritic",
        "policy": problem.policy,
        "value": "lightning_maxent.StateValue",
    }
    defaults: dict[str, Any] = {
        "temperature": {"class_path": "lightning_maxent.FixedTemperature", "init_args": {"alpha": problem.alpha}},
        "target": {"class_path": "lightning_maxent.PolyakTarget", "init_args": {"rate": 0.02}},
        "exploration": "lightning_maxent.PolicyExploration",
        "discount": problem.discount,
    } | {name: {"class_path": path, "init_args": {"network": NETWORK}} for name, path in networks.items()}
    return {name: default for name, default in defaults.items() if name in arguments}


def check_algorithm(
    build: Callable[[int, AbstractActions], Any], problem: Problem, updates: int, tick: Callable[[int], Any]
) -> Iterator[Measurement]:
    """Train an algorithm, and compare its Q and its policy with the exact ones for its temperature.

    Args:
        build: builds the algorithm.
        problem: the problem that it is trained on.
        updates: number of updates.
        tick: called with the number of updates since its last call.

    Raises:
        MaxEntError: for an algorithm that cannot be built, that has another discount than the problem's, or whose
            temperature is 0 where the solution is only known for positive ones.
    """
    with errors_of("Building the algorithm"):
        algorithm = build(problem.obs_dim, problem.actions)
    if algorithm.discount != problem.discount:
        given = "discount" in arguments_of(type(algorithm))
        advice = "leave out --algorithm.discount" if given else "add the argument discount to its constructor"
        raise MaxEntError(
            f"The problem has the discount {problem.discount}, but {type(algorithm).__name__} has {algorithm.discount}: "
            f"{advice}."
        )
    if algorithm.temperature() == 0 and not problem.zero_temperature:
        raise MaxEntError(
            f"The solution of the problem is known for positive temperatures, but {type(algorithm).__name__} has 0: "
            f"choose another one, as in --algorithm.temperature.alpha {problem.alpha}."
        )
    yield from problem.errors(algorithm, updates, tick)
