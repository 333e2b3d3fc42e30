"""A trained policy: it takes observations of the environment and returns actions of the environment."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.spaces import flatdim, flatten
from torch import Tensor

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.data.data_module import EnvironmentDataModule
from lightning_maxent.errors import MaxEntError


class TrainedPolicy:
    """Chooses actions for observations.  ``load_policy`` makes one, or use a model and its data module directly.

    It does not copy the networks of the model, so it changes if the model is trained further.

    Args:
        model: the algorithm whose policy is used; it stays on its device.
        data: the data module with which the model was trained.  Its scaling of observations is used; no environment
            stays open.
    """

    def __init__(self, model: AbstractAlgorithm, data: EnvironmentDataModule):
        self.model = model
        self.observation_space, self.observation_scaling = data.observation_space, data.observation_scaling
        self.codec, self.env_id, self.env_kwargs = data.codec, data.env_id, data.env_kwargs
        self.wrappers, self.env_steps = data.wrappers, data.env_steps
        self._data = data

    def __call__(self, obs: Any, deterministic: bool = False) -> Any:
        """Actions in the form that the environment takes.

        Args:
            obs: one observation of the environment, or a batch with a leading axis as from a Gymnasium vector
                environment: an array ``[batch, ...]``, or a dict or tuple of such arrays.
            deterministic: whether to return the deterministic action in place of a sample.  Samples use torch's random
                state.

        Returns:
            One action, or an array ``[batch, ...]`` of actions.

        Raises:
            MaxEntError: if ``obs`` is neither an observation nor a batch of observations, or an action is not finite.
        """
        scaled, is_batch = self._scaled(obs)
        with evaluating(self.model):
            actions = self.codec.to_env(self.model.act(scaled, deterministic))
        return actions if is_batch else actions[0]

    def act_and_estimate(self, obs: Any, deterministic: bool = False) -> tuple[Any, dict[str, float]]:
        """An action, and what the algorithm estimates for it.

        Args:
            obs: one observation of the environment.
            deterministic: whether to return the deterministic action in place of a sample.

        Returns:
            The action in the form that the environment takes, and numbers by name: ``entropy`` in nats, and the values
            ``V`` and ``Q`` in scaled rewards if the algorithm learns them.

        Raises:
            MaxEntError: if ``obs`` is not an observation, or the action is not finite.
        """
        scaled, _ = self._scaled(obs)
        with torch.no_grad(), evaluating(self.model):
            action = self.model.act(scaled, deterministic)
            seen = scaled.to(self.model.device).type(self.model.dtype)
            with random_state_kept(self.model.device):  # so that estimates do not change the actions that follow
                estimates = self.model.estimates(seen, action.to(self.model.device).type(self.model.dtype))
        return self.codec.to_env(action)[0], {name: float(value[0]) for name, value in estimates.items()}

    def make_env(self, render_mode: str | None = None) -> gym.Env:
        """A new copy of the environment, with the ``wrappers`` of the run and its own observations and actions.

        Args:
            render_mode: how the environment shows itself: ``human`` for a window, ``rgb_array`` for pictures; None for
                that of the run.

        Raises:
            MaxEntError: if the environment cannot be made or does not have the render mode.
        """
        return self._data.make_env(render_mode).get_wrapper_attr("env")

    def _scaled(self, obs: Any) -> tuple[Tensor, bool]:
        """Observations as the networks take them, ``[batch, obs_dim]``, and whether ``obs`` is a batch."""
        try:
            is_batch = _is_batch(self.observation_space, obs)
            rows = _rows(self.observation_space, obs) if is_batch else [obs]
            flat = [
                torch.from_numpy(np.asarray(flatten(self.observation_space, row), dtype=np.float32)) for row in rows
            ]
            seen = torch.stack(flat).reshape(-1, flatdim(self.observation_space))
        except Exception as error:  # a wrong observation may raise any error
            raise MaxEntError(
                f"obs is {_described(obs)}, which is neither an observation of the environment nor a batch of them; "
                f"their space is {self.observation_space}."
            ) from error
        return self.observation_scaling(seen), is_batch


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Restore torch's random states, of the CPU and of a device, at the end."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def evaluating(model: AbstractAlgorithm) -> Iterator[None]:
    """Switch a model to evaluation mode, and each of its modules back to its own mode at the end."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _is_batch(space: spaces.Space, obs: Any) -> bool:
    """Whether ``obs`` is a batch; raises ``ValueError`` if it is neither a batch nor one observation."""
    kinds = {_size(part.shape or (), np.shape(value)) for part, value in _leaves(space, obs)}
    if len(kinds) != 1:
        raise ValueError
    return kinds.pop() is not None


def _size(shape: tuple[int, ...], given: tuple[int, ...]) -> int | None:
    """The size of a batch of observations of this shape; None for one observation."""
    if given == shape:
        return None
    if given[1:] != shape or len(given) != len(shape) + 1:
        raise ValueError
    return given[0]


def _leaves(space: spaces.Space, obs: Any) -> list[tuple[spaces.Space, Any]]:
    """The innermost spaces, each with its part of the observation."""
    if isinstance(space, spaces.Dict):
        return [leaf for key, part in space.items() for leaf in _leaves(part, obs[key])]
    if isinstance(space, spaces.Tuple):
        return [leaf for part, value in zip(space.spaces, obs, strict=True) for leaf in _leaves(part, value)]
    return [(space, obs)]


def _rows(space: spaces.Space, obs: Any) -> list[Any]:
    """The single observations of a batch."""
    if isinstance(space, spaces.Dict):
        columns = {key: _rows(part, obs[key]) for key, part in space.items()}
        return [dict(zip(columns, row)) for row in zip(*columns.values())]
    if isinstance(space, spaces.Tuple):
        return list(zip(*(_rows(part, value) for part, value in zip(space.spaces, obs))))
    return list(obs)


def _described(obs: Any) -> str:
    """A description of a value by names and shapes, for messages."""
    if isinstance(obs, Mapping):
        return f"a dict of {', '.join(f'{key!r}: {_described(value)}' for key, value in obs.items()) or 'nothing'}"
    if isinstance(obs, tuple):
        return f"a tuple of {', '.join(map(_described, obs)) or 'nothing'}"
    return f"an array of shape {obs.shape}" if isinstance(obs, np.ndarray) else f"{obs!r:.60}"
