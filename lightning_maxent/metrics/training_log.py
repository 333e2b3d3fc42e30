"""Logs the metrics of training, with environment steps as the clock."""

import time
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl

from lightning_maxent.errors import MaxEntError
from lightning_maxent.lightning_internals import callbacks_of, is_dry_run
from lightning_maxent.metrics.monitors import Monitors
from lightning_maxent.run_data import data_of
from lightning_maxent.transition import Round


@runtime_checkable
class DropsRows(Protocol):
    """A logger that can remove the rows after the checkpoint from which a run resumes."""

    def drop_after(self, env_steps: int) -> None:
        """Remove the rows after this step."""


class TrainingLog(pl.Callback):
    """Logs training metrics to all loggers, every ``every_n_steps`` environment steps and at the end.

    The metrics are the means of losses, entropy, temperature and training returns since the last row, the ratio of
    gradient steps to environment steps, and the speed of both.  Callbacks such as ``EarlyStopping`` can monitor all of
    them.  Speed is per second of collecting and learning, without evaluation.

    If a Trainer has no ``TrainingLog``, the algorithm adds one, so that a plain Trainer logs the same metrics.

    Args:
        every_n_steps: number of environment steps between two rows.

    Raises:
        MaxEntError: if ``every_n_steps`` is less than 1.
    """

    def __init__(self, every_n_steps: int = 1_000):
        if every_n_steps < 1:
            raise MaxEntError(f"training_log.every_n_steps must be at least 1, but is {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self._last_steps = 0
        self._last_gradient_steps = 0
        self._since = 0.0
        self._paused = 0.0
        self._monitors = Monitors([], [])

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._last_steps, self._last_gradient_steps = trainer.global_step, pl_module.gradient_steps
        self._since = time.perf_counter()
        for logger in trainer.loggers:
            if isinstance(logger, DropsRows):
                logger.drop_after(trainer.global_step)
        self._monitors = Monitors(callbacks_of(trainer), pl_module.trained_networks())
        self._monitors.allow_saves(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since += time.perf_counter() - self._paused
        self._monitors.check(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.enable_validation:
            self._monitors.check(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._monitors.remove_seen(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Round, batch_idx: int
    ) -> None:
        steps = trainer.global_step
        is_due = steps // self.every_n_steps > self._last_steps // self.every_n_steps
        if is_due or trainer.should_stop:
            self._log(trainer, pl_module)
        self._monitors.allow_saves(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.global_step > self._last_steps:  # stopped by max_epochs or a callback
            self._log(trainer, pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not is_dry_run(trainer):
            self._monitors.warn_of_missing()
        self._monitors.release()
        self._monitors = Monitors([], [])

    def _log(self, trainer: pl.Trainer, pl_module: Any) -> None:
        steps = trainer.global_step
        seconds = time.perf_counter() - self._since
        data = data_of(trainer)
        metrics = pl_module.drain_metrics() | (data.metrics() if data else {})
        gradient_steps = pl_module.gradient_steps
        metrics |= {
            "gradient_steps_per_env_step": gradient_steps / steps,
            "speed/env_steps_per_s": (steps - self._last_steps) / seconds,
            "speed/updates_per_s": (gradient_steps - self._last_gradient_steps) / seconds,
        }
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=steps)
        self._monitors.show(trainer, metrics)
        self._last_steps, self._last_gradient_steps = steps, gradient_steps
        self._since = time.perf_counter()
