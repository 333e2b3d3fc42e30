"""Files that are either old or new but never half, whenever a process dies or a disk is full."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lightning_maxent.errors import MaxEntError


def write_whole(path: Path, text: str, advice: str = "make room for it, and try again") -> None:
    """Let a file hold this text; where it cannot be written, what it held before stays.

    Raises:
        MaxEntError: with this advice, if it cannot be written.
    """
    with write_errors(path, advice):
        replace(write_temporary(path, lambda file: file.write(text.encode())))


@contextlib.contextmanager
def write_errors(path: Path, advice: str) -> Iterator[None]:
    """Errors in writing a file, as a sentence with what to do."""
    try:
        yield
    except OSError as error:
        raise MaxEntError(f"{path} cannot be written ({error.strerror}): {advice}.") from error


def write_temporary(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Write beside ``path`` and force it to disk; nothing is left there if that fails."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):  # which would hide the error
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def replace(temporary: Path) -> None:
    """Let a whole file take the place of the old one, and force that to disk."""
    try:
        os.replace(temporary, temporary.with_suffix(""))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(temporary.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
