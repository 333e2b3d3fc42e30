"""Histograms of values, actions and gradients in W&B and TensorBoard."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from lightning_maxent.callbacks.episode_logger import AbstractEpisodeLogger
from lightning_maxent.errors import check_positive
from lightning_maxent.loggers.media import log_histograms, warn_unless_shown
from lightning_maxent.optimizers import parameters_of
from lightning_maxent.transition import Episode


class Histograms(AbstractEpisodeLogger):
    """Logs histograms of actions, Q, V and entropy over the steps of each evaluation's episodes with sampled actions.

    They are ``histograms/action/<index>`` for each entry of the action in the learner's form, and ``histograms/Q``,
    ``histograms/V`` and ``histograms/entropy``, as far as the algorithm estimates them.  Values are in scaled rewards.
    The cost is one pass of the networks over these episodes.  W&B and TensorBoard show them.
    """

    def log_episodes(self, trainer: pl.Trainer, pl_module: Any, episodes: Sequence[Episode]) -> None:
        sampled = [each for each in episodes if not each.deterministic]
        if not sampled:
            return
        obs = torch.cat([each.obs[:-1] for each in sampled]).to(pl_module.dtype)
        action = torch.cat([each.action for each in sampled]).to(pl_module.dtype)
        values = {f"histograms/action/{index}": each for index, each in enumerate(action.unbind(-1))}
        values |= {f"histograms/{name}": each for name, each in pl_module.estimates(obs, action).items()}
        log_histograms(trainer.loggers, values, trainer.global_step)


class GradientHistograms(pl.Callback):
    """Logs histograms of the gradients of each parameter, as ``gradients/<name of the parameter>``.

    They are those of the optimizer's step, before clipping.  W&B and TensorBoard show them.

    Args:
        every_n_updates: number of gradient steps of a network between two histograms.

    Raises:
        MaxEntError: if ``every_n_updates`` is less than 1.
    """

    def __init__(self, every_n_updates: int = 1_000):
        check_positive(every_n_updates=every_n_updates)
        self.every_n_updates = every_n_updates
        self._names: dict[int, str] = {}
        self._updates = Counter[int]()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        warn_unless_shown(trainer.loggers, "GradientHistograms")
        self._names = {id(parameter): name for name, parameter in pl_module.named_parameters()}
        self._updates.clear()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        self._updates[id(optimizer)] += 1
        if self._updates[id(optimizer)] % self.every_n_updates == 0:
            named = {f"gradients/{self._names[id(each)]}": each.grad for each in parameters_of(optimizer)}
            gradients = {name: each for name, each in named.items() if each is not None}
            log_histograms(trainer.loggers, gradients, trainer.global_step)
