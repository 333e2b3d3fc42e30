"""Checks that a replay buffer fits into memory or onto the disk."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torchrl.data import LazyMemmapStorage, LazyTensorStorage
from torchrl.data.replay_buffers.storages import Storage

from lightning_maxent.errors import MaxEntError
from lightning_maxent.free_space import bytes_on_disk, disk_left, in_words, memory_left, rounded_down

SHARED_MEMORY = Path("/dev/shm")  # tensordict puts memory maps without a folder here if their files fit
SPARE = 0.1  # the part of the free space that the advised capacity leaves free


class FreeSpace(NamedTuple):
    """Where the rows of a buffer will be stored, and the free bytes there; None if unknown."""

    where: str
    left: int | None


def check_space(storage: Storage, filled: int, row: int, largest: int, batch_size: int) -> None:
    """Refuse a buffer that is too large before the run begins; else the run would fail hours later.

    Args:
        storage: the empty storage of the buffer.
        filled: the largest number of rows that it will hold in this run.
        row: bytes per row.
        largest: bytes per row of the largest field.
        batch_size: the smallest capacity to advise.

    Raises:
        MaxEntError: if the buffer does not fit; the message gives both sizes and a capacity that fits.
    """
    on_gpu = _device(storage) == "cuda"
    rows = storage.max_size if on_gpu else filled  # on a GPU the first row allocates the whole buffer
    where, left = _space(storage, rows * largest)
    if left is None or rows * row <= left:
        return
    fits = rounded_down(int((1 - SPARE) * max(0, left) / row))
    raise MaxEntError(
        f"A replay buffer of {rows:,} transitions takes {in_words(rows * row)}, but {where} has {in_words(max(0, left))} "
        f"left: {f'set data.capacity to {fits} or less' if fits >= batch_size else 'make room there'}."
    )


def _device(storage: Storage) -> str:
    device = getattr(storage, "device", None)
    return "cpu" if device in (None, "auto") else torch.device(device).type  # "auto" is the device of the rows


def _space(storage: Storage, largest: int) -> FreeSpace:
    if isinstance(storage, LazyMemmapStorage):
        return _space_for_files(storage.scratch_dir, largest)
    if not isinstance(storage, LazyTensorStorage):
        return FreeSpace("", None)
    if _device(storage) == "cuda":
        return FreeSpace(f"the memory of {storage.device}", torch.cuda.mem_get_info(storage.device)[0])
    return FreeSpace("memory", memory_left())


def _space_for_files(folder: str | None, largest: int) -> FreeSpace:
    if folder is not None:
        left = disk_left(Path(folder))
        # The run overwrites the files that are already there.
        return FreeSpace(f"the disk of {folder}", None if left is None else left + bytes_on_disk(Path(folder)))
    shared = disk_left(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    if shared is not None and largest <= shared:
        return FreeSpace(str(SHARED_MEMORY), min(each for each in (shared, memory_left()) if each is not None))
    folder = tempfile.gettempdir()
    return FreeSpace(f"the disk of {folder}", disk_left(Path(folder)))
