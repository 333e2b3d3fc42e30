"""Environments as algorithms see them: with flat observations."""

import difflib
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lightning_maxent.errors import MaxEntError


def make_env(env_id: str, env_kwargs: dict[str, Any] | None = None, **options: Any) -> gym.Env:
    """``gymnasium.make`` with observations checked and flattened; finite ones become one-hot vectors.

    Args:
        env_id: a registered id, or ``module:Id`` with a module that registers it.
        env_kwargs: the environment's own keyword arguments.
        options: further arguments of ``gymnasium.make``, such as ``render_mode``.

    Raises:
        MaxEntError: for an unknown id (names near matches), arguments the environment refuses, or observations that
            cannot be flattened.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise MaxEntError(f"env_id {env_id!r} names a module that cannot be imported: {error}.") from error
    try:
        env = gym.make(name, **(env_kwargs or {}), **options)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise MaxEntError(f"The environment {env_id!r} needs a package that is not installed: {error}") from error
    except gym.error.Error as error:
        near = difflib.get_close_matches(name, list(gym.registry), n=3, cutoff=0.5)
        near = [f"{module}:{each}" if module else each for each in near]
        hint = f"did you mean {' or '.join(near)}?" if near else "gymnasium.pprint_registry() lists all ids."
        raise MaxEntError(f"There is no environment {env_id!r}; {hint}") from error
    except TypeError as error:
        raise MaxEntError(f"The environment {env_id!r} does not take env_kwargs {env_kwargs}: {error}") from error
    try:
        check_observation_space(env_id, env.observation_space)
    except MaxEntError:
        env.close()
        raise
    return gym.wrappers.FlattenObservation(env)


def check_observation_space(env_id: str, space: spaces.Space) -> None:
    """Raise ``MaxEntError`` unless the space is a Box, finite, or a Dict or Tuple of such."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, part in space.items() if isinstance(space, spaces.Dict) else enumerate(space):
            check_observation_space(f"{env_id} (observation {key!r})", part)
    elif not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise MaxEntError(
            f"{env_id} has observations in {space}; only Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple "
            f"of these are supported: wrap the environment, e.g. with gymnasium.wrappers.TransformObservation."
        )


def make_vector_env(make: Callable[[], gym.Env], num_envs: int) -> SyncVectorEnv:
    """Copies side by side, each reset within the step that ends its episode."""
    return SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)


def env_maker(env_id: str, env_kwargs: dict[str, Any] | None) -> Callable[[], gym.Env]:
    """A picklable maker of one environment."""
    return partial(make_env, env_id, env_kwargs)
