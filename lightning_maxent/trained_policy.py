"""What a run has learned, to play with: the environment's own observations in, its own actions out."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from gymnasium import spaces
from gymnasium.spaces import flatdim, flatten

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.arguments import explain, run_folder
from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.data.environment import EnvironmentDataModule
from lightning_maxent.errors import MaxEntError, broken_module
from lightning_maxent.run_parser import build_model_and_data


class TrainedPolicy:
    """Chooses actions; made by ``load_policy``, or from a model and a data module that are at hand.

    It uses the networks of the model as they are: after more training it plays what they have become.

    Args:
        model: the algorithm whose policy plays; it stays on its device.
        data: the data module that the model has learned from.  Its scaling of observations is used; no environment
            stays open.
    """

    def __init__(self, model: AbstractAlgorithm, data: EnvironmentDataModule):
        self.model = model
        self._space, self._scaling, self._codec = data.observation_space, data.observation_scaling, data.codec

    def __call__(self, obs: Any, deterministic: bool = False) -> Any:
        """Actions in the form in which the environment takes them.

        Args:
            obs: one observation of the environment, or a batch of them with a leading axis, as a Gymnasium vector
                environment gives it: an array ``[batch, ...]``, or a dict or tuple of such arrays.
            deterministic: the policy's one best guess in place of a sample.  Samples are drawn from torch's random state.

        Returns:
            One action, or an array ``[batch, ...]`` of actions.

        Raises:
            MaxEntError: if ``obs`` is neither one observation nor a batch of them, or an action is not finite.
        """
        try:
            is_batch = _is_batch(self._space, obs)
            rows = _rows(self._space, obs) if is_batch else [obs]
            flat = [torch.from_numpy(np.asarray(flatten(self._space, row), dtype=np.float32)) for row in rows]
            seen = torch.stack(flat).reshape(-1, flatdim(self._space))
        except Exception as error:  # whatever comes of treating it as what it is not
            raise MaxEntError(
                f"What was given as observation, {_described(obs)}, is neither one of the environment's observations nor a batch of them; their space is "
                f"{self._space}."
            ) from error
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            actions = self._codec.to_env(self.model.act(self._scaling(seen), deterministic))
        finally:
            for module in training:
                module.training = True
        return actions if is_batch else actions[0]


def load_policy(
    path: str | Path,
    device: str | torch.device = "cpu",
    model: AbstractAlgorithm | None = None,
    data: EnvironmentDataModule | None = None,
) -> TrainedPolicy:
    """The policy of a run, ready to play.

    After ``policy = load_policy("runs/sac/Pendulum-v1/a")`` an action is ``policy(obs, deterministic=True)``.

    The model is built from the run's ``config.yaml``, gets the weights of the checkpoint, and sees observations scaled as
    the run scaled them.  Neither Trainer nor replay buffer is made.  The classes in ``config.yaml`` are imported, so load
    only what you trust.

    Args:
        path: a run's folder, or one of its checkpoints.  Of a folder it is ``checkpoints/best.ckpt`` if there is one, else
            ``checkpoints/last.ckpt``.
        device: where the networks compute.
        model: for a run without a ``config.yaml``, the model built as it was for training; its weights are replaced.
        data: given together with ``model``: the data module built as it was for training; its scaling is replaced.

    Raises:
        MaxEntError: if there is no such checkpoint or no ``config.yaml``, if the checkpoint is of another model or other
            scalings, or if there is no such device.
    """
    checkpoint_path = _checkpoint_path(Path(path))
    checkpoint = read_checkpoint(checkpoint_path)
    if (model is None) != (data is None):
        raise MaxEntError("load_policy needs model and data together, or neither where the run has a config.yaml.")
    if model is None or data is None:
        model, data = _built(checkpoint_path)
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    state = checkpoint.get(type(data).__qualname__)
    if state is None:
        raise MaxEntError(
            f"{checkpoint_path} holds nothing of a {type(data).__name__}: it was made with another data module; give the "
            f"one that made it."
        )
    data.load_scalings(state)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA fails an assertion
        raise MaxEntError(f"The device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    return TrainedPolicy(model, data)


def _checkpoint_path(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    for each in found:
        if each.is_file():
            return each
    raise MaxEntError(
        f"{path} is no run's folder: there is neither checkpoints/best.ckpt nor checkpoints/last.ckpt in it; give a folder "
        f"like runs/sac/Pendulum-v1/<name>, or a checkpoint."
    )


def _built(checkpoint: Path) -> tuple[AbstractAlgorithm, EnvironmentDataModule]:
    """The model and the data module that the configuration of a checkpoint's run describes."""
    folder = run_folder(checkpoint.absolute())
    if folder is None:
        raise MaxEntError(
            f"{checkpoint} has no configuration: it must lie in the folder checkpoints of a run, whose config.yaml lies "
            f"beside that folder; for a run that has none, give load_policy the model and data that were trained."
        )
    file = folder / "config.yaml"
    try:
        model, data = build_model_and_data(yaml.safe_load(file.read_text()))
    except argparse.ArgumentError as error:
        raise broken_module(error) or MaxEntError(f"{file}: {explain(str(error))}") from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise MaxEntError(f"{file} is no configuration of a run ({type(error).__name__}: {error}).") from error
    if not isinstance(data, EnvironmentDataModule):
        raise MaxEntError(f"{file} has the data {type(data).__name__}, but load_policy needs an EnvironmentDataModule.")
    return model, data


def _is_batch(space: spaces.Space, obs: Any) -> bool:
    """Whether ``obs`` is a batch; a ``ValueError`` if it is neither that nor one observation."""
    kinds = {_size(part.shape or (), np.shape(value)) for part, value in _leaves(space, obs)}
    if len(kinds) != 1:
        raise ValueError
    return kinds.pop() is not None


def _size(shape: tuple[int, ...], given: tuple[int, ...]) -> int | None:
    """Of a batch; None for one observation of this shape."""
    if given == shape:
        return None
    if given[1:] != shape or len(given) != len(shape) + 1:
        raise ValueError
    return given[0]


def _leaves(space: spaces.Space, obs: Any) -> list[tuple[spaces.Space, Any]]:
    """The spaces inside that hold numbers, each with its part of the observation."""
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
    """Names and shapes of what was given."""
    if isinstance(obs, Mapping):
        return f"a dict of {', '.join(f'{key!r}: {_described(value)}' for key, value in obs.items()) or 'nothing'}"
    if isinstance(obs, tuple):
        return f"a tuple of {', '.join(map(_described, obs)) or 'nothing'}"
    return f"an array of shape {obs.shape}" if isinstance(obs, np.ndarray) else f"{obs!r:.60}"
