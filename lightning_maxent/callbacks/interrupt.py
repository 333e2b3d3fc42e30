"""Stops a run after the current round on Ctrl-C."""

import shlex
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightning_maxent.lightning_internals import is_dry_run


class GracefulInterrupt(pl.Callback):
    """Stops a run after the current round on the first Ctrl-C, and at once on the second.

    So the checkpoint that is saved at the stop is that of a complete round.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        try:
            self._previous = signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # only the main thread can handle signals
            self._previous = None

    def _ask(self, signum: int, frame: Any) -> None:
        self._asked = True
        print("\nStopping after the current round; press Ctrl-C again to stop at once.")
        signal.signal(signal.SIGINT, self._previous)

    def _stop_if_asked(self) -> None:
        if self._asked:
            raise KeyboardInterrupt

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._stop_if_asked()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._stop_if_asked()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        is_run = trainer.state.fn == "fit" and not is_dry_run(trainer)
        if is_run and isinstance(exception, KeyboardInterrupt | SIGTERMException):
            folder = Path(trainer.default_root_dir)
            path = str(folder / "checkpoints" / "last.ckpt")
            if not trainer.global_step and not Path(path).exists():
                print("Stopped before the first environment step: there is nothing to resume.")
                return
            command = f"lightning-maxent fit --ckpt_path {shlex.quote(path)}"
            if not (folder / "config.yaml").exists():  # not started from the command line
                command = f"trainer.fit(model, data, ckpt_path={path!r}), with a new trainer, model and data"
            print(f"Stopped at {trainer.global_step:,} environment steps.  To resume: {command}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._previous is not None and not self._asked:
            signal.signal(signal.SIGINT, self._previous)
