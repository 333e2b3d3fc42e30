"""A logger for Weights & Biases (W&B), offline unless an API key is found."""

import netrc
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger as LightningWandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole
from lightning_maxent.metrics.metrics_csv import STEP

MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")


class WandbLogger(LightningWandbLogger):
    """Lightning's WandbLogger with environment steps as the x-axis and one W&B run per run folder.

    Online, the best checkpoint is uploaded as an artifact.  Offline runs need neither network nor account;
    ``wandb sync <folder>`` uploads them later.  Arguments override W&B's environment variables (WANDB_PROJECT,
    WANDB_NAME, WANDB_DIR, WANDB_RUN_ID, ...), and these override the defaults.

    Args:
        project: the W&B project; if None, WANDB_PROJECT, else "lightning-maxent".
        entity: the W&B user or team; if None, WANDB_ENTITY, else the account's default.
        mode: "online", "offline" or "disabled"; if None, WANDB_MODE, else "online" if an API key is found, else
            "offline".
        group: W&B group of the run, for example to group seeds; if None, WANDB_RUN_GROUP.
        tags: W&B tags of the run; if None, WANDB_TAGS.
        name: W&B name of the run; if None, WANDB_NAME, else the last three folders of the run's path.

    Raises:
        MaxEntError: for a mode that W&B does not have.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        mode: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        name: str | None = None,
    ):
        mode = mode or _environment("MODE") or ("online" if _logged_in() else "offline")
        if mode not in MODES:
            raise MaxEntError(
                f"The W&B mode {mode!r} (of WANDB_MODE or the logger) is unknown: choose one of {', '.join(MODES)}."
            )
        super().__init__(
            name=name or _environment("NAME"),
            save_dir=_environment("DIR") or ".",
            project=project or _environment("PROJECT") or "lightning-maxent",
            log_model=mode == "online",
            entity=entity,
            mode=mode,
            group=group,
            tags=tags,
            resume=_environment("RESUME") or "allow",
        )
        del self._wandb_init["anonymous"]  # Lightning always sets it, and W&B then always warns

    def place(self, folder: Path) -> None:
        """Use ``folder`` for the files and the name of the run, and resume the W&B run that it already holds."""
        if self._wandb_init["mode"] == "disabled":
            return
        self._save_dir = str(folder)
        self._id_file = folder / "wandb" / "run_id.txt"
        self._wandb_init |= {
            "dir": _environment("DIR") or str(folder),
            "name": self._wandb_init["name"] or "/".join(folder.parts[-3:]),
            "id": _environment("RUN_ID") or self._own_id(),
        }

    def _own_id(self) -> str | None:
        """The W&B id of the run in the folder, or None.  If the file is damaged, a new W&B run is started."""
        if not self._id_file.exists():
            return None
        run_id = self._id_file.read_text(errors="replace").strip()
        return run_id if re.fullmatch(r"[\w-]+", run_id) else None

    @property
    @rank_zero_only
    def experiment(self) -> Any:
        """The active W&B run; the first call starts it."""
        fresh = self._experiment is None
        run = super().experiment
        if fresh:
            run.define_metric(STEP)
            run.define_metric("*", step_metric=STEP)
            if id_file := getattr(self, "_id_file", None):
                id_file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(id_file, run.id)
        return run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        run: Any = self.experiment
        run.log({**metrics, STEP: step})

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        if checkpoint_callback.monitor is not None:  # upload only the best checkpoint
            super().after_save_checkpoint(checkpoint_callback)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            for callback in self._checkpoint_callbacks.values():
                self._scan_and_log_checkpoints(callback)  # Lightning does not do this after an interrupt
            # without finish, the next logger in this process would continue this run
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


def _environment(name: str) -> str | None:
    """The value of W&B's environment variable ``WANDB_<name>``, or None if it is unset or empty."""
    return os.environ.get(f"WANDB_{name}") or None


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
