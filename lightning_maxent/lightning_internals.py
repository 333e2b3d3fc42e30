"""All uses of Lightning's Trainer that are not part of its public interface.

Lightning's loops count batches, and evaluations happen after epochs.  A run here counts environment steps.  The
functions below keep the two consistent.  They are written for pytorch-lightning 2.6;
``tests/test_lightning_internals.py`` fails if another version lacks a name or changes its meaning.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.trainer import call
from pytorch_lightning.trainer.connectors.accelerator_connector import _AcceleratorConnector
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch.amp import GradScaler


def callbacks_of(trainer: pl.Trainer) -> list[pl.Callback]:
    """All callbacks of a Trainer.  Lightning sets the attribute without declaring it."""
    undeclared: Any = trainer
    return undeclared.callbacks


def name_after_run(logger: Logger, name: str) -> None:
    """Give TensorBoard and MLflow the name of the run, if the user has chosen none; TensorBoard then has one log of it."""
    if isinstance(logger, TensorBoardLogger) and logger._version is None:
        logger._version = name
    if isinstance(logger, MLFlowLogger) and logger._run_name is None:
        logger._run_name = name


def log_settings(logger: Logger, settings: dict[str, Any]) -> None:
    """Log the settings of a run.  TensorBoard keeps the file that Lightning has made before there were any."""
    if isinstance(logger, TensorBoardLogger):
        file = f"{logger.log_dir}/{logger.NAME_HPARAMS_FILE}"
        if logger._fs.isfile(file):
            logger._fs.rm(file)
    logger.log_hyperparams(settings)
    logger.save()


def is_dry_run(trainer: pl.Trainer) -> bool:
    """Whether the Trainer was built with ``fast_dev_run``.  Lightning sets the attribute without declaring it."""
    undeclared: Any = trainer
    return bool(undeclared.fast_dev_run)


def is_listening(trainer: pl.Trainer, hook: str) -> bool:
    """Whether the module or a callback overrides a hook of Lightning."""
    overriders = [each for each in callbacks_of(trainer) if hasattr(each, hook) and is_overridden(hook, each)]
    return bool(overriders) or is_overridden(hook, trainer.lightning_module)


def call_hook(trainer: pl.Trainer, hook: str, *args: Any) -> None:
    """Call a hook of all callbacks, then of the module, as Lightning does around a gradient step."""
    call._call_callback_hooks(trainer, hook, *args)
    call._call_lightning_module_hook(trainer, hook, *args)


def gradient_scaler(trainer: pl.Trainer) -> GradScaler | None:
    """The gradient scaler of the precision 16-mixed; None for other precisions."""
    plugin = trainer.precision_plugin
    return plugin.scaler if isinstance(plugin, MixedPrecision) else None


def takes_several_processes(accelerator: Any, devices: Any, num_nodes: int) -> bool:
    """Whether a Trainer with these arguments has more than one process."""
    connector = _AcceleratorConnector(accelerator=accelerator, devices=devices, num_nodes=num_nodes)
    return not isinstance(connector.strategy, SingleDeviceStrategy)


def set_backend(strategy: DDPStrategy, backend: str) -> None:
    """Set the process group backend of a strategy that does not talk to other processes yet."""
    strategy._process_group_backend = backend


def end_started_processes(strategy: Strategy, seconds: float) -> None:
    """Kill the processes that a strategy has started, if they do not end themselves within ``seconds``."""
    launcher = strategy.launcher
    for process in launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else ():
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()


def leave_out_own_stop(trainer: pl.Trainer) -> None:
    """Let several processes begin a round without Lightning's question to process 0 whether it got a SIGTERM."""
    loop: Any = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = _nothing


def _nothing() -> None:
    """Does nothing."""


def set_global_step(trainer: pl.Trainer, env_steps: int) -> None:
    """Make environment steps the Trainer's ``global_step`` and the x-axis of its loggers.

    Lightning counts the steps of the optimizers that it wraps.  Here optimizers are used without this wrapper, so the
    counter is set directly.
    """
    loop = trainer.fit_loop.epoch_loop
    progress = loop.manual_optimization.optim_step_progress
    delta = env_steps - progress.total.completed
    for counter in (progress.total, progress.current):
        counter.ready += delta
        counter.completed += delta
    loop._batches_that_stepped = env_steps


def continue_epochs(trainer: pl.Trainer, eval_interval: int, round_steps: int) -> None:
    """Set the epoch of a resumed run, and the rounds in it so far, from its ``global_step``.

    If the checkpoint was saved at the end of an epoch, Lightning would otherwise first run and count an empty epoch.

    Args:
        trainer: a Trainer with the ``global_step`` of the checkpoint.
        eval_interval: environment steps per epoch.
        round_steps: environment steps per round; the run that saved the checkpoint may have had others.
    """
    loop = trainer.fit_loop
    epoch, passed = divmod(trainer.global_step, eval_interval)
    progress: Any = loop.epoch_progress.current
    progress.ready = progress.started = progress.processed = progress.completed = epoch
    if passed == 0:
        loop.reset_restart_stage()
        loop.epoch_loop.restarting = False
    else:
        rounds: Any = loop.epoch_loop.batch_progress.current
        rounds.completed += passed // round_steps - rounds.ready
        rounds.ready = rounds.started = rounds.processed = passed // round_steps


def evaluation_follows(trainer: pl.Trainer) -> bool:
    """Whether Lightning evaluates after the training step that has just ended."""
    is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.should_stop
    is_due = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    return is_last and is_due and trainer.enable_validation


def evaluate_now(trainer: pl.Trainer) -> None:
    """Run an evaluation of ``fit`` at once, in ``on_train_start`` or ``on_fit_end``, where Lightning runs none."""
    epoch_loop = trainer.fit_loop.epoch_loop
    epoch_loop._batches_that_stepped = trainer.global_step  # the step for loggers, to which Lightning has added one
    loop = epoch_loop.val_loop
    trainer.validating = True
    loop.run()
    trainer.training = True
    loop._has_run = False  # else Lightning would regard the next epoch as finished


@contextmanager
def averaged_weights_exchanged(trainer: pl.Trainer) -> Iterator[None]:
    """Inside, the model has the averaged weights if a callback averages them; afterwards, its own weights."""
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
