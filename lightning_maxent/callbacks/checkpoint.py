"""When a checkpoint is saved, and how it reaches the disk whole."""

import contextlib
import math
import shutil
import uuid
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightning_maxent.callbacks.averaging import averaged_weights_exchanged
from lightning_maxent.errors import DivergedError, MaxEntError
from lightning_maxent.files import replace, write_temporary
from lightning_maxent.free_space import bytes_on_disk, disk_left, in_words
from lightning_maxent.inspection import diverged
from lightning_maxent.monitors import NeverRefused

BESIDE = ".replay"  # added to a checkpoint's name: the folder of its buffer


class StepCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, from which a run can go on: saved whenever the clock of environment steps crosses a
    multiple, at the end, and when the run stops for any reason.  It holds torch's random states, so that a run that goes on
    with its seed does not draw once more what it drew at its beginning; with another seed it begins those draws.

    Where an evaluation follows, the save waits for it, so that the checkpoint knows the best return so far.  An evaluation
    that was cut short is made up for where the run goes on.  Every run ends with an evaluation, also where
    ``check_val_every_n_epoch`` would leave out the last one.  A dry run (``fast_dev_run``) saves nothing.
    Lightning's own callback tests ``global_step % n == 0`` and misses a clock that jumps over the multiple.

    Args:
        every_n_steps: environment steps between two saves.
    """

    def __init__(self, every_n_steps: int = 10_000):
        if every_n_steps < 1:
            raise MaxEntError(f"checkpoint.every_n_steps must be at least 1, but is {every_n_steps}.")
        super().__init__(save_last=True, save_top_k=0, enable_version_counter=False)
        self.every_n_steps = every_n_steps
        self._saved_steps = math.inf  # until training starts there is nothing that may replace what lies there
        self._random_states: list[Tensor] = []
        self._seed: int | None = None  # of these
        self._evaluated = 0  # environment steps at the last evaluation that came to its end
        self._before_evaluation: list[Tensor] = []  # random states, while one is under way

    def state_dict(self) -> dict[str, Any]:
        """Random states and when the run was evaluated; ``last.ckpt`` itself is where it lies."""
        states = self._before_evaluation or _random_states()
        return {"random_states": states, "seed": torch.initial_seed(), "evaluated": self._evaluated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random_states, self._seed = state_dict.get("random_states", []), state_dict.get("seed")
        self._evaluated = state_dict.get("evaluated", 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_steps = math.inf if trainer.fast_dev_run else trainer.global_step  # type: ignore[attr-defined]
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._warn_of_a_full_disk(trainer)
        self._draw_on()
        if trainer.global_step:
            _continue_epochs(trainer)
        if self._owes_evaluation(trainer) and trainer.global_step % _evaluation_interval(trainer) == 0:
            self._evaluate(trainer)

    def _warn_of_a_full_disk(self, trainer: pl.Trainer) -> None:
        """Saying so now is worth more than failing hours later, when the buffer has grown."""
        needed, folder = 2 * getattr(trainer.datamodule, "saved_bytes", 0), Path(str(self.dirpath))  # type: ignore[attr-defined]
        left = disk_left(folder)
        if left is not None and needed > left + bytes_on_disk(folder / f"last.ckpt{BESIDE}"):
            rank_zero_warn(
                f"Checkpoints will take {in_words(needed)} on the disk of {folder}, for the replay buffer and the one that it "
                f"replaces, but there are {in_words(left)} left: make room, or begin with a lower data.capacity or another "
                f"--runs_dir."
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The evaluation at the end of the run, where it is still to come."""
        if self._owes_evaluation(trainer):
            self._draw_on()
            self._evaluate(trainer)
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _draw_on(self) -> None:
        if self._random_states and self._seed == torch.initial_seed():
            cpu, *gpus = self._random_states
            torch.set_rng_state(cpu)
            for index, gpu in enumerate(gpus[: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(gpu, index)
        self._random_states = []

    def _owes_evaluation(self, trainer: pl.Trainer) -> bool:
        return trainer.enable_validation and not trainer.fast_dev_run and trainer.global_step > self._evaluated  # type: ignore[attr-defined]

    @staticmethod
    def _evaluate(trainer: pl.Trainer) -> None:
        epoch_loop = trainer.fit_loop.epoch_loop
        # The step that loggers get: Lightning has added one to it.
        epoch_loop._batches_that_stepped = trainer.global_step
        loop = epoch_loop.val_loop
        trainer.validating = True
        loop.run()
        trainer.training = True
        loop._has_run = False  # or Lightning would take the epoch to come for done

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not _evaluates(trainer):
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing: environment steps decide."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before_evaluation = _random_states()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before_evaluation = []
        if trainer.sanity_checking:
            return
        self._evaluated = trainer.global_step
        self._save_if_due(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        whole = trainer.datamodule is None or trainer.datamodule.env_steps == trainer.global_step  # type: ignore[attr-defined]
        if whole and not isinstance(exception, CheckpointNotSavedError | DivergedError):
            averaged = (
                averaged_weights_exchanged(trainer) if self._before_evaluation else contextlib.nullcontext()
            )  # in an evaluation
            with contextlib.suppress(DivergedError), averaged:  # a DivergedError would hide the exception
                self._save(trainer)  # a round torn by the exception leaves the checkpoint before it

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


def _continue_epochs(trainer: pl.Trainer) -> None:
    """Where a run goes on, let the clock say which epoch it is, and whether one begins.

    Lightning plays an empty epoch first where the checkpoint was saved at the end of one, and counts it.
    """
    loop = trainer.fit_loop
    epoch, passed = divmod(trainer.global_step, trainer.datamodule.eval_interval)  # type: ignore[attr-defined]
    progress = loop.epoch_progress.current
    progress.ready = progress.started = progress.processed = progress.completed = epoch  # type: ignore[attr-defined]
    if passed == 0:
        loop.reset_restart_stage()
        loop.epoch_loop.restarting = False


def _evaluates(trainer: pl.Trainer) -> bool:
    """Whether an evaluation follows the round that has just ended."""
    is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.should_stop
    is_due = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    return is_last and is_due and trainer.enable_validation


def _evaluation_interval(trainer: pl.Trainer) -> int:
    """In environment steps."""
    return trainer.datamodule.eval_interval * (trainer.check_val_every_n_epoch or 1)  # type: ignore[attr-defined]


def _random_states() -> list[Tensor]:
    """Of the CPU and of every GPU in use."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *gpus]


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


class CheckpointNotSavedError(MaxEntError):
    """A checkpoint could not be written; the one before it is whole."""


class AtomicCheckpointIO(CheckpointIO):
    """Checkpoints that are either old or new but never half, with the replay buffer beside them.

    ``name.ckpt`` holds everything but the buffer, whose tensors lie one file each in ``name.ckpt.replay/<id>/``; the
    checkpoint names its ``<id>``.  The buffer is written first, then the checkpoint is replaced in one step, then
    buffers of other ids are removed: whenever the process dies, ``name.ckpt`` points at the buffer of its own moment.
    A checkpoint without optimizer states is for playing, not for going on, and is saved without the buffer.
    Loading executes no code (``weights_only``).
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Replace what lies at ``path``, or leave it as it was.

        Raises:
            DivergedError: if weights are not finite.
            CheckpointNotSavedError: if it cannot be written.
        """
        if parts := diverged(checkpoint["state_dict"]):
            raise DivergedError(
                f"At {checkpoint['global_step']:,} environment steps the weights of {' and '.join(parts)} are not finite, "
                f"so they are not saved: lower the learning rates, and start anew or from the checkpoint before."
            )
        path = Path(path)
        checkpoint = {key: dict(value) if _has_replay(value) else value for key, value in checkpoint.items()}
        buffers = path.with_name(path.name + BESIDE)
        with _named_failures(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = None
            try:
                for state in checkpoint.values():
                    if _has_replay(state):
                        tensors = state.pop("replay")
                        if "optimizer_states" in checkpoint:
                            kept = state["replay_id"] = uuid.uuid4().hex
                            (buffers / kept).mkdir(parents=True)
                            for name, tensor in tensors.items():
                                # Through numpy, since a slice would drag its whole storage along, and a copy needs memory.
                                whole = torch.from_numpy(tensor.detach().cpu().numpy())
                                replace(write_temporary(buffers / kept / f"{name}.pt", partial(torch.save, whole)))
                temporary = write_temporary(path, partial(torch.save, checkpoint))
            except BaseException:
                if kept is not None:
                    shutil.rmtree(buffers / kept, ignore_errors=True)
                raise
            replace(temporary)
            for other in buffers.iterdir() if buffers.exists() else ():
                if other.name != kept:
                    shutil.rmtree(other, ignore_errors=True)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        path = Path(path)
        checkpoint = read_checkpoint(path, map_location)
        for state in checkpoint.values():
            if isinstance(state, dict) and "replay_id" in state:
                folder = path.with_name(path.name + BESIDE) / state.pop("replay_id")
                state["replay"] = {file.stem: _load_rows(file) for file in sorted(folder.glob("*.pt"))}
                if not state["replay"]:
                    raise MaxEntError(
                        f"The replay buffer of {path} is missing: it must lie in {folder}; copy or move a checkpoint "
                        f"together with its .replay folder."
                    )
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        path = Path(path)
        path.unlink(missing_ok=True)
        shutil.rmtree(path.with_name(path.name + BESIDE), ignore_errors=True)


def read_checkpoint(path: Path, map_location: Any | None = "cpu") -> dict[str, Any]:
    """The dictionary in a checkpoint file, without the replay buffer.

    Raises:
        MaxEntError: if there is no such file, or it is no checkpoint of this project.
    """
    if path.is_dir():
        raise MaxEntError(f"{path} is a folder: give a checkpoint, such as {path / 'checkpoints' / 'last.ckpt'}.")
    if not path.is_file():
        raise MaxEntError(f"There is no checkpoint {path}.")
    try:
        checkpoint = _load(path, map_location)
    except Exception as error:
        raise MaxEntError(
            f"{path} is no checkpoint, or a damaged one ({type(error).__name__}): give a .ckpt file that a run wrote, "
            f"such as runs/…/checkpoints/last.ckpt."
        ) from error
    if not isinstance(checkpoint, dict) or "pytorch-lightning_version" not in checkpoint:
        raise MaxEntError(f"{path} is a file of another kind, not a checkpoint: give a .ckpt file that a run wrote.")
    return checkpoint


def _load(path: Path, map_location: Any | None) -> Any:
    return torch.load(path, map_location=map_location, weights_only=True, mmap=True)


def _load_rows(file: Path) -> Tensor:
    try:
        return _load(file, "cpu")
    except Exception as error:
        raise MaxEntError(
            f"{file}, a part of the replay buffer, is damaged ({type(error).__name__}): go on from another checkpoint, or "
            f"begin a new run with these weights by the callback WarmStart."
        ) from error


def _has_replay(state: Any) -> bool:
    return isinstance(state, dict) and "replay" in state


@contextlib.contextmanager
def _named_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise CheckpointNotSavedError(
            f"The checkpoint {path} could not be written ({error}): free some space or give another folder; what was "
            f"saved there before is untouched."
        ) from error
