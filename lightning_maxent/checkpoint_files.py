"""Checkpoints on the disk: written whole, with the replay buffer beside them, and read without running code."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor

from lightning_maxent.contracts import diverged
from lightning_maxent.errors import DivergedError, MaxEntError
from lightning_maxent.files import replace, write_temporary

BESIDE = ".replay"  # added to a checkpoint's name: the folder of its buffer


class CheckpointNotSavedError(MaxEntError):
    """A checkpoint could not be written; the one before it is whole."""


class AtomicCheckpointIO(CheckpointIO):
    """Checkpoints that are either old or new but never half, with the replay buffer beside them.

    ``name.ckpt`` holds everything but the buffer, whose tensors lie one file each in ``name.ckpt.replay/<id>/``; the
    checkpoint names its ``<id>``.  The buffer is written first, then the checkpoint is replaced in one step, then
    buffers of other ids are removed: whenever the process dies, ``name.ckpt`` points at the buffer of its own moment.
    A checkpoint without optimizer states is for playing, not for going on, and is saved without the buffer.
    Loading executes no code (``weights_only``).
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Replace what lies at ``path``, or leave it as it was.

        Raises:
            DivergedError: if weights are not finite.
            CheckpointNotSavedError: if it cannot be written.
        """
        if parts := diverged(checkpoint["state_dict"]):
            raise DivergedError(
                f"At {checkpoint['global_step']:,} environment steps the weights of {' and '.join(parts)} are not finite, "
                f"so they are not saved: lower the learning rates, and start anew or from the checkpoint before."
            )
        path = Path(path)
        checkpoint = {key: dict(value) if _has_replay(value) else value for key, value in checkpoint.items()}
        buffers = path.with_name(path.name + BESIDE)
        with _named_failures(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = None
            try:
                for state in checkpoint.values():
                    if _has_replay(state):
                        tensors = state.pop("replay")
                        if "optimizer_states" in checkpoint:
                            kept = state["replay_id"] = uuid.uuid4().hex
                            (buffers / kept).mkdir(parents=True)
                            for name, tensor in tensors.items():
                                # Through numpy, since a slice would drag its whole storage along, and a copy needs memory.
                                whole = torch.from_numpy(tensor.detach().cpu().numpy())
                                replace(write_temporary(buffers / kept / f"{name}.pt", partial(torch.save, whole)))
                temporary = write_temporary(path, partial(torch.save, checkpoint))
            except BaseException:
                if kept is not None:
                    shutil.rmtree(buffers / kept, ignore_errors=True)
                raise
            replace(temporary)
            for other in buffers.iterdir() if buffers.exists() else ():
                if other.name != kept:
                    shutil.rmtree(other, ignore_errors=True)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        path = Path(path)
        checkpoint = read_checkpoint(path, map_location)
        for state in checkpoint.values():
            if isinstance(state, dict) and "replay_id" in state:
                folder = path.with_name(path.name + BESIDE) / state.pop("replay_id")
                state["replay"] = {file.stem: _load_rows(file) for file in sorted(folder.glob("*.pt"))}
                if not state["replay"]:
                    raise MaxEntError(
                        f"The replay buffer of {path} is missing: it must lie in {folder}; copy or move a checkpoint "
                        f"together with its .replay folder."
                    )
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        path = Path(path)
        path.unlink(missing_ok=True)
        shutil.rmtree(path.with_name(path.name + BESIDE), ignore_errors=True)


def read_checkpoint(path: Path, map_location: Any | None = "cpu") -> dict[str, Any]:
    """The dictionary in a checkpoint file, without the replay buffer.

    Raises:
        MaxEntError: if there is no such file, or it is no checkpoint of this project.
    """
    if path.is_dir():
        raise MaxEntError(f"{path} is a folder: give a checkpoint, such as {path / 'checkpoints' / 'last.ckpt'}.")
    if not path.is_file():
        raise MaxEntError(f"There is no checkpoint {path}.")
    try:
        checkpoint = _load(path, map_location)
    except Exception as error:
        raise MaxEntError(
            f"{path} is no checkpoint, or a damaged one ({type(error).__name__}): give a .ckpt file that a run wrote, "
            f"such as runs/…/checkpoints/last.ckpt."
        ) from error
    if not isinstance(checkpoint, dict) or "pytorch-lightning_version" not in checkpoint:
        raise MaxEntError(f"{path} is a file of another kind, not a checkpoint: give a .ckpt file that a run wrote.")
    return checkpoint


def _load(path: Path, map_location: Any | None) -> Any:
    return torch.load(path, map_location=map_location, weights_only=True, mmap=True)


def _load_rows(file: Path) -> Tensor:
    try:
        return _load(file, "cpu")
    except Exception as error:
        raise MaxEntError(
            f"{file}, a part of the replay buffer, is damaged ({type(error).__name__}): go on from another checkpoint, or "
            f"begin a new run with these weights by the callback WarmStart."
        ) from error


def _has_replay(state: Any) -> bool:
    return isinstance(state, dict) and "replay" in state


@contextlib.contextmanager
def _named_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise CheckpointNotSavedError(
            f"The checkpoint {path} could not be written ({error}): free some space or give another folder; what was "
            f"saved there before is untouched."
        ) from error
