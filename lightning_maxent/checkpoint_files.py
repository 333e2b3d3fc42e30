"""Checkpoint files: atomic writes, the replay buffer in separate files, and loading without executing code."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from lightning_maxent.contracts import diverged
from lightning_maxent.distributed import gathered, processes, raised_on_all, rank
from lightning_maxent.errors import DivergedError, MaxEntError
from lightning_maxent.files import replace, write_temporary
from lightning_maxent.strategy import JointCheckpointIO

BESIDE = ".replay"  # suffix of the folder that holds the replay buffer of a checkpoint
EQUAL = ("state_dict", "optimizer_states")  # entries of a checkpoint that are equal on all processes
REST = "rest.ckpt"  # what a process saves beside its buffer


class CheckpointNotSavedError(MaxEntError):
    """A checkpoint could not be written; the previous checkpoint is intact."""


class AtomicCheckpointIO(JointCheckpointIO):
    """Writes checkpoints atomically, with the replay buffer in separate files.

    ``name.ckpt`` holds everything except the buffer.  Each tensor of the buffer is a file in
    ``name.ckpt.replay/<id>/``, and the checkpoint holds the ``<id>``.  The buffer is written first, then the checkpoint
    is replaced in one step, then the buffers of other ids are removed.  So ``name.ckpt`` and its buffer always belong
    together, even if the process dies in between.  The checkpoint holds the checksums of the buffer, and every file its
    own, so that a file with one wrong bit is refused.  A checkpoint without optimizer states cannot be resumed and is saved
    without the buffer and the states of environments.  Loading executes no code (``weights_only``).

    If several processes train the model, process 0 writes all this.  Every other process r first writes its own buffer,
    random states and the like to ``name.ckpt.replay/<id>/process-<r>/``: all but the weights and the optimizers, which
    are equal on all processes.  If another number of processes loads the checkpoint, process r of n takes the buffers r,
    r + n, r + 2n and so on, and the rest of part r; if there are fewer parts, it takes part r modulo their number.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Replace the checkpoint at ``path``; after an error, the old one is unchanged.

        Raises:
            DivergedError: if weights are not finite.
            CheckpointNotSavedError: if the checkpoint cannot be written.
        """
        if parts := diverged(checkpoint["state_dict"]):
            raise DivergedError(
                f"At {checkpoint['global_step']:,} environment steps the weights of {' and '.join(parts)} are not "
                f"finite, so they are not saved: lower the learning rates, and start a new run or resume from the last "
                f"checkpoint."
            )
        path = Path(path)
        checkpoint = {key: dict(value) if isinstance(value, dict) else value for key, value in checkpoint.items()}
        buffers = path.with_name(path.name + BESIDE)
        resumable, kept, temporary = "optimizer_states" in checkpoint, None, None
        if not resumable:
            for state in checkpoint.values():
                if isinstance(state, dict):
                    state.pop("episodes", None)
        if resumable and (processes() > 1 or any(_has_replay(state) for state in checkpoint.values())):
            kept = gathered(uuid.uuid4().hex)[0]
        try:
            with raised_on_all(CheckpointNotSavedError), _named_failures(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                if kept is None or rank() == 0:
                    _write_buffers(checkpoint, buffers, kept)
                else:
                    own = {key: state for key, state in checkpoint.items() if key not in EQUAL}
                    _write_buffers(own, buffers, _of_process(kept, rank()))
                    replace(write_temporary(buffers / _of_process(kept, rank()) / REST, partial(torch.save, own)))
            with raised_on_all(CheckpointNotSavedError), _named_failures(path):
                if rank() == 0:
                    if kept is not None and processes() > 1:
                        checkpoint["parts"] = {"id": kept, "count": processes()}
                    temporary = write_temporary(path, partial(torch.save, checkpoint))
        except BaseException:
            if kept is not None:
                shutil.rmtree(buffers / kept, ignore_errors=True)
            raise
        if temporary is not None:
            with _named_failures(path):
                replace(temporary)
            for other in buffers.iterdir() if buffers.exists() else ():
                if other.name != kept:
                    shutil.rmtree(other, ignore_errors=True)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        path = Path(path)
        checkpoint = read_checkpoint(path, map_location)
        saved = checkpoint.pop("parts", {"id": "", "count": 1})
        first, *further = range(rank(), saved["count"], processes()) or [rank() % saved["count"]]
        if first > 0:
            checkpoint |= _load_part(path, saved["id"], first)
        _load_buffers(checkpoint, path)
        for number in further:
            part = _load_part(path, saved["id"], number)
            _load_buffers(part, path)
            for key, state in part.items():
                if _has_replay(state):
                    checkpoint[key].setdefault("further", []).append(state)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        path = Path(path)
        path.unlink(missing_ok=True)
        shutil.rmtree(path.with_name(path.name + BESIDE), ignore_errors=True)


def _of_process(kept: str, number: int) -> str:
    """The folder of the buffer of a process, below the folder of all buffers."""
    return f"{kept}/process-{number}"


def _write_buffers(checkpoint: dict[str, Any], buffers: Path, folder: str | None) -> None:
    """Take the replay buffers out of a checkpoint, and write them to a new folder if there is one.

    Args:
        checkpoint: the checkpoint, which gets the name of the folder.
        buffers: the folder of all buffers.
        folder: the name of the new folder below it; None to drop the buffers.
    """
    if folder is not None:
        (buffers / folder).mkdir(parents=True, exist_ok=True)
    for state in checkpoint.values():
        if _has_replay(state):
            tensors = state.pop("replay")
            if folder is not None:
                state["replay_id"], state["replay_sums"] = folder, {}
                for name, tensor in tensors.items():
                    # numpy: torch.save writes the whole storage of a slice, and a copy needs memory
                    whole = torch.from_numpy(tensor.detach().cpu().numpy())
                    file = buffers / folder / f"{name}.pt"
                    replace(write_temporary(file, partial(torch.save, whole)))
                    state["replay_sums"][name] = _checksums(file)


def _load_buffers(checkpoint: dict[str, Any], path: Path) -> None:
    """Put the replay buffers of a checkpoint, or of the part of a process, back into it."""
    for state in checkpoint.values():
        if isinstance(state, dict) and "replay_id" in state:
            folder = path.with_name(path.name + BESIDE) / state.pop("replay_id")
            sums = state.pop("replay_sums", {})
            state["replay"] = {file.stem: _load_rows(file, sums.get(file.stem)) for file in sorted(folder.glob("*.pt"))}
            if not state["replay"]:
                raise MaxEntError(
                    f"The replay buffer of {path} is missing: it must be in {folder}; copy or move a checkpoint "
                    f"together with its .replay folder."
                )


def _load_part(path: Path, kept: str, number: int) -> dict[str, Any]:
    """What the process of this number saved apart from the checkpoint, without its buffer."""
    file = path.with_name(path.name + BESIDE) / _of_process(kept, number) / REST
    try:
        return _load(file, "cpu")
    except Exception as error:
        raise MaxEntError(
            f"{file}, the part of process {number} of {path}, is missing or damaged ({type(error).__name__}): copy or "
            f"move a checkpoint together with its .replay folder."
        ) from error


def read_checkpoint(path: Path, map_location: Any | None = "cpu") -> dict[str, Any]:
    """The dictionary in a checkpoint file, without the replay buffer.

    Raises:
        MaxEntError: if there is no such file, or it is not a checkpoint.
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


def is_resumable(path: Path) -> bool:
    """Whether a checkpoint has optimizers and, if it refers to a replay buffer, the buffer.

    Raises:
        MaxEntError: as ``read_checkpoint``.
    """
    checkpoint, buffers = read_checkpoint(path), path.with_name(path.name + BESIDE)
    needed = [state["replay_id"] for state in checkpoint.values() if isinstance(state, dict) and "replay_id" in state]
    return "optimizer_states" in checkpoint and all((buffers / each).is_dir() for each in needed)


def _load(path: Path, map_location: Any | None, sums: list[int] | None = None) -> Any:
    """What ``torch.save`` wrote, if every byte is as it was written.

    ``torch.load`` does not compare the checksums that ``torch.save`` writes for every part of the file.

    Raises:
        BadZipFile: for a part that has changed, or parts whose checksums are not ``sums``.
    """
    with ZipFile(path) as parts:
        if damaged := parts.testzip():
            raise BadZipFile(damaged)
        if sums is not None and _sums(parts) != sums:
            raise BadZipFile("of another checkpoint")
    return torch.load(path, map_location=map_location, weights_only=True, mmap=True)


def _checksums(file: Path) -> list[int]:
    """The checksum of every part of a file that ``torch.save`` wrote."""
    with ZipFile(file) as parts:
        return _sums(parts)


def _sums(parts: ZipFile) -> list[int]:
    return [part.CRC for part in parts.infolist()]


def _load_rows(file: Path, sums: list[int] | None) -> Tensor:
    try:
        return _load(file, "cpu", sums)
    except Exception as error:
        raise MaxEntError(
            f"{file}, a part of the replay buffer, is damaged ({type(error).__name__}): resume from another "
            f"checkpoint, or start a new run from these weights with the callback WarmStart."
        ) from error


def _has_replay(state: Any) -> bool:
    return isinstance(state, dict) and "replay" in state


@contextlib.contextmanager
def _named_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise CheckpointNotSavedError(
            f"The checkpoint {path} could not be written ({error}): free some space or give another folder; the "
            f"previous checkpoint is unchanged."
        ) from error
