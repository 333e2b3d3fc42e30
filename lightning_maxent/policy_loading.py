"""Loads the policy of a run from its folder."""

import argparse
from pathlib import Path
from typing import Any

import torch
import yaml

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.cli.arguments import explain, run_folder
from lightning_maxent.cli.parser import build_model_and_data
from lightning_maxent.data.data_module import EnvironmentDataModule
from lightning_maxent.errors import MaxEntError, broken_module
from lightning_maxent.sharing.addresses import local_path
from lightning_maxent.trained_policy import TrainedPolicy


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
        path: the folder of a run or of a shared policy, or a checkpoint; ``zoo/NAME`` for a policy of the zoo;
            ``hub:USER/NAME`` for one of the Hugging Face hub; ``wandb:ENTITY/PROJECT/RUN:best`` for a checkpoint in W&B.
            In a folder, ``checkpoints/best.ckpt`` is used if it exists, else ``checkpoints/last.ckpt``.
        device: the device of the networks.
        model: for a run without a ``config.yaml``: a model built as for training; its weights are replaced.
        data: together with ``model``: a data module built as for training; its scaling is replaced.

    Raises:
        MaxEntError: if there is no such checkpoint, ``config.yaml`` or device, or the checkpoint does not fit the model
            or the scaling.
    """
    file = checkpoint_path(local_path(path))
    checkpoint = read_checkpoint(file)
    if (model is None) != (data is None):
        raise MaxEntError("load_policy needs both model and data, or neither if the run has a config.yaml.")
    if model is None or data is None:
        model, data = _built(file)
    model.on_load_checkpoint(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    state = checkpoint.get(type(data).__qualname__)
    if state is None:
        raise MaxEntError(
            f"{file} has no state of a {type(data).__name__}: give the data module with which it was made."
        )
    data.load_scalings(state)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA fails an assertion
        raise MaxEntError(f"The device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    data.env_steps = checkpoint["global_step"]
    return TrainedPolicy(model, data)


def checkpoint_path(path: Path) -> Path:
    """The checkpoint in the folder of a run; any other path is returned unchanged.

    Raises:
        MaxEntError: if the folder has no checkpoint.
    """
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


def config_beside(checkpoint: Path) -> tuple[Path, dict[str, Any]]:
    """The configuration of the run that wrote a checkpoint: its file, and its content.

    Raises:
        MaxEntError: if there is none, or it is damaged.
    """
    folder = run_folder(checkpoint.absolute())
    if folder is None:
        raise MaxEntError(
            f"{checkpoint} has no configuration: it must be in the folder checkpoints of a run, beside which is its "
            f"config.yaml; a run without config.yaml is loaded in Python: give model and data to load_policy."
        )
    file = folder / "config.yaml"
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _no_configuration(file, error) from error
    if not isinstance(content, dict):
        raise _no_configuration(file, TypeError(f"it holds {content!r:.40}"))
    return file, content


def _no_configuration(file: Path, error: Exception) -> MaxEntError:
    said = " ".join(str(error).split())
    return MaxEntError(
        f"{file} is not the configuration of a run, or is damaged ({type(error).__name__}: {said}): restore it, or "
        f"give another checkpoint."
    )


def _built(checkpoint: Path) -> tuple[AbstractAlgorithm, EnvironmentDataModule]:
    """The model and the data module from the configuration of a checkpoint's run."""
    file, config = config_beside(checkpoint)
    try:
        model, data = build_model_and_data(config)
    except argparse.ArgumentError as error:
        raise broken_module(error) or MaxEntError(f"{file}: {explain(str(error))}") from error
    except (KeyError, TypeError) as error:
        raise _no_configuration(file, error) from error
    if not isinstance(data, EnvironmentDataModule):
        raise MaxEntError(f"{file} has the data {type(data).__name__}, but load_policy needs an EnvironmentDataModule.")
    return model, data
