"""When a checkpoint is saved: the last state of a run, and the best weights so far."""

import contextlib
import math
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_warn

from lightning_maxent.callbacks.random_states import RandomStates
from lightning_maxent.checkpoint_files import BESIDE, CheckpointNotSavedError
from lightning_maxent.errors import DivergedError, MaxEntError
from lightning_maxent.free_space import bytes_on_disk, disk_left, in_words
from lightning_maxent.lightning_internals import (
    averaged_weights_exchanged,
    continue_epochs,
    evaluate_now,
    evaluation_follows,
    is_dry_run,
)
from lightning_maxent.monitors import NeverRefused
from lightning_maxent.run_data import RunData, data_of


class StepCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, from which a run can resume.

    It is saved whenever the clock of environment steps crosses a multiple of ``every_n_steps``, at the end, and when the run
    stops for any reason.  Lightning's own callback tests ``global_step % n == 0`` and misses a clock that jumps over the
    multiple.  The checkpoint holds PyTorch's random states (see ``RandomStates``).

    Where an evaluation follows, the save waits for it, so that the checkpoint knows the best return so far.  An evaluation
    that was cut short is played when the run resumes.  Every run ends with an evaluation, also where
    ``check_val_every_n_epoch`` would leave out the last one.  A dry run (``fast_dev_run``) saves nothing.

    Args:
        every_n_steps: environment steps between two saves.

    Raises:
        MaxEntError: for an ``every_n_steps`` below 1.
    """

    def __init__(self, every_n_steps: int = 10_000):
        if every_n_steps < 1:
            raise MaxEntError(f"checkpoint.every_n_steps must be at least 1, but is {every_n_steps}.")
        super().__init__(save_last=True, save_top_k=0, enable_version_counter=False)
        self.every_n_steps = every_n_steps
        self._saved_steps = math.inf  # until training starts, nothing may replace the file that is there
        self._evaluated_steps = 0  # environment steps at the last evaluation that was finished
        self._random_states = RandomStates()

    def state_dict(self) -> dict[str, Any]:
        """Random states, and when the run was last evaluated."""
        return self._random_states.state_dict() | {"evaluated": self._evaluated_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random_states.load_state_dict(state_dict)
        self._evaluated_steps = state_dict.get("evaluated", 0)

    # ---- when to save -----------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_steps = math.inf if is_dry_run(trainer) else trainer.global_step
        if not is_dry_run(trainer):
            self._warn_of_a_full_disk(trainer)
        self._random_states.restore()
        if data := data_of(trainer):
            self._resume(trainer, data)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not evaluation_follows(trainer):
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing: environment steps decide."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._random_states.hold()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._random_states.release()
        if trainer.sanity_checking:
            return
        self._evaluated_steps = trainer.global_step
        self._save_if_due(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save, unless the exception came in the middle of a round: then the checkpoint before it stays."""
        data = data_of(trainer)
        whole = data is None or data.env_steps == trainer.global_step
        if whole and not isinstance(exception, CheckpointNotSavedError | DivergedError):
            in_evaluation = self._random_states.held  # which plays with the averaged weights
            averaged = averaged_weights_exchanged(trainer) if in_evaluation else contextlib.nullcontext()
            with contextlib.suppress(DivergedError), averaged:  # a DivergedError would hide the exception
                self._save(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._saved_steps = math.inf

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        """At a multiple; and at the last step, since weights may be averaged in place when training ends."""
        if trainer.should_stop or trainer.global_step // self.every_n_steps > self._saved_steps // self.every_n_steps:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.global_step > self._saved_steps:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
            self._saved_steps = trainer.global_step

    def _warn_of_a_full_disk(self, trainer: pl.Trainer) -> None:
        """A warning now is worth more than a failure hours later, when the buffer has grown."""
        data, folder = data_of(trainer), Path(str(self.dirpath))
        needed, left = 2 * data.saved_bytes if data else 0, disk_left(folder)
        if left is not None and needed > left + bytes_on_disk(folder / f"last.ckpt{BESIDE}"):
            rank_zero_warn(
                f"Checkpoints will take {in_words(needed)} on the disk of {folder}, for the replay buffer and the one that it "
                f"replaces, but there are {in_words(left)} left: make room, or begin with a lower data.capacity or another "
                f"--runs_dir."
            )

    # ---- evaluations that Lightning leaves out ----------------------------------------------------------------------

    def _resume(self, trainer: pl.Trainer, data: RunData) -> None:
        """Let the clock say which epoch it is, and play an evaluation that was cut short."""
        if trainer.global_step:
            continue_epochs(trainer, data.eval_interval)
        interval = data.eval_interval * (trainer.check_val_every_n_epoch or 1)
        if self._owes_evaluation(trainer) and trainer.global_step % interval == 0:
            evaluate_now(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The evaluation at the end of the run, where it is still to come."""
        if self._owes_evaluation(trainer):
            self._random_states.restore()
            evaluate_now(trainer)
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _owes_evaluation(self, trainer: pl.Trainer) -> bool:
        return trainer.enable_validation and not is_dry_run(trainer) and trainer.global_step > self._evaluated_steps


class BestCheckpoint(ModelCheckpoint, NeverRefused):
    """Keeps ``best.ckpt``: the weights, without optimizers and buffer, of the highest ``eval/return_mean`` so far.

    Where weights are averaged, these are the averaged ones, which were evaluated.
    """

    def __init__(self) -> None:
        super().__init__(
            filename="best",
            monitor="eval/return_mean",
            mode="max",
            save_weights_only=True,
            save_on_train_epoch_end=False,  # right after an evaluation, and only then
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # a run that goes on
            super().setup(trainer, pl_module, stage)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        with averaged_weights_exchanged(trainer):
            super()._save_checkpoint(trainer, filepath)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best score, also in a folder that was moved; a run without a ``best.ckpt`` has none."""
        path, score = str(Path(str(self.dirpath)) / "best.ckpt"), state_dict["best_model_score"]
        if score is not None and Path(path).is_file():
            here = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path}
            super().load_state_dict(state_dict | here | {"best_k_models": {path: score}})
