"""Makes environments with flattened observations."""

import inspect
import re
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from lightning_maxent.data.checked_env import CheckedEnv
from lightning_maxent.data.env_ids import registered_name
from lightning_maxent.data.mujoco_warnings import without_outdated_attribute
from lightning_maxent.data.wrapping import Wrappers, wrapped
from lightning_maxent.errors import ForeignError, MaxEntError, described, errors_of, source_line

# Gymnasium's messages for a missing or wrong space.
NO_SPACE = re.compile(r"The environment must specify an (\w+) space|(\w+) space does not inherit from")


def make_env(
    env_id: str,
    env_kwargs: dict[str, Any] | None = None,
    wrappers: Wrappers | None = None,
    purpose: str = "train",
    copy: int = 0,
) -> gym.Env:
    """``gymnasium.make`` with wrappers, then with checked and flattened observations.

    Finite observations become one-hot vectors.

    Args:
        env_id: a registered id, or ``module:Id`` with a module that registers it.
        env_kwargs: keyword arguments of the environment.
        wrappers: wrappers by the names of their options; None for none.
        purpose: what the copy is for, ``train`` or ``eval``, a part of its name for wrappers.
        copy: the number of the copy among those for the same purpose.

    Raises:
        MaxEntError: for an unknown id (the message names near matches), arguments that the environment refuses,
            observations that cannot be flattened, or an error in the code of the environment or of a wrapper.
    """
    name, making = registered_name(env_id), f"Making the environment {env_id!r}"
    with errors_of(making):
        try:
            with without_outdated_attribute(name):
                env = gym.make(name, **(env_kwargs or {}))
        except (gym.error.DependencyNotInstalled, ModuleNotFoundError) as error:
            raise ForeignError(
                f"The environment {env_id!r} needs a package that is not installed, or imports it by a wrong name: "
                f"{described(error)}."
            ) from error
        except (AttributeError, TypeError) as error:
            if lacking := NO_SPACE.match(str(error)):
                raise _no_space(env_id, name, f"{lacking[1] or lacking[2]}_space") from error
            if isinstance(error, AttributeError):
                raise
            cause = error.__cause__ or error  # Gymnasium raises its own error from that of the environment
            if not _refuses_arguments(cause, env_kwargs or {}):
                raise ForeignError(f"{making} raised {described(cause)}.") from cause
            if missing := re.search(r"missing \d+ required .*: '(\w+)'", str(cause)):
                raise MaxEntError(
                    f"The environment {env_id!r} needs more arguments ({cause}): give them with --data.env_kwargs, as "
                    f"in "
                    f'--data.env_kwargs "{{{missing[1]}: 1}}".'
                ) from error
            raise MaxEntError(f"The environment {env_id!r} does not take env_kwargs {env_kwargs}: {cause}.") from error
        try:
            for space in ("observation_space", "action_space"):
                if not isinstance(getattr(env, space, None), spaces.Space):
                    raise _no_space(env_id, name, space)
            if wrappers:
                env = wrapped(env, wrappers, f"{purpose}-{copy}")
            check_observation_space(env_id, env.observation_space)
        except Exception:
            env.close()
            raise
        return CheckedEnv(env, copy)


def check_render_mode(env_id: str, env_kwargs: dict[str, Any], render_mode: str) -> None:
    """Raise ``MaxEntError`` unless the environment has the render mode; makes a copy and closes it."""
    env = make_env(env_id, {key: value for key, value in env_kwargs.items() if key != "render_mode"})
    modes = list(env.metadata.get("render_modes", []))
    env.close()
    if render_mode == "human" and "rgb_array" in modes:
        modes.append("human")  # Gymnasium shows the pictures in a window
    if render_mode not in modes:
        raise MaxEntError(
            f"The environment {env_id!r} has no render mode {render_mode}, only "
            f"{', '.join(map(str, modes)) or 'none at all'}: its class must list the mode in metadata['render_modes']."
        )


def _no_space(env_id: str, name: str, space: str) -> MaxEntError:
    """The error for a missing space, with the file and line of the environment's class if known."""
    sentence = f"The environment {env_id!r} must set {space} to one of gymnasium.spaces in its constructor"
    try:
        maker = gym.spec(name).entry_point
        maker = load_env_creator(maker) if isinstance(maker, str) else maker
        file, (_, line) = inspect.getfile(maker), inspect.getsourcelines(maker)  # type: ignore[arg-type]
    except (gym.error.Error, TypeError, OSError):  # without a version; no class or function; no source
        return MaxEntError(f"{sentence}.")
    return MaxEntError(f"{sentence}: see {getattr(maker, '__name__', name)} ({file}, line {line}).")


def _refuses_arguments(error: BaseException, env_kwargs: dict[str, Any]) -> bool:
    """Whether the error is about wrong arguments of the constructor, also if these are refused further inside."""
    innermost = error.__traceback__
    while innermost and innermost.tb_next:
        innermost = innermost.tb_next
    module = innermost.tb_frame.f_globals.get("__name__") if innermost else None
    refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    by_the_call = module in (__name__, "gymnasium.envs.registration") and source_line(error) is None
    return by_the_call or bool(refused and refused[1] in env_kwargs)


def check_observation_space(env_id: str, space: spaces.Space) -> None:
    """Raise ``MaxEntError`` unless the space is a Box, a finite space, or a Dict or Tuple of such spaces."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, part in space.items() if isinstance(space, spaces.Dict) else enumerate(space):
            check_observation_space(f"{env_id} (observation {key!r})", part)
    elif not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise MaxEntError(
            f"{env_id} has observations in {space}; only Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple "
            f"of these are supported: wrap the environment, e.g. with gymnasium.wrappers.TransformObservation."
        )


def say_that_images_are_flattened(env_id: str, space: spaces.Space) -> None:
    """Log a line if an observation is or contains an image: a Box of three or more axes, or of two axes of bytes."""
    from pytorch_lightning.utilities import rank_zero_info  # takes seconds to import, in every spawned worker too

    for part in _parts(space):
        if isinstance(part, spaces.Box) and (len(part.shape) > 2 or (len(part.shape) == 2 and part.dtype == "uint8")):
            rank_zero_info(
                f"{env_id} has images of shape {part.shape} as observations: they are flattened to "
                f"{spaces.flatdim(part):,} numbers, because this package has no convolutional network."
            )


def _parts(space: spaces.Space) -> list[spaces.Space]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.values() if isinstance(space, spaces.Dict) else space
        return [leaf for part in parts for leaf in _parts(part)]
    return [space]
