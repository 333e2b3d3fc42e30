"""Stops a run after the current round on Ctrl-C or SIGTERM."""

import shlex
import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightning_maxent.distributed import AFTER_THE_SAME_ROUND, highest, processes, rank
from lightning_maxent.lightning_internals import is_dry_run, leave_out_own_stop


class GracefulInterrupt(pl.Callback):
    """Stops a run after the current round on the first Ctrl-C, and at once on the second.

    So the checkpoint that is saved at the stop is that of a complete round.  If several processes train the model, all of
    them stop after the same round, whichever got the signal; the same holds for SIGTERM, which Lightning handles if there
    is only one.
    """

    def __init__(self) -> None:
        self._asked = 0  # the signal that asked this process to stop
        self._previous: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        try:
            self._previous = signal.signal(signal.SIGINT, self._ask)
        except ValueError:  # only the main thread can handle signals
            self._previous = None
        if self._previous is not None and processes() > 1:
            signal.signal(signal.SIGTERM, self._note)  # that of Lightning would talk to processes that do not listen
            leave_out_own_stop(trainer)

    def _ask(self, signum: int, frame: Any) -> None:
        self._note(signum, frame)
        if rank() == 0:
            print("\nStopping after the current round; press Ctrl-C again to stop at once.")
        signal.signal(signal.SIGINT, self._previous)

    def _note(self, signum: int, frame: Any) -> None:
        self._asked = signum

    def _stop_if_asked(self) -> None:
        asked = highest(self._asked)
        if asked == signal.SIGTERM:
            raise SIGTERMException(AFTER_THE_SAME_ROUND)
        if asked:
            raise KeyboardInterrupt(AFTER_THE_SAME_ROUND)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._stop_if_asked()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._stop_if_asked()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        is_run = trainer.state.fn == "fit" and not is_dry_run(trainer) and trainer.is_global_zero
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
