"""Begin a run with the weights of another."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.contracts import check_same_tensors
from lightning_maxent.run_data import data_of


class WarmStart(pl.Callback):
    """Gives the networks the weights of a checkpoint before training begins; clock, data and optimizers begin anew.

    Scalings of observations and rewards are those of the checkpoint too, since its networks learned with them.  A run that
    goes on from its own checkpoint keeps what it has learned since.

    Args:
        path: the checkpoint; of a model of the same configuration.

    Raises:
        MaxEntError: if there is no such checkpoint, or it was made with another model or other scalings.
    """

    def __init__(self, path: str):
        self.path = Path(path).absolute()

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
