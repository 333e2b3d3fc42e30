"""Training on the recorded transitions of another run."""

from typing import NoReturn

import pytorch_lightning as pl

from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.distributed import processes
from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.wandb_artifacts import local_checkpoint
from lightning_maxent.run_data import ReplayedData, data_of
from lightning_maxent.transition import Transition


class RecordedData(pl.Callback):
    """Replaces the data of a run by the transitions of another run, in their order.

    The agent's actions have no effect on its training data, so both runs learn from the same transitions at the same
    environment steps ("passive learning", Ostrovski et al. 2021).  Evaluations are played in the environment.

    If rewards are scaled by returns and the run resumes in the middle of an episode, the rest of this episode counts as
    a return of its own.

    Args:
        path: checkpoint of the other run with its replay buffer (``last.ckpt``), or its address in W&B, with the same environment, the same
            keyword arguments and the same ``num_envs``.

    Raises:
        MaxEntError: if there is no such checkpoint, it does not hold all transitions, it was made with another
            environment, or the algorithm learns from its own rollouts.
    """

    def __init__(self, path: str):
        self.path = local_checkpoint(path).absolute()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if processes() > 1:
            raise MaxEntError(
                f"RecordedData cannot be used with {processes()} processes, because all would learn from the same "
                f"transitions: set trainer.devices and trainer.num_nodes to 1."
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = data_of(trainer)
        if not isinstance(data, ReplayedData):
            raise MaxEntError(
                f"{type(pl_module).__name__} learns from its own rollouts: RecordedData is for algorithms with a replay buffer."
            )
        checkpoint = AtomicCheckpointIO().load_checkpoint(self.path)
        recorded = next((state for state in checkpoint.values() if isinstance(state, dict) and "replay" in state), None)
        if recorded is None:
            self._refuse("holds no replay buffer: give the last.ckpt of a run that learns from one")
        if "further" in recorded:
            self._refuse("was made by several processes: record with trainer.devices 1")
        rows = Transition(**recorded["replay"].all())
        steps = len(rows.reward)
        for name in ("env_id", "env_kwargs", "num_envs"):
            there, here = recorded.get(name), getattr(data, name)
            if there not in (None, here):
                self._refuse(f"was made with {name} {there}, but the configuration has {here}: both runs need the same")
        widths = (rows.obs.shape[-1], rows.action.shape[-1])
        if widths != (data.obs_dim, data.actions.dim):
            self._refuse(f"has observations and actions of other sizes {widths}: both runs need the same environment")
        if recorded["env_steps"] > steps:
            self._refuse(
                f"lacks the first of its {recorded['env_steps']:,} transitions: record with a data.capacity of at least "
                f"this number"
            )
        if trainer.max_steps > steps:
            self._refuse(f"ends at {steps:,} environment steps: set max_steps to no more than that")
        data.replace_environment_by(rows)

    def _refuse(self, why: str) -> NoReturn:
        raise MaxEntError(f"The recording {self.path} {why}.")
