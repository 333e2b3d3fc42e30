"""Checkpoints: the last state of a run, and the best weights so far."""

import contextlib
import math
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_warn

from lightning_maxent.callbacks.random_states import RandomStates
from lightning_maxent.checkpoint_files import BESIDE, AtomicCheckpointIO, CheckpointNotSavedError
from lightning_maxent.distributed import AFTER_THE_SAME_ROUND, processes
from lightning_maxent.errors import DivergedError, MaxEntError
from lightning_maxent.free_space import bytes_on_disk, disk_left, in_words
from lightning_maxent.lightning_internals import (
    averaged_weights_exchanged,
    continue_epochs,
    evaluate_now,
    evaluation_follows,
    is_dry_run,
)
from lightning_maxent.metrics.monitors import NeverRefused
from lightning_maxent.run_data import RunData, data_of

DISK = 1.2  # size of the files of a large buffer, relative to the buffer: they also hold rows that it has overwritten


class StepCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, from which a run can resume, and the checkpoint before it as ``last-1.ckpt``.

    It saves when the environment steps reach or pass a multiple of ``every_n_steps``, at the end, and when the run
    stops for any reason.  Lightning's callback would save only at exact multiples, which a round of several environment
    steps can pass over.  The checkpoint holds PyTorch's random states (see ``RandomStates``).

    If an evaluation follows, the checkpoint is saved after it, so that it contains the best return so far.  If an
    evaluation was interrupted, it is repeated when the run resumes.  Every run ends with an evaluation, even if
    ``check_val_every_n_epoch`` does not provide for it.  A dry run (``fast_dev_run``) saves nothing.

    Args:
        every_n_steps: number of environment steps between two saves.
        keep_previous: number of checkpoints before ``last.ckpt`` that are kept, as ``last-1.ckpt``, ``last-2.ckpt`` and so
            on; they share the files of the replay buffer.

    Raises:
        MaxEntError: for an ``every_n_steps`` below 1, or a negative ``keep_previous``.
    """

    def __init__(self, every_n_steps: int = 10_000, keep_previous: int = 1):
        if every_n_steps < 1:
            raise MaxEntError(f"checkpoint.every_n_steps must be at least 1, but is {every_n_steps}.")
        if keep_previous < 0:
            raise MaxEntError(f"checkpoint.keep_previous must be at least 0, but is {keep_previous}.")
        super().__init__(save_last=True, save_top_k=0, enable_version_counter=False)
        self.every_n_steps, self.keep_previous = every_n_steps, keep_previous
        self._saved_steps = math.inf  # no save before training starts: it would replace an older file
        self._evaluated_steps = 0  # environment steps at the last complete evaluation
        self._random_states = RandomStates()

    def state_dict(self) -> dict[str, Any]:
        """Random states, and the environment steps at the last evaluation."""
        return self._random_states.state_dict() | {"evaluated": self._evaluated_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random_states.load_state_dict(state_dict)
        self._evaluated_steps = state_dict.get("evaluated", 0)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to start a new run in the folder of another one.

        Raises:
            MaxEntError: if the folder holds the ``last.ckpt`` of a run, and this run does not resume.
        """
        last, starts = Path(str(self.dirpath)) / "last.ckpt", trainer.ckpt_path is None and trainer.global_step == 0
        if starts and last.exists() and not is_dry_run(trainer):
            raise MaxEntError(
                f"The folder {last.parent.parent} already holds a run: choose another folder, or resume the run with "
                f"trainer.fit(model, data, ckpt_path={str(last)!r})."
            )

    # ---- when to save -----------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_steps = math.inf if is_dry_run(trainer) else trainer.global_step
        if not is_dry_run(trainer):
            self._warn_of_a_full_disk(trainer)
        if isinstance(files := trainer.strategy.checkpoint_io, AtomicCheckpointIO):
            files.keep_previous(Path(str(self.dirpath)) / "last.ckpt", self.keep_previous)
        self._random_states.restore()
        if data := data_of(trainer):
            self._resume(trainer, data)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not evaluation_follows(trainer):
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Does nothing, because saves depend on environment steps, not on epochs."""

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
        """Save, unless the exception came in the middle of a round; then the previous checkpoint is kept.

        If several processes train the model, they save only if all stop after the same round.
        """
        data = data_of(trainer)
        whole = data is None or data.env_steps == trainer.global_step
        whole &= processes() == 1 or AFTER_THE_SAME_ROUND in exception.args
        if whole and not isinstance(exception, CheckpointNotSavedError | DivergedError):
            in_evaluation = self._random_states.held  # evaluation uses averaged weights
            averaged = averaged_weights_exchanged(trainer) if in_evaluation else contextlib.nullcontext()
            with contextlib.suppress(DivergedError), averaged:  # a DivergedError would hide the exception
                self._save(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._saved_steps = math.inf

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        """Save at multiples of ``every_n_steps``, and at the last step, before averaged weights replace current ones."""
        if trainer.should_stop or trainer.global_step // self.every_n_steps > self._saved_steps // self.every_n_steps:
            for logger in trainer.loggers:
                logger.save()  # a run that is killed later and resumes has all metrics up to this checkpoint
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.global_step > self._saved_steps:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
            self._saved_steps = trainer.global_step

    def _warn_of_a_full_disk(self, trainer: pl.Trainer) -> None:
        """Warn if the disk has too little space for the full replay buffer, and the old rows beside it."""
        data, folder = data_of(trainer), Path(str(self.dirpath))
        needed, left = math.ceil(DISK * data.saved_bytes) if data else 0, disk_left(folder)
        if left is not None and needed > left + bytes_on_disk(folder / f"last.ckpt{BESIDE}"):
            rank_zero_warn(
                f"Checkpoints need about {in_words(needed)} in {folder}, for the replay buffer and some older rows, but "
                f"only {in_words(left)} are left: free disk space, or start with a lower data.capacity or another "
                f"--runs_dir."
            )

    # ---- evaluations that Lightning leaves out ----------------------------------------------------------------------

    def _resume(self, trainer: pl.Trainer, data: RunData) -> None:
        """Compute the epoch from the environment steps, and repeat an interrupted evaluation."""
        if trainer.global_step:
            continue_epochs(trainer, data.eval_interval, data.steps_per_round * processes())
        interval = data.eval_interval * (trainer.check_val_every_n_epoch or 1)
        if self._owes_evaluation(trainer) and trainer.global_step % interval == 0:
            evaluate_now(trainer)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Run the evaluation at the end of the run, if Lightning did not."""
        if self._owes_evaluation(trainer):
            self._random_states.restore()
            evaluate_now(trainer)
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _owes_evaluation(self, trainer: pl.Trainer) -> bool:
        return trainer.enable_validation and not is_dry_run(trainer) and trainer.global_step > self._evaluated_steps


class BestCheckpoint(ModelCheckpoint, NeverRefused):
    """Keeps ``best.ckpt``, the weights with the highest ``eval/return_mean`` so far, without optimizers and buffer.

    If a callback averages weights, these are the averaged weights, which were evaluated.
    """

    def __init__(self) -> None:
        super().__init__(
            filename="best",
            monitor="eval/return_mean",
            mode="max",
            save_weights_only=True,
            save_on_train_epoch_end=False,  # only after an evaluation
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # a resumed run
            super().setup(trainer, pl_module, stage)

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        with averaged_weights_exchanged(trainer):
            super()._save_checkpoint(trainer, filepath)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score, also if the folder was moved; without a ``best.ckpt`` there is no best score."""
        path, score = str(Path(str(self.dirpath)) / "best.ckpt"), state_dict["best_model_score"]
        if score is not None and Path(path).is_file():
            here = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path}
            super().load_state_dict(state_dict | here | {"best_k_models": {path: score}})
