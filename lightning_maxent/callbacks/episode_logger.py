"""The base of callbacks that log the episodes of each evaluation in training."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from lightning_maxent.loggers.media import warn_unless_shown
from lightning_maxent.transition import Episode


class AbstractEpisodeLogger(pl.Callback):
    """Collects the episodes of an evaluation, and gives them to ``log_episodes`` when it has ended.

    It does so in training and in the process of rank 0 only.  It warns before training if no logger can show them.
    """

    def __init__(self) -> None:
        self._episodes: list[Episode] = []

    @abstractmethod
    def log_episodes(self, trainer: pl.Trainer, pl_module: Any, episodes: Sequence[Episode]) -> None:
        """Log the episodes of one evaluation, those with deterministic actions and those with sampled ones."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        warn_unless_shown(trainer.loggers, type(self).__name__)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._episodes = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Episode,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._episodes.append(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        episodes, self._episodes = self._episodes, []
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and trainer.is_global_zero:
            self.log_episodes(trainer, pl_module, episodes)
