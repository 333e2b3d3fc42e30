"""The policy of a run: it takes observations of the environment and returns actions of the environment."""

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
from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.cli.arguments import explain, run_folder
from lightning_maxent.cli.parser import build_model_and_data
from lightning_maxent.data.data_module import EnvironmentDataModule
from lightning_maxent.errors import MaxEntError, broken_module


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
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            actions = self.codec.to_env(self.model.act(self.observation_scaling(seen), deterministic))
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

    The model is built from the run's ``config.yaml`` and gets the weights of the checkpoint; observations are scaled as
    in the run.  No Trainer and no replay buffer are made.  Loading imports the classes in ``config.yaml``, so only load
    files that you trust.

    Args:
        path: the folder of a run, or a checkpoint.  In a folder, ``checkpoints/best.ckpt`` is used if it exists, else
            ``checkpoints/last.ckpt``.
        device: the device of the networks.
        model: for a run without a ``config.yaml``: a model built as for training; its weights are replaced.
        data: together with ``model``: a data module built as for training; its scaling is replaced.

    Raises:
        MaxEntError: if there is no such checkpoint, ``config.yaml`` or device, or the checkpoint does not fit the model
            or the scaling.
    """
    checkpoint_path = _checkpoint_path(Path(path))
    checkpoint = read_checkpoint(checkpoint_path)
    if (model is None) != (data is None):
        raise MaxEntError("load_policy needs both model and data, or neither if the run has a config.yaml.")
    if model is None or data is None:
        model, data = _built(checkpoint_path)
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    state = checkpoint.get(type(data).__qualname__)
    if state is None:
        raise MaxEntError(
            f"{checkpoint_path} has no state of a {type(data).__name__}: give the data module with which it was made."
        )
    data.load_scalings(state)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA fails an assertion
        raise MaxEntError(f"The device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    policy = TrainedPolicy(model, data)
    policy.env_steps = checkpoint["global_step"]
    return policy


def _checkpoint_path(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    for each in found:
        if each.is_file():
            return each
    raise MaxEntError(
        f"{path} is not the folder of a run: it has neither checkpoints/best.ckpt nor checkpoints/last.ckpt; give a "
        f"folder such as runs/sac/Pendulum-v1/<name>, or a checkpoint."
    )


def _built(checkpoint: Path) -> tuple[AbstractAlgorithm, EnvironmentDataModule]:
    """The model and the data module from the configuration of a checkpoint's run."""
    folder = run_folder(checkpoint.absolute())
    if folder is None:
        raise MaxEntError(
            f"{checkpoint} has no configuration: it must be in the folder checkpoints of a run, beside which is its "
            f"config.yaml; for a run without config.yaml, give model and data to load_policy."
        )
    file = folder / "config.yaml"
    try:
        model, data = build_model_and_data(yaml.safe_load(file.read_text()))
    except argparse.ArgumentError as error:
        raise broken_module(error) or MaxEntError(f"{file}: {explain(str(error))}") from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise MaxEntError(f"{file} is not the configuration of a run ({type(error).__name__}: {error}).") from error
    if not isinstance(data, EnvironmentDataModule):
        raise MaxEntError(f"{file} has the data {type(data).__name__}, but load_policy needs an EnvironmentDataModule.")
    return model, data


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
