"""Wrappers of environments that a configuration names."""

from collections.abc import Callable, Mapping, Sequence

import gymnasium as gym

from lightning_maxent.errors import MaxEntError, errors_of

COPY_NAME = "copy_name"  # attribute of a wrapped environment: "train-0", "eval-3"

WrapperBuilder = Callable[[gym.Env], gym.Env]
"""Builds a wrapper from an environment.

It is called for every copy.  ``env.get_wrapper_attr("copy_name")`` is the name of the copy, such as ``train-0`` or
``eval-3``, for files that no other copy may write.
"""

Wrappers = Mapping[str, Sequence[WrapperBuilder]]
"""Wrappers by the names of their options, in the order in which they are put around an environment."""


def wrapped(env: gym.Env, wrappers: Wrappers, copy_name: str) -> gym.Env:
    """The environment with wrappers around it; the last one is the outermost.

    Args:
        env: the environment.
        wrappers: builders by the names of their options, for error messages.
        copy_name: the name of the copy.

    Raises:
        MaxEntError: if a builder raises an error, or returns no environment.
    """
    env.set_wrapper_attr(COPY_NAME, copy_name)
    for option, builders in wrappers.items():
        for place, build in enumerate(builders, start=1):
            who = f"Wrapper {place} of data.{option}"
            with errors_of(who):
                env = build(env)
            _check(who, env)
    return env


def _check(who: str, env: object) -> None:
    if not isinstance(env, gym.Env):
        raise MaxEntError(
            f"{who} returned {'None' if env is None else f'an object of the class {type(env).__name__}'}, but it must "
            f"return a gymnasium.Env."
        )
    if type(env) is gym.wrappers.RecordVideo:
        raise MaxEntError(
            f"{who} is Gymnasium's RecordVideo, with which several copies would write the same files: use "
            f"lightning_maxent.RecordVideo."
        )
