"""Checks of the options of Lightning's Trainer; those without a meaning here are refused before a run begins."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BatchSizeFinder, GradientAccumulationScheduler, LearningRateFinder
from pytorch_lightning.loggers import WandbLogger as LightningWandbLogger

from lightning_maxent.algorithms.checks import CLIPPING
from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.wandb import WandbLogger
from lightning_maxent.run_trainer import listed

WANDB = "lightning_maxent.WandbLogger"


def check_trainer_options(given: Any, model: pl.LightningModule, data: pl.LightningDataModule) -> None:
    """Check the options of a Trainer.

    Args:
        given: the options as attributes; callbacks and loggers are objects.
        model: the model to train.
        data: the data to train on.

    Raises:
        MaxEntError: for the first option that would not do what Lightning's documentation says.
    """
    for refusal in _refusals(given, model, data):
        raise MaxEntError(refusal)


def _refusals(given: Any, model: pl.LightningModule, data: pl.LightningDataModule) -> Iterator[str]:
    name, callbacks = type(model).__name__, listed(given.callbacks)
    if given.gradient_clip_val is not None or given.gradient_clip_algorithm is not None:
        yield CLIPPING
    accumulates = any(isinstance(each, GradientAccumulationScheduler) for each in callbacks)
    if given.accumulate_grad_batches != 1 or accumulates:
        what = "GradientAccumulationScheduler" if accumulates else "accumulate_grad_batches"
        yield f"{what} cannot be used, because every update uses one batch: leave it out{_batch_size(data)}."
    if any(isinstance(each, BatchSizeFinder) for each in callbacks):
        yield f"BatchSizeFinder cannot be used, because there is no fixed data set: leave it out{_batch_size(data)}."
    if any(isinstance(each, LearningRateFinder) for each in callbacks):
        yield (
            f"LearningRateFinder cannot be used, because {name} has one optimizer per network: leave it out, and set "
            f"the learning rate of all networks by --model.optimizers.default.init_args.lr=0.001."
        )
    if given.overfit_batches != 0:
        yield (
            "overfit_batches cannot be used, because there is no data set to overfit: leave it out; for a short run "
            "set --trainer.max_steps to a few hundred."
        )
    if not (_whole(given.limit_train_batches) and _whole(given.val_check_interval)):
        what = "val_check_interval" if _whole(given.limit_train_batches) else "limit_train_batches"
        yield f"{what} cannot be used: set --data.eval_interval, the environment steps between two evaluations."
    if not given.check_val_every_n_epoch:
        yield "check_val_every_n_epoch must be at least 1: set --data.eval_interval to choose when to evaluate."
    evaluates_so = given.limit_val_batches == 0 or _whole(given.limit_val_batches)
    if not (evaluates_so and _whole(given.limit_test_batches)):
        what = "limit_test_batches" if evaluates_so else "limit_val_batches"
        yield f"{what} cannot be used: set --data.eval_episodes, the number of episodes of an evaluation."
    if given.enable_checkpointing is False:
        yield (
            "enable_checkpointing=false cannot be used, because every run keeps last.ckpt and best.ckpt: leave it out; "
            "--trainer.fast_dev_run=100 runs at most 100 rounds and writes no files."
        )
    if given.sync_batchnorm:
        yield (
            "sync_batchnorm cannot be used: leave it out; the layers of this package average their running statistics "
            "over all processes."
        )
    if given.barebones:
        yield "barebones cannot be used, because every run keeps checkpoints and metrics.csv: leave it out."
    for logger in listed(given.logger):
        if isinstance(logger, LightningWandbLogger) and not isinstance(logger, WandbLogger):
            yield (
                f"Lightning's WandbLogger does not know the folder of the run and does not count environment steps: "
                f"choose --trainer.logger={WANDB} instead."
            )


def _whole(share: Any) -> bool:
    """Whether a value means all batches: None or 1.0; the integer 1 means one batch."""
    return share is None or (isinstance(share, float) and share == 1)


def _batch_size(data: pl.LightningDataModule) -> str:
    return ", and choose --data.batch_size" if hasattr(data, "batch_size") else ""
