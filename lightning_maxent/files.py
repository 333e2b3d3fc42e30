"""Atomic writes: after a crash or with a full disk, a file has either its old or its new content."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lightning_maxent.errors import MaxEntError


def write_whole(path: Path, text: str, advice: str = "make room for it, and try again") -> None:
    """Write a text to a file; if that fails, the file keeps its old content.

    Raises:
        MaxEntError: if the file cannot be written; ``advice`` ends the message.
    """
    with write_errors(path, advice):
        replace(write_temporary(path, lambda file: file.write(text.encode())))


def check_target(path: Path) -> None:
    """Make the folder of a file that will be written, and check that the file can replace what is there.

    Raises:
        MaxEntError: if the folder cannot be made, or ``path`` is a folder, a device or another special file.
    """
    if not path.name or (path.exists() and not path.is_file()):
        raise MaxEntError(f"{str(path)!r} is not the name of a file: give another path.")
    with write_errors(path, "give another path"):
        path.parent.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def write_errors(path: Path, advice: str) -> Iterator[None]:
    """Turn errors in writing a file into ``MaxEntError``; ``advice`` ends the message."""
    try:
        yield
    except OSError as error:
        raise MaxEntError(f"{path} cannot be written ({error.strerror}): {advice}.") from error


def write_temporary(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Write a temporary file beside ``path`` and flush it to disk; if that fails, it is removed."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):  # so that the first error is raised
            temporary.unlink(missing_ok=True)
        raise
    return temporary


def replace(temporary: Path) -> None:
    """Replace the old file by the temporary one, and flush the folder to disk."""
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
