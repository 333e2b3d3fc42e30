"""A wrapper that flattens observations, leaves out infos, and checks what the environment returns."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.spaces import flatdim, flatten, flatten_space

from lightning_maxent.data.env_states import UnsavableError, restore_state, saved_state
from lightning_maxent.errors import (
    FOREIGN,
    ForeignError,
    MaxEntError,
    code_owner_rank,
    described,
    errors_of,
    source_line,
)

MUST = {
    "reset": "take seed and options and return (observation, info)",
    "step": "return (observation, reward, terminated, truncated, info)",
}


class CheckedEnv(gym.Wrapper):
    """Flattens observations, leaves out infos, and checks observations and rewards.

    Infos are not used, and a vector environment cannot always combine the infos of its copies.

    Errors of ``reset`` and ``step`` begin with the number of the copy; the caller adds the environment and the step.

    Args:
        env: the environment.
        copy: its number among the parallel copies.
    """

    def __init__(self, env: gym.Env, copy: int = 0):
        super().__init__(env)
        self._space = env.observation_space
        self.observation_space = flatten_space(self._space)
        self._size = flatdim(self._space)
        self.copy = copy
        self._steps = 0  # steps of this episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """The first observation, flattened, and an empty info.

        Raises:
            MaxEntError: if the environment raises an error or does not return (observation, info).
        """
        self._steps = 0
        try:
            answer = self.env.reset(seed=seed, options=options)
        except FOREIGN as error:
            raise self._raised("reset", error) from error
        if not (isinstance(answer, tuple | list) and len(answer) == 2 and isinstance(answer[1], dict)):
            raise self._wrong(
                "reset", f"returned {_thing(answer)}, but reset must {MUST['reset']}, where info is a dict"
            )
        return self._flat("reset", answer[0]), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """The result of the environment's step, with a flattened observation, a float reward and an empty info.

        Raises:
            MaxEntError: if the environment raises an error or returns a wrong observation, reward or end of an episode.
        """
        self._steps += 1
        try:
            answer = self.env.step(action)
        except FOREIGN as error:
            raise self._raised("step", error) from error
        try:
            obs, reward, terminated, truncated, _ = answer
            reward = reward if type(reward) is float else _number(reward)
            terminated = terminated if type(terminated) is bool else _flag(terminated)
            truncated = truncated if type(truncated) is bool else _flag(truncated)
        except (TypeError, ValueError) as error:
            raise self._wrong("step", _wrong_step(answer)) from error
        return self._flat("step", obs), reward, terminated, truncated, {}

    def state_in_episode(self) -> list[dict[str, Any]] | str:
        """The state of the environment as plain data, or what of it cannot be saved."""
        try:
            return saved_state(self)
        except UnsavableError as error:
            return str(error)

    def continue_episode(self, states: list[list[dict[str, Any]]]) -> str:
        """Set the state of this copy, out of those of all copies; returns why it cannot be set, else an empty text."""
        try:
            restore_state(self, states[self.copy])
        except UnsavableError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Close the environment.

        Raises:
            MaxEntError: if the environment raises an error.
        """
        spec = self.unwrapped.spec
        name = spec.id if spec else type(self.unwrapped).__name__
        with errors_of(f"{name}: copy {self.copy}, in close,"):
            super().close()

    def _flat(self, method: str, obs: Any) -> np.ndarray:
        flat = _flattened(self._space, self._size, obs)
        if flat is None:
            raise self._wrong(method, _wrong_observation("observation", self._space, obs))
        return flat

    def _raised(self, method: str, error: BaseException) -> MaxEntError:
        if isinstance(error, MaxEntError):
            return error
        what = f"{self._who} raised {described(error)}"
        if source_line(error) is None and (author := self._author(method)):
            what += f": {method} must {MUST[method]}; see {author}"
        return ForeignError(f"{what}.")

    def _wrong(self, method: str, what: str) -> MaxEntError:
        author = self._author(method)
        return MaxEntError(f"{self._who} {what}{f': see {author}' if author else ''}.")

    @property
    def _who(self) -> str:
        return f"copy {self.copy}, {f'in step {self._steps} of its episode' if self._steps else 'in reset'},"

    def _author(self, method: str) -> str | None:
        """File and line of the method in the outermost layer that is neither Gymnasium's nor ours."""
        layer = self.env
        while True:
            for name in (method, "observation", "reward"):
                code = getattr(getattr(type(layer), name, None), "__code__", None)
                if code and code_owner_rank(code.co_filename):
                    return f"{type(layer).__name__}.{name} ({code.co_filename}, line {code.co_firstlineno})"
            if not isinstance(layer, gym.Wrapper):
                return None
            layer = layer.env


def _number(reward: Any) -> float:
    if np.ndim(reward) or isinstance(reward, str | bytes):
        raise ValueError("not a number")
    return float(reward)


def _flag(end: Any) -> bool:
    if end is None or np.ndim(end):
        raise ValueError("neither True nor False")
    return bool(end)


def _flattened(space: spaces.Space, size: int, obs: Any) -> np.ndarray | None:
    """The flattened observation, or None if ``obs`` is not an observation of the space."""
    try:
        flat = np.asarray(flatten(space, obs)) if _fits(space, obs) else None
    except Exception:  # flatten may raise any error for a wrong observation
        return None
    return flat if flat is not None and len(flat) == size else None


def _fits(space: spaces.Space, obs: Any) -> bool:
    """Whether every part has the shape of its space, and finite parts are in range; ``flatten`` does not check this."""
    if isinstance(space, spaces.Dict):
        return all(_fits(part, obs[key]) for key, part in space.items())
    if isinstance(space, spaces.Tuple):
        return len(obs) == len(space) and all(map(_fits, space, obs))
    if obs is None or np.shape(obs) != space.shape:  # NumPy would turn None into NaN
        return False
    if isinstance(space, spaces.Discrete):
        return bool(0 <= obs - space.start < space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return bool(np.all((obs >= space.start) & (obs < space.start + space.nvec)))
    return True


def _wrong_step(answer: Any) -> str:
    if not isinstance(answer, tuple | list) or len(answer) != 5:
        return f"returned {_thing(answer)}, but step must {MUST['step']}"
    _, reward, terminated, truncated, _ = answer
    try:
        _number(reward)
    except (TypeError, ValueError):
        return f"gave {_thing(reward)} as reward, but a reward is one number"
    return f"gave {_thing(terminated)} as terminated and {_thing(truncated)} as truncated, but each is True or False"


def _wrong_observation(name: str, space: spaces.Space, obs: Any) -> str:
    """What is wrong with an observation, or with the first wrong part of it."""
    parts = {}
    if isinstance(space, spaces.Dict) and isinstance(obs, dict) and obs.keys() >= space.spaces.keys():
        parts = {key: (part, obs[key]) for key, part in space.items()}
    if isinstance(space, spaces.Tuple) and isinstance(obs, tuple) and len(obs) == len(space):
        parts = dict(enumerate(zip(space, obs)))
    for key, (part, value) in parts.items():
        if _flattened(part, flatdim(part), value) is None:
            return _wrong_observation(f"{name}[{key!r}]", part, value)
    return f"gave {_thing(obs)} as {name}, but its space is {space}"


def _thing(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(repr, value)) or 'nothing'}"
    return "None" if value is None else f"{value!r:.60} of type {type(value).__name__}"
