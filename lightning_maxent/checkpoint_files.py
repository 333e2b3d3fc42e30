"""Checkpoint files: atomic writes, the replay buffer in separate files, and loading without executing code."""

import contextlib
import itertools
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lightning_maxent.buffer_files import Segment, load_whole, read_segments, write_segments
from lightning_maxent.contracts import diverged
from lightning_maxent.distributed import gathered, processes, raised_on_all, rank
from lightning_maxent.errors import DivergedError, MaxEntError, restoring
from lightning_maxent.files import replace, write_temporary
from lightning_maxent.run_data import buffer_rows
from lightning_maxent.strategy import JointCheckpointIO

BESIDE = ".replay"  # suffix of the folder that holds the replay buffer of a checkpoint
EQUAL = ("state_dict", "optimizer_states")  # entries of a checkpoint that are equal on all processes
FORMAT = 2  # raised when an older version of this package could misread a checkpoint


class CheckpointNotSavedError(MaxEntError):
    """A checkpoint could not be written; the previous checkpoint is intact."""


class _Saved(NamedTuple):
    """What a checkpoint on the disk needs beside itself."""

    step: int
    files: frozenset[str]  # of this process
    saved_by: int  # number of processes


class AtomicCheckpointIO(JointCheckpointIO):
    """Writes checkpoints atomically, with the replay buffer in separate files.

    ``name.ckpt`` holds everything except the buffer.  The rows of the buffer are in ``name.ckpt.replay/process-0/``.
    A save writes the rows that are new since the last save to a new file there, and the checkpoint lists the files
    that hold its rows, with their checksums.  A file of rows is never changed.  New files are written first, then the
    checkpoint is replaced in one step, then files that are no longer needed are removed.  So a checkpoint and its buffer
    always belong together, even if the process dies in between.  All files have checksums, so that one with a
    wrong bit is refused.  A checkpoint without optimizer states cannot be resumed and is saved without the buffer and the
    states of environments.  Loading executes no code (``weights_only``).

    ``keep_previous`` makes it keep checkpoints before the newest one.  They share the files of its buffer.

    If several processes train the model, process 0 writes all this.  Every other process r first writes its own buffer
    to ``name.ckpt.replay/process-r/``, and beside it its random states and the like: all but the weights and the
    optimizers, which are equal on all processes.  If another number of processes loads the checkpoint, process r of n
    takes the buffers r, r + n, r + 2n and so on, and the rest of part r; if there are fewer parts, it takes part r
    modulo their number.
    """

    def __init__(self) -> None:
        self._segments: dict[tuple[Path, str], list[Segment]] = {}  # by folder and stream of a buffer
        self._keep: dict[Path, int] = {}  # the number of previous checkpoints
        self._saved: dict[Path, list[_Saved | None]] = {}  # a checkpoint and the previous ones, the newest first

    def keep_previous(self, path: Path, count: int) -> None:
        """From now on, keep the ``count`` checkpoints before ``name.ckpt`` as ``name-1.ckpt`` (the newest), ``name-2.ckpt``
        and so on.
        """
        self._keep[path.absolute()] = count

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
        path = Path(path).absolute()
        checkpoint = {key: dict(value) if isinstance(value, dict) else value for key, value in checkpoint.items()}
        checkpoint["format"] = FORMAT
        resumable = "optimizer_states" in checkpoint
        if not resumable:
            for state in checkpoint.values():
                if isinstance(state, dict):
                    state.pop("episodes", None)
                    state.pop("replay", None)
        joint = resumable and processes() > 1
        if joint:
            checkpoint["parts"] = {"id": gathered(uuid.uuid4().hex)[0], "count": processes()}
        own, new, temporary = _folder_of_process(path, rank()), [], None
        try:
            with raised_on_all(CheckpointNotSavedError), _named_failures(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                written = self._write_buffers(checkpoint, own, new)
                if joint and rank() > 0:
                    new.append(_write_rest(checkpoint, own))
            with raised_on_all(CheckpointNotSavedError), _named_failures(path):
                if rank() == 0:
                    temporary = write_temporary(path, partial(torch.save, checkpoint))
        except BaseException:
            for file in new:
                file.unlink(missing_ok=True)
            raise
        kept, moves = self._kept(path, checkpoint) if resumable else ([], False)
        with raised_on_all(CheckpointNotSavedError), _named_failures(path):
            if temporary is not None:
                if moves:
                    _make_previous(path, self._keep[path])
                replace(temporary)
        if resumable:
            self._segments |= written
            self._saved[path] = kept
            _remove_unused(path, [each for each in kept if each is not None])
            if path in self._keep and rank() == 0:
                _remove_previous(path, self._keep[path] + 1)

    def _write_buffers(
        self, checkpoint: dict[str, Any], folder: Path, new: list[Path]
    ) -> dict[tuple[Path, str], list[Segment]]:
        """Replace the buffers in a checkpoint by lists of their files, and add the new files to ``new``."""
        written = {}
        for state in checkpoint.values():
            if isinstance(state, dict) and "replay" in state:
                rows = buffer_rows(state["replay"])
                known = self._segments.get((folder, rows.stream), [])
                if not all((folder / each.name).is_file() for each in known):
                    known = []  # somebody has removed files
                segments = write_segments(folder, rows, known)
                new += [folder / each.name for each in segments if each not in known]
                listed = [list(each) for each in segments]
                state["replay"] = {"stream": rows.stream, "first": rows.first, "segments": listed}
                written[folder, rows.stream] = segments
        return written

    def _kept(self, path: Path, checkpoint: dict[str, Any]) -> tuple[list[_Saved | None], bool]:
        """A new checkpoint and those before it that stay, the newest first, and whether the old one becomes previous.

        It does not if it is damaged, or of the same environment step as the new one.
        """
        new = _Saved(checkpoint.get("global_step", 0), _files(checkpoint), processes())
        count = self._keep.get(path, 0)
        if path not in self._saved:
            files = [path, *(_previous(path, number) for number in range(1, count + 1))]
            self._saved[path] = [_saved(each) for each in files]
        old = self._saved[path]
        moves = count > 0 and old[0] is not None and old[0].step != new.step and path.is_file()
        return [new, *old[0 if moves else 1 :][:count]], moves

    def load_checkpoint(
        self, path: Any, map_location: Any | None = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        path = Path(path).absolute()
        checkpoint = read_checkpoint(path, map_location)
        with restoring(str(path)):
            self._add_buffers(checkpoint, path)
        return checkpoint

    def _add_buffers(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Add the replay buffers of the processes whose data this process takes over, and their random states."""
        if checkpoint.get("format", 1) < FORMAT and any("replay_id" in each for each in _states(checkpoint)):
            raise MaxEntError(
                f"{path} was written by an older version of lightning_maxent, whose replay buffers cannot be read: start a "
                f"new run from its weights with the callback WarmStart."
            )
        saved = checkpoint.get("parts", {"id": "", "count": 1})
        first, *further = range(rank(), saved["count"], processes()) or [rank() % saved["count"]]
        if first > 0:
            checkpoint |= _load_rest(path, saved["id"], first)
        self._load_buffers(checkpoint, path, first)
        for number in further:
            part = _load_rest(path, saved["id"], number)
            self._load_buffers(part, path, number)
            for key, state in part.items():
                if isinstance(state, dict) and "replay" in state:
                    checkpoint[key].setdefault("further", []).append(state)
        checkpoint.pop("parts", None)

    def _load_buffers(self, checkpoint: dict[str, Any], path: Path, number: int) -> None:
        """Replace the lists of files in the checkpoint of a process by the rows in them."""
        folder = _saved_folder(path, number)
        for state in _states(checkpoint):
            if "segments" in (listed := state.get("replay", ())):
                segments = [Segment(*each) for each in listed["segments"]]
                state["replay"] = read_segments(folder, segments, listed["first"], listed["stream"], _way_out(path))
                self._segments[folder, listed["stream"]] = segments

    def remove_checkpoint(self, path: Any) -> None:
        path = Path(path)
        path.unlink(missing_ok=True)
        shutil.rmtree(path.with_name(path.name + BESIDE), ignore_errors=True)


# ---- files beside a checkpoint --------------------------------------------------------------------------------------


def _folder_of_process(path: Path, number: int) -> Path:
    """The folder to which a process saves its buffer."""
    return path.with_name(path.name + BESIDE) / f"process-{number}"


def _saved_folder(path: Path, number: int) -> Path:
    """The folder with the saved buffer of a process.  A previous checkpoint has that of the newest one."""
    own = _folder_of_process(path, number)
    newest = path.with_name(re.sub(r"-\d+$", "", path.stem) + path.suffix)
    return own if own.parent.exists() or not newest.exists() else _folder_of_process(newest, number)


def _write_rest(checkpoint: dict[str, Any], folder: Path) -> Path:
    """Write what a process other than the first one saves beside its buffer."""
    file = folder / _rest(checkpoint["parts"]["id"])
    folder.mkdir(parents=True, exist_ok=True)
    rest = {key: state for key, state in checkpoint.items() if key not in EQUAL}
    replace(write_temporary(file, partial(torch.save, rest)))
    return file


def _load_rest(path: Path, identity: str, number: int) -> dict[str, Any]:
    """What the process of this number saved apart from the checkpoint, without its buffer."""
    file = _saved_folder(path, number) / _rest(identity)
    try:
        return load_whole(file, "cpu")
    except Exception as error:
        raise MaxEntError(
            f"{file}, the part of process {number} of {path}, is missing or damaged ({type(error).__name__}): copy or "
            f"move a checkpoint together with its folder {file.parent.parent.name}, or {_way_out(path)}."
        ) from error


def _rest(identity: str) -> str:
    return f"rest-{identity}.ckpt"


def _states(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    return [state for state in checkpoint.values() if isinstance(state, dict)]


def _files(checkpoint: dict[str, Any]) -> frozenset[str]:
    """The files in the folder of this process that its part of a checkpoint needs."""
    lists = [state["replay"] for state in _states(checkpoint) if "segments" in state.get("replay", ())]
    rest = [_rest(checkpoint["parts"]["id"])] if rank() > 0 else []
    return frozenset([*rest, *(each[0] for listed in lists for each in listed["segments"])])


def _saved(path: Path) -> _Saved | None:
    """What a checkpoint on the disk needs; None if there is none, or a damaged one."""
    try:
        checkpoint = read_checkpoint(path)
        parts = checkpoint.get("parts", {"id": "", "count": 1})
        part = checkpoint if rank() == 0 else _load_rest(path, parts["id"], rank()) if rank() < parts["count"] else {}
        return _Saved(checkpoint.get("global_step", 0), _files(part) if part else frozenset(), parts["count"])
    except MaxEntError:
        return None


def _remove_unused(path: Path, kept: list[_Saved]) -> None:
    """Remove all files of buffers that none of the kept checkpoints needs."""
    own = _folder_of_process(path, rank())
    needed = frozenset.union(*(each.files for each in kept))
    for file in own.iterdir() if own.exists() else ():
        if file.name not in needed:
            file.unlink(missing_ok=True)
    if rank() == 0:
        for number in itertools.count(max(each.saved_by for each in kept)):
            if not (folder := _folder_of_process(path, number)).exists():
                break
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it has files
            own.rmdir()
            own.parent.rmdir()


# ---- previous checkpoints -------------------------------------------------------------------------------------------


def _previous(path: Path, number: int) -> Path:
    """The name of the checkpoint that was saved so many saves before this one."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _make_previous(path: Path, keep: int) -> None:
    """Make a checkpoint the first of ``keep`` previous ones; it also stays where it is until the new one replaces it."""
    if _previous(path, 1).exists() and _previous(path, 1).samefile(path):
        return  # done by a process that was killed after that
    for number in range(keep - 1, 0, -1):
        if _previous(path, number).exists():
            os.replace(_previous(path, number), _previous(path, number + 1))
    temporary = path.with_name(_previous(path, 1).name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # not every file system has hard links
        shutil.copyfile(path, temporary)
    replace(temporary)


def _remove_previous(path: Path, first: int) -> None:
    """Remove previous checkpoints from this number on."""
    for number in itertools.count(first):
        if not _previous(path, number).exists():
            return
        _previous(path, number).unlink()


def _way_out(path: Path) -> str:
    """What to do if a checkpoint is damaged, as the end of a sentence."""
    if _previous(path, 1).exists():
        return f"resume from {_previous(path, 1)}, the checkpoint before it"
    return "resume from another checkpoint"


def read_checkpoint(path: Path, map_location: Any | None = "cpu") -> dict[str, Any]:
    """The dictionary in a checkpoint file, without the replay buffer.

    Raises:
        MaxEntError: if there is no such file, it is not a checkpoint, or a newer version of this package wrote it.
    """
    if path.is_dir():
        raise MaxEntError(f"{path} is a folder: give a checkpoint, such as {path / 'checkpoints' / 'last.ckpt'}.")
    if not path.is_file():
        raise MaxEntError(f"There is no checkpoint {path}.")
    try:
        checkpoint = load_whole(path, map_location)
    except Exception as error:
        raise MaxEntError(
            f"{path} is no checkpoint, or a damaged one ({type(error).__name__}): give a .ckpt file that a run wrote, "
            f"such as runs/…/checkpoints/last.ckpt, or {_way_out(path)}."
        ) from error
    if not isinstance(checkpoint, dict) or not {"pytorch-lightning_version", "global_step", "state_dict"} <= set(
        checkpoint
    ):
        raise MaxEntError(f"{path} is a file of another kind, not a checkpoint: give a .ckpt file that a run wrote.")
    if (version := checkpoint.get("format", FORMAT)) > FORMAT:
        raise MaxEntError(
            f"{path} was written by a newer version of lightning_maxent (format {version}, and this version reads up to "
            f"{FORMAT}): install that version."
        )
    return checkpoint


def is_resumable(path: Path) -> bool:
    """Whether a checkpoint has optimizers and, if it refers to a replay buffer, the files of the buffer.

    Raises:
        MaxEntError: as ``read_checkpoint``.
    """
    checkpoint, folder = read_checkpoint(path), _saved_folder(path, 0)
    return "optimizer_states" in checkpoint and all((folder / each).is_file() for each in _files(checkpoint))


@contextlib.contextmanager
def _named_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise CheckpointNotSavedError(
            f"The checkpoint {path} could not be written ({error}): free some space or give another folder; the "
            f"previous checkpoint is unchanged."
        ) from error
