"""The free memory and disk space, if the system reports them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

# For each version of Linux control groups: the folder, the limit, the usage, and the cache that can be freed.
GROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process can still use without swapping; None if the system does not report it.

    Linux reports the available memory of the machine (``/proc/meminfo``) and the limits of the process's control
    groups, for example in a container or a cluster job.  The result is the smallest of them.

    Args:
        root: the folder that holds ``proc`` and ``sys``.
    """
    return min([*_available(root), *_allowed(root)], default=None)


def disk_left(folder: Path) -> int | None:
    """Bytes that a user can still write to the disk of a folder, which need not exist yet; None if unknown."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), folder)
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def bytes_on_disk(folder: Path) -> int:
    """Bytes that the files below a folder use on disk; for a sparse file, only the written part."""
    return sum(512 * file.stat().st_blocks for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0


def in_words(size: int) -> str:
    """``1500000`` -> ``1.5 MB``."""
    thousands = min((len(str(size)) - 1) // 3, 4)
    return f"{size / 1_000**thousands:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[thousands]}"


def rounded_down(number: int) -> int:
    """A number rounded down to two significant digits: ``83521`` -> ``83000``."""
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def _available(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1_024


def _allowed(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in GROUPS.keys() & set(controllers.split(",")):
            base, limit, used, cache = GROUPS[controller]
            group = root / base / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root / base):
                    yield from _left_in_group(folder, limit, used, cache)


def _left_in_group(folder: Path, limit: str, used: str, cache: str) -> Iterator[int]:
    texts = [*_lines(folder / limit), *_lines(folder / used)]
    if len(texts) == 2 and all(text.isdigit() for text in texts):  # "max": no limit
        given_back = [int(line.split()[1]) for line in _lines(folder / "memory.stat") if line.split()[0] == cache]
        yield int(texts[0]) - int(texts[1]) + sum(given_back)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
