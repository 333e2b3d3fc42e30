"""The Trainer of a run, with the callbacks, plugins and loggers of every run; the command line uses it too."""

import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, ProgressBar
from pytorch_lightning.loggers import Logger

from lightning_maxent.callbacks.checkpoint import BestCheckpoint, StepCheckpoint
from lightning_maxent.callbacks.curves import Curves
from lightning_maxent.callbacks.interrupt import GracefulInterrupt
from lightning_maxent.callbacks.progress import EnvStepProgress
from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.execution import AbstractExecution, Eager
from lightning_maxent.lightning_internals import name_after_run, takes_several_processes
from lightning_maxent.loggers.tidy_csv import TidyCSVLogger
from lightning_maxent.loggers.wandb import WandbLogger
from lightning_maxent.metrics.training_log import TrainingLog
from lightning_maxent.strategy import GradientAveragingStrategy

FLAGS: dict[str, Any] = {
    "max_epochs": -1,
    "devices": 1,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,  # for Lightning's own logging, which training does not use
}


def make_trainer(
    max_steps: int,
    folder: str | Path,
    callbacks: pl.Callback | Iterable[pl.Callback] = (),
    logger: Logger | Iterable[Logger] | bool = True,
    **options: Any,
) -> pl.Trainer:
    """A Trainer like that of ``lightning-maxent fit``, with the same callbacks, plugins, loggers and flags.

    With ``devices`` or ``num_nodes`` above 1, Lightning runs the script once per device, and the processes train one
    model together; see ``GradientAveragingStrategy``.

    After ``trainer.fit(model, data)`` the folder holds ``metrics.csv``, ``curves.png`` and ``checkpoints``, but no
    ``config.yaml``, which only the command line writes.  ``fit`` refuses a folder that already holds a run.  To resume
    that run: ``trainer.fit(model, data, ckpt_path="<folder>/checkpoints/last.ckpt")``.

    Args:
        max_steps: environment steps of the run.
        folder: folder of the run; it is created if it is missing.
        callbacks: further callbacks.  A ``TrainingLog``, a ``StepCheckpoint`` or an execution, such as
            ``Compiled()``, replaces the default one.
        logger: as ``--trainer.logger``: W&B if True, none if False, or your own loggers; ``metrics.csv`` is always
            written.
        options: further arguments of ``pl.Trainer``, such as ``accelerator`` or ``enable_progress_bar``.

    Raises:
        TypeError: for an option that ``pl.Trainer`` does not have.
    """
    bar, plugins = options.get("enable_progress_bar"), options.pop("plugins", None)
    parts = parts_of_a_run(Path(folder).absolute(), callbacks, plugins, logger, bar)
    options = FLAGS | options
    return pl.Trainer(max_steps=max_steps, **options | strategy_of_a_run(options), **parts)


def strategy_of_a_run(options: Mapping[str, Any]) -> dict[str, Any]:
    """The option ``strategy`` of a Trainer on several devices, if the other options do not give one.

    Args:
        options: the options of the Trainer, with ``devices``.
    """
    accelerator, nodes = options.get("accelerator", "auto"), options.get("num_nodes", 1)
    if options.get("strategy", "auto") != "auto" or (options["devices"] == 1 and nodes == 1):
        return {}
    several = takes_several_processes(accelerator, options["devices"], nodes)
    return {"strategy": GradientAveragingStrategy()} if several else {}


def parts_of_a_run(
    folder: Path, callbacks: Any, plugins: Any, logger: Any, progress_bar: bool | None
) -> dict[str, Any]:
    """The arguments of the Trainer of every run: the parts of the user and ours.

    From then on, Lightning prints no advertisement, and no warning about its own code.

    Args:
        folder: folder of the run.
        callbacks: callbacks of the user: one, several or None.
        plugins: plugins of the user: one, several or None.
        logger: as in ``make_trainer``; None means True.
        progress_bar: False for no progress bar.
    """
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_advertisement)
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    kinds = (StepCheckpoint, TrainingLog, AbstractExecution)
    given = [each for each in listed(callbacks) if not isinstance(each, kinds)]
    kept = [each for each in listed(callbacks) if isinstance(each, kinds)]
    no_bar = progress_bar is False or any(isinstance(each, ProgressBar) for each in given)
    bar = [] if no_bar else [EnvStepProgress()]  # before GracefulInterrupt, whose message must be printed last
    defaults = [
        default()
        for kind, default in zip(kinds, (StepCheckpoint, TrainingLog, Eager))
        if not any(isinstance(each, kind) for each in kept)
    ]
    every = [*given, Curves(), *bar, GracefulInterrupt(), BestCheckpoint(), *kept, *defaults]
    for callback in every:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(folder / "checkpoints")  # else Lightning takes a folder of the first logger
    return {
        "callbacks": every,
        "plugins": [*listed(plugins), AtomicCheckpointIO()],
        "logger": _loggers(folder, logger),
        "default_root_dir": str(folder),
    }


def _no_advertisement(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def _loggers(folder: Path, given: Any) -> list[Logger]:
    """The user's loggers, or W&B, then the csv logger; the first one is ``trainer.logger``."""
    chosen = [WandbLogger()] if given is None or given is True else [] if given is False else listed(given)
    for logger in chosen:
        if isinstance(logger, WandbLogger):
            logger.place(folder)
        else:
            name_after_run(logger, "/".join(folder.parts[-3:]))
    return [*chosen, TidyCSVLogger(folder)]


def listed(given: Any) -> list[Any]:
    """A list of one, several or no objects."""
    return [] if given is None else list(given) if isinstance(given, Iterable) else [given]
