"""Conversion between the actions of an environment and the action vectors of the learner."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions, BoxActions, FiniteActions
from lightning_maxent.errors import MaxEntError

Actions = TypeVar("Actions", bound=AbstractActions)


class AbstractActionCodec(ABC, Generic[Actions]):
    """Converts the actions of one action space.

    Args:
        space: the action space of the environment.
        actions: the description of the action space for algorithms.
    """

    def __init__(self, space: spaces.Space, actions: Actions):
        self.space, self.actions = space, actions

    @abstractmethod
    def to_env(self, action: Float[Tensor, "env action_dim"]) -> np.ndarray:
        """The actions in the form that the vector environment takes."""

    @abstractmethod
    def to_env_tensor(self, action: Float[Tensor, "env action_dim"]) -> Tensor:
        """What ``to_env`` gives, computed by operations of torch alone, which an exported policy can hold.

        Raises:
            MaxEntError: for a space whose actions torch cannot compute exactly.
        """

    @abstractmethod
    def uniform(self, envs: int) -> Float[Tensor, "env action_dim"]:
        """Uniform actions, drawn from torch's random state."""


class BoxCodec(AbstractActionCodec[BoxActions]):
    """Scales ``[-1, 1]^dim`` to the bounds of a Box.

    For a Box of integers, every integer between the bounds gets an equal part of ``[-1, 1]``, so uniform actions become
    uniform integers.  Rounding to the nearest integer would give half as much to the two at the ends.
    """

    def __init__(self, space: spaces.Box):
        super().__init__(space, BoxActions(spaces.flatdim(space)))
        self._shape, self._dtype = space.shape, space.dtype
        self._low, self._high = space.low[np.newaxis], space.high[np.newaxis]

    def to_env(self, action: Float[Tensor, "env action_dim"]) -> np.ndarray:
        unit = (action.double().numpy().reshape(len(action), *self._shape) + 1) / 2
        return (self._number if np.issubdtype(self._dtype, np.floating) else self._integer)(unit.clip(0, 1))

    def to_env_tensor(self, action: Float[Tensor, "env action_dim"]) -> Tensor:
        unit = ((action.double().reshape(action.shape[0], *self._shape) + 1) / 2).clamp(0, 1)
        low, high = (torch.as_tensor(bound.astype(np.float64), device=unit.device) for bound in (self._low, self._high))
        if np.issubdtype(self._dtype, np.floating):
            scaled = (low * (1 - unit) + high * unit).clamp(low, high)
        elif max(np.abs(bound.astype(np.float64)).max() for bound in (self._low, self._high)) > 2**52:
            raise MaxEntError(f"The actions {self.space} have integers beyond 2^52, which float64 cannot hold exactly.")
        else:
            scaled = low + (unit * (high - low + 1)).floor().minimum(high - low)
        return scaled.to(_torch_dtype(self._dtype))

    def uniform(self, envs: int) -> Float[Tensor, "env action_dim"]:
        return torch.rand(envs, self.actions.dim) * 2 - 1

    def _number(self, unit: np.ndarray) -> np.ndarray:
        low, high = self._low.astype(np.float64), self._high.astype(np.float64)
        return np.clip(low * (1 - unit) + high * unit, low, high).astype(self._dtype)

    def _integer(self, unit: np.ndarray) -> np.ndarray:
        """Computes modulo 2^64, because the distance from low to high of some integer types needs 64 unsigned bits."""
        low = self._low.astype(np.uint64)
        furthest = self._high.astype(np.uint64) - low
        counted = np.where(unit < 1, np.floor(unit * (furthest.astype(np.float64) + 1)), 0.0).astype(np.uint64)
        return (low + np.where(unit < 1, np.minimum(counted, furthest), furthest)).astype(self._dtype)


class FiniteCodec(AbstractActionCodec[FiniteActions]):
    """Converts one-hot vectors to the numbers of a Discrete, MultiDiscrete or MultiBinary space.

    Args:
        space: the action space of the environment.
        max_joint: an action of several factors becomes one choice among all their combinations if there are at most
            this many; else it keeps its factors.
    """

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary, max_joint: int):
        choices = _choices(space)
        self._choices, self._start, self._dtype = choices, getattr(space, "start", 0), space.dtype
        counts = tuple(choices.ravel().tolist())
        self._joint = prod(counts) <= max_joint
        super().__init__(space, FiniteActions((prod(counts),) if self._joint else counts))

    def to_env(self, action: Float[Tensor, "env action_dim"]) -> np.ndarray:
        indices = [factor.argmax(-1).numpy() for factor in action.split(self.actions.counts, -1)]
        if self._joint:
            indices = np.unravel_index(indices[0], self._choices.ravel())
        chosen = np.stack(indices, axis=-1).reshape(len(action), *self._choices.shape)
        return (chosen + self._start).astype(self._dtype)

    def to_env_tensor(self, action: Float[Tensor, "env action_dim"]) -> Tensor:
        indices = [factor.argmax(-1) for factor in action.split(self.actions.counts, -1)]
        if self._joint:
            counts = self._choices.ravel().tolist()
            strides = [prod(counts[place + 1 :]) for place in range(len(counts))]
            indices = [indices[0] // stride % count for stride, count in zip(strides, counts)]
        chosen = torch.stack(indices, -1).reshape(action.shape[0], *self._choices.shape)
        return (chosen + torch.as_tensor(self._start, device=chosen.device)).to(_torch_dtype(self._dtype))

    def uniform(self, envs: int) -> Float[Tensor, "env action_dim"]:
        return self.actions.sample(self.actions.log_softmax(torch.zeros(envs, self.actions.dim)))


def _torch_dtype(dtype: Any) -> torch.dtype:
    return torch.from_numpy(np.zeros((), dtype)).dtype


def _choices(space: spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary) -> np.ndarray:
    """The number of choices of each factor, in the shape of an action of the space."""
    if isinstance(space, spaces.Discrete):
        return np.array(space.n)
    return np.asarray(space.nvec) if isinstance(space, spaces.MultiDiscrete) else np.full(space.shape or (), 2)


def bounded(env_id: str, space: spaces.Space, bounds: Sequence[float] | None) -> spaces.Space:
    """The space with the infinite bounds of a Box replaced by ``bounds``, low and high; finite bounds stay.

    Raises:
        MaxEntError: for a Box with infinite bounds without ``bounds``, a space without infinite bounds with ``bounds``,
            or a low that is not below its high.
    """
    if not isinstance(space, spaces.Box) or space.is_bounded():
        if bounds:
            raise MaxEntError(f"The actions of {env_id} have no infinite bound ({space}): leave out action_bounds.")
        return space
    if bounds and not bounds[0] < bounds[1]:
        raise MaxEntError(f"action_bounds must be a low and a high above it, but is {list(bounds)}.")
    low, high = bounds or (-np.inf, np.inf)
    low = np.where(space.bounded_below, space.low.astype(np.float64), low)
    high = np.where(space.bounded_above, space.high.astype(np.float64), high)
    if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        least = min([-1.0, *(space.high[space.bounded_above] - 1.0)])
        most = max([1.0, *(space.low[space.bounded_below] + 1.0)])
        raise MaxEntError(
            f"The actions of {env_id} have infinite bounds "
            f"({space}){f', and {bounds} cannot replace them' if bounds else ''}: "
            f'give low and high for them, as in --data.action_bounds "[{least:g}, {most:g}]"; finite bounds stay.'
        )
    return spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype)  # type: ignore[arg-type]


def action_codec(env_id: str, space: spaces.Space, max_joint: int) -> AbstractActionCodec:
    """The codec of an action space.

    Raises:
        MaxEntError: unless the space is a Box, Discrete, MultiDiscrete or MultiBinary.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return FiniteCodec(space, max_joint)
    if not isinstance(space, spaces.Box):
        raise MaxEntError(
            f"{env_id} has the action space {space}; only Box, Discrete, MultiDiscrete and MultiBinary are supported."
        )
    return BoxCodec(space)
