"""A progress bar of environment steps."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from tqdm import tqdm

from lightning_maxent.progress import progress


class EnvStepProgress(ProgressBar):
    """Shows environment steps, speed and the last evaluation return: a bar in a terminal, else lines of text."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm | None = None
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        total = trainer.max_steps if trainer.max_steps >= 0 else None
        name = type(pl_module).__name__
        self._bar = progress(total, "env steps", initial=trainer.global_step, desc=name, disable=not self._enabled)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        assert self._bar is not None
        self._bar.update(trainer.global_step - self._bar.n)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        if self._bar is not None and "eval/return_mean" in metrics:
            mean, std = metrics["eval/return_mean"], metrics["eval/return_std"]
            self._bar.set_postfix_str(f"eval/return {mean:.1f} ± {std:.1f}", refresh=False)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar at the current step before the exception is printed."""
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
            self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
