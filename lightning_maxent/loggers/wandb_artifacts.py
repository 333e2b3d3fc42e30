"""Checkpoints in Weights & Biases (W&B), under addresses such as ``wandb:entity/project/run:best``.

This module imports neither PyTorch nor Lightning, which take seconds.
"""

import netrc
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

from lightning_maxent.errors import MaxEntError

PREFIX = "wandb:"
ID_FILE = "wandb/run_id.txt"  # in the folder of a run: the id of its W&B run
SECONDS = 60  # to wait for an answer of W&B


def environment(name: str) -> str | None:
    """The value of W&B's environment variable ``WANDB_<name>``, or None if it is unset or empty."""
    return os.environ.get(f"WANDB_{name}") or None


def logged_in() -> bool:
    """Whether there is an API key of W&B, in WANDB_API_KEY or where ``wandb login`` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def artifact_name(run_id: str) -> str:
    """The name of the artifact that holds the checkpoints of a W&B run."""
    return f"model-{run_id}"


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the address of a checkpoint in W&B."""
    return str(path).startswith(PREFIX)


def local_checkpoint(path: str | os.PathLike[str]) -> Path:
    """The path itself, or, if it is the address of a checkpoint in W&B, the path of that checkpoint after a download.

    A checkpoint ``wandb:entity/project/run:best`` is downloaded into ``runs/wandb/<entity>-<project>/<run>-<version>``,
    which is then the folder of a run.  ``run`` is the id of the W&B run, and ``best`` may be ``last`` or a version such
    as ``v3``.  A version that is already there is not downloaded again.

    Raises:
        MaxEntError: for an address of another form, without an API key, if W&B cannot be reached or does not have the
            artifact, or if the artifact does not hold one checkpoint.
    """
    if not is_address(path):
        return Path(path)
    address = _parse(str(path))
    if not logged_in():
        raise MaxEntError(f"{path} needs an account of W&B: run `wandb login`, or set WANDB_API_KEY.")
    import wandb

    try:
        artifact = wandb.Api(timeout=SECONDS).artifact(address.artifact)
        folder = address.folder(artifact.version)
        if not folder.exists():
            _download(artifact, folder, str(path))
    except MaxEntError:
        raise
    except Exception as error:  # wandb raises many kinds, and those of its HTTP library
        raise MaxEntError(
            f"{path} cannot be downloaded ({' '.join(str(error).split())}): check the address, your account "
            f"(`wandb login`) and the network."
        ) from error
    print(f"{path} is in {folder}.", file=sys.stderr)
    return next(folder.rglob("*.ckpt"))


class _Address(NamedTuple):
    entity: str
    project: str
    run: str
    alias: str

    @property
    def artifact(self) -> str:
        """The full name of the artifact."""
        return f"{self.entity}/{self.project}/{artifact_name(self.run)}:{self.alias}"

    def folder(self, version: str) -> Path:
        """The folder of the run after a download."""
        return Path("runs") / "wandb" / f"{self.entity}-{self.project}" / f"{self.run}-{version}"


def _parse(address: str) -> _Address:
    parts = re.fullmatch(rf"{PREFIX}([\w.-]+)/([^/:]+)/(?:model-)?([\w-]+):([\w.-]+)", address)
    if not parts:
        raise MaxEntError(
            f"{address} is not the address of a checkpoint in W&B: write wandb:entity/project/run:best, where run is the "
            f"id of the W&B run, and best may be last or a version such as v3."
        )
    return _Address(*parts.groups())


def _download(artifact: Any, folder: Path, address: str) -> None:
    """Download an artifact; the folder appears only when it is complete."""
    part = folder.with_name(f".{os.getpid()}-{folder.name}")
    try:
        artifact.download(root=str(part))
        if (count := len(list(part.rglob("*.ckpt")))) != 1:
            raise MaxEntError(
                f"{address} holds {count} checkpoints, but must hold one: give an artifact that WandbLogger has uploaded."
            )
        if run := artifact.logged_by():  # a run that resumes from here continues this W&B run
            (part / ID_FILE).parent.mkdir(parents=True, exist_ok=True)
            (part / ID_FILE).write_text(run.id)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
