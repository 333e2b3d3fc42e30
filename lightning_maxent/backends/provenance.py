"""Versions of the installed packages, and the commit of this package if it is used from a git checkout."""

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("lightning-maxent", "torch", "pytorch-lightning", "torchrl", "gymnasium", "mujoco", "numpy")


@functools.cache
def provenance() -> dict[str, str]:
    """``{package: version}``, with ``python``, and ``commit`` if known (``-dirty``: with uncommitted changes)."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # used from source, not installed
            continue
    here = Path(__file__).parent
    if _git(here, "ls-files", "--error-unmatch", Path(__file__).name):
        versions["commit"] = _git(here, "describe", "--always", "--dirty", "--exclude=*")
    return versions


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
