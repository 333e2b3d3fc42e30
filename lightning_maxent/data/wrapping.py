"""Wrappers of environments that a configuration names."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

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


def named(builders: Sequence[WrapperBuilder]) -> list[str]:
    """The names of wrappers with those arguments that are not defaults, as text that can be saved and compared.

    ``TimeLimit(max_episode_steps=5)`` is an example.  Arguments whose text may change from run to run are given by the
    name of their class.
    """
    return [_named(build) for build in builders]


def _named(build: Any) -> str:
    arguments: dict[str, Any] = {}
    while isinstance(build, partial):
        arguments = build.keywords | arguments
        # jsonargparse builds a partial of a function of its own, whose last argument is the class of the wrapper.
        build = build.args[-1] if build.args and inspect.isclass(build.args[-1]) else build.func
    with suppress(TypeError, ValueError):  # it has no signature
        defaults = {name: each.default for name, each in inspect.signature(build).parameters.items()}
        arguments = {
            name: value for name, value in arguments.items() if _text(value) != _text(defaults.get(name, build))
        }
    given = ", ".join(f"{name}={_text(value)}" for name, value in sorted(arguments.items()))
    return f"{_text(build)}({given})"


def _text(value: Any) -> str:
    if isinstance(value, str | int | float | bool | None):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{_text(key)}: {_text(each)}' for key, each in value.items()))}}}"
    return getattr(value, "__qualname__", type(value).__qualname__)


def _check(who: str, env: object) -> None:
    if not isinstance(env, gym.Env):
        raise MaxEntError(
            f"{who} returned {'None' if env is None else f'an object of the class {type(env).__name__}'}, but it must "
            f"return a gymnasium.Env."
        )
    if type(env) is gym.wrappers.RecordVideo:
        raise MaxEntError(
            f"{who} is Gymnasium's RecordVideo, with which several copies would write the same files: use "
            f"the callback lightning_maxent.EpisodeVideos, or lightning-maxent record."
        )
