"""Files of a replay buffer: every save writes the rows that are new, and a checkpoint lists the files of its rows."""

import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import replace, write_temporary
from lightning_maxent.run_data import BufferRows

SMALLEST, LARGEST = (
    128,
    10,
)  # a file holds between 1/128 and 1/10 of the buffer; else there are too many, or old rows stay
ROWS_OF_A_FILE = 10_000  # that a file may always hold


class Segment(NamedTuple):
    """A file with the rows ``start`` to ``stop - 1`` of a buffer, and the checksums of its parts."""

    name: str
    start: int
    stop: int
    sums: list[int]


def write_segments(folder: Path, rows: BufferRows, written: Sequence[Segment]) -> list[Segment]:
    """Write the rows of a buffer that are in no file yet.

    A file is never changed.  If the last one is very small, its rows are written once more together with the new ones.
    If this fails, the new files are removed.

    Args:
        folder: the folder of all files of the buffer.
        rows: the rows of the buffer.
        written: files of earlier saves, in the order of their rows.

    Returns:
        The files that hold all rows, in order; the first one may also hold older rows.
    """
    kept = [each for each in written if each.stop > rows.first]
    while kept and kept[-1].start >= rows.first and kept[-1].stop - kept[-1].start < len(rows) // SMALLEST:
        kept.pop()
    new: list[Segment] = []
    largest = max(len(rows) // LARGEST, ROWS_OF_A_FILE)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for start in range(kept[-1].stop if kept else rows.first, rows.stop, largest):
            new.append(_write_segment(folder, rows, start, min(start + largest, rows.stop)))
    except BaseException:
        for each in new:
            (folder / each.name).unlink(missing_ok=True)
        raise
    return [*kept, *new]


def _write_segment(folder: Path, rows: BufferRows, start: int, stop: int) -> Segment:
    file = folder / f"{start}-{stop}-{uuid.uuid4().hex[:8]}.pt"
    # numpy: torch.save writes the whole storage of a slice, and a copy needs memory
    content = {name: torch.from_numpy(each.numpy()) for name, each in rows.read(start, stop).items()}
    try:
        replace(write_temporary(file, partial(torch.save, content)))
        with ZipFile(file) as parts:
            return Segment(file.name, start, stop, _sums(parts))
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def read_segments(folder: Path, segments: Sequence[Segment], first: int, stream: str, advice: str) -> BufferRows:
    """The rows of a buffer from their files, which are read when the rows are.

    Args:
        folder: the folder of all files of the buffer.
        segments: the files, in the order of their rows.
        first: the number of the oldest row.
        stream: the name of the numbering.
        advice: what to do if a file is missing or damaged, as the end of a sentence.

    Raises:
        MaxEntError: if a file is missing, damaged, or of another checkpoint.
    """
    parts: list[tuple[int, dict[str, Tensor]]] = []
    for each in segments:
        try:
            parts.append((each.start, load_whole(folder / each.name, "cpu", each.sums)))
        except Exception as error:
            what = f"{folder / each.name}, a part of the replay buffer,"
            if isinstance(error, FileNotFoundError):
                raise MaxEntError(
                    f"{what} is missing: copy or move a checkpoint together with its folder {folder.parent.name}, or {advice}."
                ) from error
            raise MaxEntError(f"{what} is damaged ({type(error).__name__}): {advice}.") from error

    def read(start: int, stop: int) -> dict[str, Tensor]:
        pieces = [
            {name: each[max(start - begin, 0) : max(stop - begin, 0)] for name, each in rows.items()}
            for begin, rows in parts
        ]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in parts[0][1]}

    return BufferRows(stream, first, segments[-1].stop, read)


def load_whole(path: Path, map_location: Any | None, sums: Sequence[int] | None = None) -> Any:
    """What ``torch.save`` wrote, if every byte is as it was written.

    ``torch.load`` does not compare the checksums that ``torch.save`` writes for every part of the file.

    Raises:
        BadZipFile: for a part that has changed, or parts whose checksums are not ``sums``.
    """
    with ZipFile(path) as parts:
        if damaged := parts.testzip():
            raise BadZipFile(damaged)
        if sums is not None and _sums(parts) != list(sums):
            raise BadZipFile("of another checkpoint")
    return torch.load(path, map_location=map_location, weights_only=True, mmap=True)


def _sums(parts: ZipFile) -> list[int]:
    return [part.CRC for part in parts.infolist()]
