"""The state of an environment within an episode, so that a resumed run goes on with the episode it stopped in.

The state is made of plain data, which a checkpoint holds without pickled classes.  An environment or a wrapper of your
own takes part with two methods:

- ``save_state()`` returns its state: numbers, text, NumPy arrays and generators, and lists, tuples and dicts of them;
- ``restore_state(state)`` sets it, in a copy that was made with the same arguments and was reset.

Without these methods, the state of a class is that of its attributes, if the class is in one of the packages in
``KNOWN``, which are tested.  Other environments cannot be saved.
"""

from collections import deque
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Space
from gymnasium.wrappers.utils import RunningMeanStd

KNOWN = ("gymnasium.envs.classic_control.", "gymnasium.envs.toy_text.", "gymnasium.envs.mujoco.", "gymnasium.wrappers.")
KNOWN += ("lightning_maxent.environments.", "lightning_maxent.data.")
# What does not change within an episode: attributes of these types, of pygame's types, and with these names.
CONSTANT = (gym.Env, Space, EnvSpec, ModuleType, type)
CONSTANT_NAMES = frozenset({"P", "model", "mujoco_renderer", "world", "_saved_kwargs"})
PLAIN = (bool, int, float, str, bytes, type(None))


class UnsavableError(Exception):
    """The state of an environment cannot be saved; the message says which part of it."""


@runtime_checkable
class SavesState(Protocol):
    """An environment or a wrapper that saves its own state."""

    def save_state(self) -> Any:
        """Its state, as plain data."""

    def restore_state(self, state: Any) -> None:
        """Set a state that ``save_state`` returned."""


def saved_state(env: gym.Env) -> list[dict[str, Any]]:
    """The state of every layer of an environment, from the outermost wrapper inwards.

    Raises:
        UnsavableError: if a layer has a state that cannot be saved.
    """
    return [{"layer": _name(layer), "state": _of_layer(layer)} for layer in _layers(env)]


def restore_state(env: gym.Env, state: list[dict[str, Any]]) -> None:
    """Set the state of every layer of an environment that was made with the same arguments and was reset.

    Raises:
        UnsavableError: if the layers are others than those that were saved.
    """
    layers = list(_layers(env))
    if [_name(layer) for layer in layers] != [each["layer"] for each in state]:
        raise UnsavableError("it had other wrappers")
    for layer, saved in zip(layers, state):
        if isinstance(layer, SavesState):
            layer.restore_state(_decoded(saved["state"], None))
        else:
            for name, value in saved["state"].items():
                setattr(layer, name, _decoded(value, getattr(layer, name, None)))


def _layers(env: gym.Env) -> Iterator[gym.Env]:
    while True:
        yield env
        if not isinstance(env, gym.Wrapper):
            return
        env = env.env


def _name(layer: gym.Env) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _of_layer(layer: gym.Env) -> Any:
    if isinstance(layer, SavesState):
        return _encoded(layer.save_state(), f"the result of {type(layer).__name__}.save_state")
    if not _name(layer).startswith(KNOWN):
        raise UnsavableError(f"{type(layer).__name__} has no methods save_state and restore_state")
    return {
        name: _encoded(value, f"{type(layer).__name__}.{name}")
        for name, value in vars(layer).items()
        if not (name in CONSTANT_NAMES or _is_constant(value))
    }


def _is_constant(value: Any) -> bool:
    return isinstance(value, CONSTANT) or callable(value) or _package(value) == "pygame"


def _package(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _encoded(value: Any, name: str) -> Any:
    """Plain data for a value: containers keep their types, and other objects become a dict with one key."""
    if type(value) in PLAIN:  # not NumPy's numbers, some of which are subclasses
        return value
    if isinstance(value, torch.Tensor):
        return {"tensor": value.clone()}
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        array = np.ascontiguousarray(value)
        raw = torch.from_numpy(array.reshape(-1).view(np.uint8).copy())
        kind = "array" if isinstance(value, np.ndarray) else "number"
        return {kind: raw, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.random.Generator):
        return {"generator": _encoded(value.bit_generator.state, name)}
    if isinstance(value, deque):
        return {"deque": [_encoded(each, name) for each in value]}
    if isinstance(value, RunningMeanStd):
        return {"attributes": {key: _encoded(part, name) for key, part in vars(value).items()}}
    if isinstance(value, list | tuple):
        encoded = [_encoded(each, name) for each in value]
        return tuple(encoded) if isinstance(value, tuple) else encoded
    if isinstance(value, dict) and all(type(key) in PLAIN for key in value):
        return {"dict": {key: _encoded(part, name) for key, part in value.items()}}
    if _package(value) == "mujoco" and type(value).__name__ == "MjData":
        return {"mujoco": _of_mujoco(value, name)}
    raise UnsavableError(f"{name} is a {type(value).__name__}")


def _decoded(saved: Any, now: Any) -> Any:
    """The value of encoded data; where it can, it changes the value ``now``, which other objects may refer to."""
    if isinstance(saved, PLAIN):
        return saved
    if isinstance(saved, list | tuple):
        values = [_decoded(each, before) for each, before in zip(saved, _parts(now, len(saved)))]
        if isinstance(saved, list):
            return values
        return type(now)(*values) if hasattr(now, "_fields") else tuple(values)
    (kind, content), *_ = saved.items()
    if kind == "tensor":
        return content.clone()
    if kind in ("array", "number"):
        array = np.frombuffer(content.numpy().tobytes(), saved["dtype"]).reshape(saved["shape"]).copy()
        return array if kind == "array" else array[()]
    if kind == "generator":
        generator = np.random.Generator(getattr(np.random, content["dict"]["bit_generator"])())
        generator.bit_generator.state = _decoded(content, None)
        return generator
    if kind == "deque":
        return deque((_decoded(each, None) for each in content), maxlen=now.maxlen if isinstance(now, deque) else None)
    if kind == "attributes":
        for name, value in content.items():
            setattr(now, name, _decoded(value, getattr(now, name, None)))
        return now
    if kind == "mujoco":
        now.time = content["time"]
        for name, array in ((name, _decoded(saved, None)) for name, saved in content.items() if name != "time"):
            if (part := getattr(now, name)).shape == array.shape:  # others belong to contacts, and are computed anew
                part[...] = array
        return now
    return {key: _decoded(value, now.get(key) if isinstance(now, dict) else None) for key, value in content.items()}


def _of_mujoco(data: Any, name: str) -> dict[str, Any]:
    """The time and all arrays of a ``mujoco.MjData``.

    The physical state alone would not do: environments also read quantities that MuJoCo computed from the state before
    the last integration.
    """
    parts = {part: getattr(data, part) for part in dir(data) if not part.startswith("_")}
    arrays = {part: array for part, array in parts.items() if isinstance(array, np.ndarray) and array.flags.writeable}
    return {"time": data.time} | {part: _encoded(array, name) for part, array in arrays.items()}


def _parts(now: Any, count: int) -> list[Any]:
    return list(now) if isinstance(now, list | tuple) and len(now) == count else [None] * count
