"""Learn from what another run has met."""

from pathlib import Path
from typing import NoReturn

import pytorch_lightning as pl

from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.errors import MaxEntError
from lightning_maxent.run_data import ReplayedData, data_of
from lightning_maxent.transition import Transition


class RecordedData(pl.Callback):
    """Gives an agent the data of another run, step by step, in place of what it would have met by its own actions.

    Both then learn from the same transitions at the same times, and what differs is what they make of them ("passive
    learning", Ostrovski et al. 2021).  Evaluations are played in the environment as ever.

    Args:
        path: a checkpoint of the other run with its replay buffer (``last.ckpt``); of the same environment, with the same
            arguments, and number of copies side by side.  A run that goes on in the middle of an episode counts what is
            left of it as a return of its own, where rewards are scaled by returns.

    Raises:
        MaxEntError: if there is no such checkpoint, it does not hold all that is asked for, or the algorithm learns from
            its own rollouts.
    """

    def __init__(self, path: str):
        self.path = Path(path).absolute()

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
        if lost := [name for name in Transition._fields if name not in recorded["replay"]]:
            self._refuse(f"lacks {' and '.join(lost)}: a file of its .replay folder was lost")
        rows = Transition(*(recorded["replay"][name] for name in Transition._fields))
        steps = len(rows.reward)
        for name in ("env_id", "env_kwargs", "num_envs"):
            there, here = recorded.get(name), getattr(data, name)
            if there not in (None, here):
                self._refuse(f"was made with {name} {there}, but it is {here} here: both must be of one world")
        widths = (rows.obs.shape[-1], rows.action.shape[-1])
        if widths != (data.obs_dim, data.actions.dim):
            self._refuse(f"has observations and actions of other sizes {widths}: both must be of one world")
        if recorded["env_steps"] > steps:
            self._refuse(
                f"has lost the first of its {recorded['env_steps']:,} transitions: give it a capacity of as many, to learn "
                f"from all of them"
            )
        if trainer.max_steps > steps:
            self._refuse(f"ends at {steps:,} environment steps: set max_steps to no more than that")
        data.replace_environment_by(rows)

    def _refuse(self, why: str) -> NoReturn:
        raise MaxEntError(f"The recording {self.path} {why}.")
