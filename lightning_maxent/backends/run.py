"""A run as a folder: its settings, the files that say how it went, and the arguments of ``fit`` that train it."""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightning_maxent.backends.provenance import provenance
from lightning_maxent.cli.configurations import contents
from lightning_maxent.files import write_whole

# These come before the settings of a run, which can override them:
QUIET = ("--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


class Run(NamedTuple):
    """One run of a comparison.

    Its folder holds ``settings.yaml`` (the settings), ``made_with.yaml`` (the versions), ``log.txt``, ``.lock`` (held by
    the process that trains it), ``finished`` or ``failed`` (with the reason), and the folder that ``fit`` writes,
    ``<algorithm>/<env>/run``.
    """

    variant: str
    task: str
    seed: int
    folder: Path
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.variant}, {self.task}, seed {self.seed}"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def metrics(self) -> Path | None:
        """The path of its ``metrics.csv``, or None before it is written."""
        return next(self.folder.glob("*/*/run/metrics.csv"), None)

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint from which the run can resume, or None."""
        return next(self.folder.glob("*/*/run/checkpoints/last.ckpt"), None)

    @property
    def status(self) -> str:
        """``finished``, ``failed``, ``unfinished`` or ``not begun``."""
        # a network file system may remember for a minute that a file is missing, but not an old list of files
        files = os.listdir(self.folder) if self.folder.is_dir() else []
        for status in ("finished", "failed"):
            if status in files:
                return status
        return "unfinished" if self.metrics else "not begun"

    @property
    def reason(self) -> str:
        """Why the run failed; empty if it did not."""
        path = self.folder / "failed"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def made_with(self) -> dict[str, str]:
        """The versions and the commit with which the run was started."""
        versions = read_yaml(self.folder / "made_with.yaml")
        return versions if isinstance(versions, dict) else {}

    def env_steps(self) -> int:
        """The environment steps in the last line of ``metrics.csv``; reads only the end of the file."""
        if self.metrics is None:
            return 0
        with self.metrics.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().splitlines()
        steps = lines[-1].partition(b",")[0] if lines else b""
        return int(steps) if steps.isdigit() else 0

    def prepare(self) -> list[str]:
        """Make the folder ready for ``fit``, and return its arguments; it resumes from the checkpoint if there is one."""
        (self.folder / "failed").unlink(missing_ok=True)
        checkpoint = self.checkpoint
        if checkpoint is None:
            for half in self.folder.glob("*/*/run"):  # a run that stopped before its first checkpoint
                shutil.rmtree(half)
            write_whole(self.folder / "settings.yaml", yaml.safe_dump(contents(self.settings), sort_keys=False))
            write_whole(self.folder / "made_with.yaml", yaml.safe_dump(provenance(), sort_keys=False))
        return fit_arguments(self, checkpoint)


def fit_arguments(run: Run, checkpoint: Path | None) -> list[str]:
    """The arguments of ``lightning-maxent`` for a run, which resumes from ``checkpoint`` if one is given."""
    settings = [item if item.startswith("--") else f"--config={item}" for item in run.settings]
    own = [f"--seed_everything={run.seed}", f"--runs_dir={run.folder}", "--name=run"]
    return ["fit", *QUIET, *settings, *own, *([f"--ckpt_path={checkpoint}"] if checkpoint else [])]


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; None if the file is missing or damaged."""
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
