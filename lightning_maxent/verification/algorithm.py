"""Checks of an algorithm: trains it on a problem whose soft-optimal solution is known."""

import importlib
import inspect
from abc import ABC
from collections.abc import Callable, Iterator
from typing import Any

from lightning_maxent.actions import AbstractActions, BoxActions, FiniteActions
from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.algorithms.continuous import ActorCritic
from lightning_maxent.algorithms.feeding import Replay
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.errors import MaxEntError
from lightning_maxent.verification import linear_quadratic, tabular
from lightning_maxent.verification.measurement import Measurement

AlgorithmBuilder = Callable[[int, AbstractActions], AbstractAlgorithm]
"""Builds an algorithm from ``obs_dim`` and the action space."""

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


def settings(chosen: type[AbstractAlgorithm]) -> dict[str, Any]:
    """The arguments of an algorithm in these checks, for those that it has: small networks, a fixed temperature."""
    finite = issubclass(chosen, FiniteAlgorithm)
    alpha, discount = (
        (tabular.ALPHA, tabular.DISCOUNT) if finite else (linear_quadratic.ALPHA, linear_quadratic.WORLD.discount)
    )
    networks = {
        "critic": "lightning_maxent.TwinCritic",
        "policy": "lightning_maxent.Categorical" if finite else "lightning_maxent.SquashedGaussian",
        "value": "lightning_maxent.StateValue",
    }
    defaults: dict[str, Any] = {
        "temperature": {"class_path": "lightning_maxent.FixedTemperature", "init_args": {"alpha": alpha}},
        "target": {"class_path": "lightning_maxent.PolyakTarget", "init_args": {"rate": 0.02}},
        "exploration": "lightning_maxent.PolicyExploration",
        "discount": discount,
    } | {name: {"class_path": path, "init_args": {"network": NETWORK}} for name, path in networks.items()}
    return {name: default for name, default in defaults.items() if name in inspect.signature(chosen).parameters}


def check_algorithm(
    build: Callable[[int, AbstractActions], Any], finite: bool, quick: bool, tick: Callable[[int], Any]
) -> Iterator[Measurement]:
    """Train an algorithm, and compare its Q and its policy with the exact ones for its temperature.

    Args:
        build: builds the algorithm.
        finite: whether it needs finite actions: then a random MDP is solved, otherwise the linear-quadratic world.
        quick: with fewer updates, which is enough for finite actions.
        tick: called with the number of updates since its last call.

    Raises:
        MaxEntError: for an algorithm with another discount than the problem's.
    """
    obs_dim, actions = (tabular.STATES, FiniteActions((tabular.ACTIONS,))) if finite else (2, BoxActions(1))
    algorithm, discount = build(obs_dim, actions), tabular.DISCOUNT if finite else linear_quadratic.WORLD.discount
    if algorithm.discount != discount:
        given = "discount" in inspect.signature(type(algorithm)).parameters
        advice = "leave out --algorithm.discount" if given else "add the argument discount to its constructor"
        raise MaxEntError(
            f"The problem has the discount {discount}, but {type(algorithm).__name__} has {algorithm.discount}: {advice}."
        )
    errors = tabular.errors if finite else linear_quadratic.errors
    yield from errors(algorithm, updates(finite, quick), tick)


def updates(finite: bool, quick: bool) -> int:
    """Number of updates of ``check_algorithm``."""
    return (600 if quick else 1_500) if finite else (1_000 if quick else 2_000)
