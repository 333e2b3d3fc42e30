"""Starts a run from the weights of another run."""

from typing import Any

import pytorch_lightning as pl

from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.contracts import check_same_tensors
from lightning_maxent.loggers.wandb_artifacts import local_checkpoint
from lightning_maxent.run_data import data_of


class WarmStart(pl.Callback):
    """Loads the weights of a checkpoint at the start of a new run.

    The scalings of observations and rewards are loaded too, because the networks learned with them.  Environment steps,
    data and optimizers start anew.  A run that resumes from its own checkpoint ignores this callback.

    Args:
        path: checkpoint of an algorithm with the same networks and scalings, or its address in W&B, such as
            ``wandb:entity/project/run:best``.

    Raises:
        MaxEntError: if there is no such checkpoint, or its networks or scalings are different.
    """

    def __init__(self, path: str):
        self.path = local_checkpoint(path).absolute()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        checkpoint = read_checkpoint(self.path)
        if trainer.ckpt_path is None:
            check_same_tensors(checkpoint, pl_module)
            pl_module.gradient_steps = 0
            pl_module.load_state_dict(checkpoint["state_dict"])
            pl_module.advance_schedules(0)
            data: Any = next((state for key, state in checkpoint.items() if key.endswith("DataModule")), {})
            if run_data := data_of(trainer):
                run_data.load_scalings(data)
