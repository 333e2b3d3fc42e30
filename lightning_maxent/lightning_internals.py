"""Everything of Lightning's Trainer that has no public name and is read or set here.

Lightning's loops count batches, and its evaluations follow epochs.  A run here counts environment steps.  The functions
below keep the two in agreement.  They are written for pytorch-lightning 2.6; ``tests/test_lightning_internals.py`` fails
where another version lacks a name or gives it another meaning.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """All callbacks of a Trainer.  Lightning sets the attribute without declaring it."""
    undeclared: Any = trainer
    return undeclared.callbacks


def is_dry_run(trainer: pl.Trainer) -> bool:
    """Whether the Trainer was built with ``fast_dev_run``.  Lightning sets the attribute without declaring it."""
    undeclared: Any = trainer
    return bool(undeclared.fast_dev_run)


def set_global_step(trainer: pl.Trainer, env_steps: int) -> None:
    """Make environment steps the Trainer's ``global_step`` and the x-axis of its loggers.

    Lightning counts the steps of optimizers that it wraps.  Optimizers are stepped without its wrapper here, so its counter
    is set.
    """
    loop = trainer.fit_loop.epoch_loop
    progress = loop.manual_optimization.optim_step_progress
    delta = env_steps - progress.total.completed
    for counter in (progress.total, progress.current):
        counter.ready += delta
        counter.completed += delta
    loop._batches_that_stepped = env_steps


def continue_epochs(trainer: pl.Trainer, eval_interval: int) -> None:
    """Set the epoch of a resumed run from its ``global_step``.

    Where the checkpoint was saved at the end of an epoch, Lightning would run an empty epoch first and count it.

    Args:
        trainer: with the ``global_step`` of the checkpoint.
        eval_interval: environment steps of an epoch.
    """
    loop = trainer.fit_loop
    epoch, passed = divmod(trainer.global_step, eval_interval)
    progress: Any = loop.epoch_progress.current
    progress.ready = progress.started = progress.processed = progress.completed = epoch
    if passed == 0:
        loop.reset_restart_stage()
        loop.epoch_loop.restarting = False


def evaluation_follows(trainer: pl.Trainer) -> bool:
    """Whether Lightning evaluates after the training step that has just ended."""
    is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.should_stop
    is_due = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    return is_last and is_due and trainer.enable_validation


def evaluate_now(trainer: pl.Trainer) -> None:
    """Run an evaluation of ``fit`` at once, from ``on_train_start`` or ``on_fit_end``, outside of Lightning's own times."""
    epoch_loop = trainer.fit_loop.epoch_loop
    epoch_loop._batches_that_stepped = trainer.global_step  # the step that loggers get; Lightning has added one to it
    loop = epoch_loop.val_loop
    trainer.validating = True
    loop.run()
    trainer.training = True
    loop._has_run = False  # or Lightning would take the next epoch for finished


@contextmanager
def averaged_weights_exchanged(trainer: pl.Trainer) -> Iterator[None]:
    """Exchange the learning weights and their average, where a callback averages them, until the block ends."""
    averages = [
        each for each in callbacks_of(trainer) if isinstance(each, WeightAveraging) and each._average_model is not None
    ]
    for average in averages:
        average._swap_models(trainer.lightning_module)
    try:
        yield
    finally:
        for average in averages:
            average._swap_models(trainer.lightning_module)
