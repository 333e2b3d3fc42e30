"""Learn from what another run has met."""

from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl

from lightning_maxent.callbacks.checkpoint import AtomicCheckpointIO
from lightning_maxent.errors import MaxEntError
from lightning_maxent.transition import Transition


class RecordedData(pl.Callback):
    """Gives an agent the data of another run, step by step, in place of what it would have met by its own actions.

    Both then learn from the same transitions at the same times, and what differs is what they make of them ("passive
    learning", Ostrovski et al. 2021).  Evaluations are played in the environment as ever.

    Args:
        path: a checkpoint of the other run with its replay buffer (``last.ckpt``); of the same environment and number of
            copies side by side.

    Raises:
        MaxEntError: if there is no such checkpoint, or it does not hold all that is asked for.
    """

    def __init__(self, path: str):
        self.path = Path(path).absolute()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        checkpoint = AtomicCheckpointIO().load_checkpoint(self.path)
        recorded = next((state for state in checkpoint.values() if isinstance(state, dict) and "replay" in state), None)
        if recorded is None:
            self._refuse("holds no replay buffer")
        if recorded["env_id"] != data.env_id:
            self._refuse(f"was made on {recorded['env_id']}, but env_id is {data.env_id}")
        rows = Transition(*(recorded["replay"][name] for name in Transition._fields))
        if recorded["env_steps"] > len(rows.reward):
            self._refuse(f"holds only the last {len(rows.reward):,} of its {recorded['env_steps']:,} transitions")
        if trainer.max_steps > len(rows.reward):
            self._refuse(f"ends at {len(rows.reward):,} environment steps, before max_steps {trainer.max_steps:,}")
        data.learn_from(rows)

    def _refuse(self, why: str) -> NoReturn:
        raise MaxEntError(f"The run of {self.path} {why}: give RecordedData one that has all the steps to learn from.")
