"""A logger for Weights & Biases (W&B), offline unless an API key is found."""

import contextlib
import re
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger as LightningWandbLogger
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor

from lightning_maxent.checkpoint_files import BESIDE
from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole
from lightning_maxent.loggers.wandb_artifacts import ID_FILE, artifact_name, environment, logged_in
from lightning_maxent.metrics.metrics_csv import STEP, read_metrics

MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
OFFLINE = ("offline", "disabled", "dryrun")
RETRY_SECONDS = 600  # between two attempts to start W&B again after it has failed
SECONDS = {"init_timeout": 30, "finish_timeout": 600}  # that the start and the end of a run wait for W&B
RETURN = "eval/return_mean"  # its best value so far is in the summary


class WandbLogger(LightningWandbLogger):
    """Lightning's WandbLogger with environment steps as the x-axis and one W&B run per run folder.

    Offline runs need neither network nor account; ``wandb sync <folder>/wandb/offline-run-*`` uploads them later.
    Arguments override W&B's environment variables (WANDB_PROJECT, WANDB_NAME, WANDB_DIR, WANDB_RUN_ID, ...), and these
    override the defaults.

    The summary of the W&B run has the last value of each metric, the best evaluation as ``best/eval/return_mean``, and
    its environment steps as ``best/env_steps``.

    Training goes on if W&B fails.  If a run cannot start online within half a minute (WANDB_INIT_TIMEOUT), it is logged
    offline.  If the process of W&B ends, the same W&B run is started again, at most once in ten minutes.  The end of a run
    waits up to ten minutes (WANDB_FINISH_TIMEOUT) for uploads.

    Args:
        project: the W&B project; if None, WANDB_PROJECT, else "lightning-maxent".
        entity: the W&B user or team; if None, WANDB_ENTITY, else the account's default.
        mode: "online", "offline" or "disabled"; if None, WANDB_MODE, else "online" if an API key is found, else
            "offline".
        group: W&B group of the run, for example to group seeds; if None, WANDB_RUN_GROUP.
        tags: W&B tags of the run; if None, WANDB_TAGS.
        name: W&B name of the run; if None, WANDB_NAME, else the last three folders of the run's path.
        log_model: online, upload ``best.ckpt`` and ``last.ckpt``, each with the run's ``config.yaml``, as versions of
            the artifact ``model-<run id>`` with the aliases ``best`` and ``last``: at the end of the run if True,
            whenever one is saved if "all", never if False.
        log_replay: upload the replay buffer with ``last.ckpt`` too, so that the run can be resumed on another machine.

    Raises:
        MaxEntError: for a mode that W&B does not have; when the run starts, for arguments that W&B does not accept.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        mode: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        name: str | None = None,
        log_model: bool | Literal["all"] = True,
        log_replay: bool = False,
    ):
        mode = mode or environment("MODE") or ("online" if logged_in() else "offline")
        if mode not in MODES:
            raise MaxEntError(
                f"The W&B mode {mode!r} (of WANDB_MODE or the logger) is unknown: choose one of {', '.join(MODES)}."
            )
        super().__init__(
            name=name or environment("NAME"),
            save_dir=environment("DIR") or ".",
            project=project or environment("PROJECT") or "lightning-maxent",
            log_model=log_model,
            entity=entity,
            mode=mode,
            group=group,
            tags=tags,
            resume=environment("RESUME") or "allow",
            settings={name: each for name, each in SECONDS.items() if not environment(name.upper())},
        )
        del self._wandb_init["anonymous"]  # Lightning always sets it, and W&B then always warns
        self._log_replay = log_replay
        self._folder: Path | None = None
        self._best: tuple[float, int] | None = None  # return and environment steps of the best evaluation
        self._hyperparams: dict[str, Any] | Namespace | None = None
        self._stand_in: Any = None  # a W&B run that ignores all calls, in place of one that has failed
        self._retry_at = 0.0  # of time.monotonic()

    def place(self, folder: Path) -> None:
        """Use ``folder`` for the files and the name of the run, and resume the W&B run that it already holds."""
        if self._wandb_init["mode"] == "disabled":
            return
        self._folder, self._save_dir = folder, str(folder)
        self._wandb_init |= {
            "dir": environment("DIR") or str(folder),
            "name": self._wandb_init["name"] or "/".join(folder.parts[-3:]),
            "id": environment("RUN_ID") or _own_id(folder / ID_FILE),
        }

    # ---- the W&B run, and what happens if it fails ------------------------------------------------------------------

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The active W&B run; the first call starts it.  If W&B has failed, a run that ignores all calls."""
        if self._experiment is not self._stand_in and _service_has_ended():
            self._give_up("its process has ended")
        if self._experiment is self._stand_in and time.monotonic() >= self._retry_at:
            self._begin()
        return self._experiment

    def _begin(self) -> None:
        """Start the W&B run, or start it again; offline if that fails online."""
        from wandb.errors import UsageError

        is_first = self._stand_in is None
        if self._stand_in is not None:
            self._stand_in.finish()  # else W&B, and Lightning, would go on with it
        self._experiment = self._stand_in = None
        if not is_first:
            self._retry_at = time.monotonic() + RETRY_SECONDS
        try:
            self._experiment = self._started()
        except Exception as error:
            if is_first and isinstance(error, UsageError | ValueError):
                raise MaxEntError(f"W&B does not accept the run: {_text(error)}.") from error
            if self._wandb_init["mode"] not in OFFLINE:
                rank_zero_warn(
                    f"W&B cannot start online ({_text(error)}), so this run is logged offline; upload it later with "
                    f"`wandb sync {self._wandb_init['dir']}/wandb/offline-run-*`."
                )
                self._wandb_init["mode"] = "offline"
                _end_service()
                self._begin()
            else:
                self._give_up(_text(error))
                self._retry_at = time.monotonic() + RETRY_SECONDS

    def _started(self) -> Any:
        run: Any = super().experiment
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP)
        self._wandb_init["id"] = run.id
        if self._folder is not None:
            (self._folder / ID_FILE).parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / ID_FILE, run.id)
        if self._hyperparams is not None:
            super().log_hyperparams(self._hyperparams)
        return run

    def _give_up(self, reason: str) -> None:
        """Replace the W&B run by one that ignores all calls, with a warning."""
        import wandb

        rank_zero_warn(
            f"W&B has failed ({reason}); training goes on, and metrics.csv has all metrics.  W&B is started again at most "
            f"every {RETRY_SECONDS // 60} minutes."
        )
        _end_service()
        self._experiment = self._stand_in = wandb.init(mode="disabled")

    def _call(self, action: Callable[[Any], object]) -> None:
        """Do something with the W&B run; if that fails, try once more with a W&B run that was started again."""
        for _ in range(2):
            try:
                action(self.experiment)
                return
            except MaxEntError:
                raise
            except Exception as error:  # any error: a row in W&B is not worth the end of a run
                self._give_up(_text(error))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._experiment is None:
            return
        for callback in self._checkpoint_callbacks.values():
            self._scan_and_log_checkpoints(callback)
        self._checkpoint_callbacks = {}
        # without finish, the next logger in this process would continue this run
        try:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
        except Exception as error:
            self._give_up(_text(error))
            self._stand_in.finish()
        self._experiment = self._stand_in = None

    # ---- what is logged ---------------------------------------------------------------------------------------------

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = dict(metrics) if step is None else {**metrics, STEP: step}
        self._call(lambda run: run.log(row))
        if step is not None and RETURN in metrics:
            self._log_best(float(metrics[RETURN]), step)

    def _log_best(self, value: float, step: int) -> None:
        """Write the best evaluation to the summary, in every segment of a run, because the last segment counts."""
        if self._best is None:
            file = None if self._folder is None else self._folder / "metrics.csv"
            rows = read_metrics(file)[1] if file is not None and file.exists() else []
            earlier = [(float(row[RETURN]), int(row[STEP])) for row in rows if row.get(RETURN)]
            self._best = max(earlier, key=lambda each: each[0], default=(float("-inf"), 0))
        if value > self._best[0]:
            self._best = value, step
        best = {f"best/{RETURN}": self._best[0], f"best/{STEP}": self._best[1]}
        self._call(lambda run: run.summary.update(best))

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        self._hyperparams = params
        log = super().log_hyperparams
        self._call(lambda run: log(params))

    @rank_zero_only
    def log_histograms(self, values: Mapping[str, Tensor], step: int) -> None:
        """Log a histogram of each tensor, as a row at these environment steps."""
        import wandb

        self.log_metrics({name: wandb.Histogram(each.flatten().tolist()) for name, each in values.items()}, step)

    @rank_zero_only
    def log_rows(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Log a table at these environment steps; the path of a video in it becomes a video."""
        import wandb

        shown = [[wandb.Video(str(cell)) if isinstance(cell, Path) else cell for cell in row] for row in rows]
        self.log_table(name, list(columns), shown, step=step)

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        if self._log_model and self._wandb_init["mode"] not in OFFLINE:
            self._checkpoint_callbacks[id(checkpoint_callback)] = checkpoint_callback
            if self._log_model == "all":
                self._scan_and_log_checkpoints(checkpoint_callback)

    def _scan_and_log_checkpoints(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Upload the best or the last checkpoint of a callback, unless this was done; its name is its alias."""
        given = checkpoint_callback
        path = Path(given.best_model_path if given.monitor is not None else given.last_model_path)
        if path.is_file() and self._logged_model_time.get(str(path)) != (saved_at := path.stat().st_mtime):
            score = given.best_model_score
            metadata = {"env_steps": given._last_global_step_saved, "score": None if score is None else float(score)}
            self._call(lambda run: self._upload(run, path, metadata))
            self._logged_model_time[str(path)] = saved_at

    def _upload(self, run: Any, path: Path, metadata: dict[str, Any]) -> None:
        import wandb

        artifact = wandb.Artifact(artifact_name(run.id), type="model", metadata=metadata)
        artifact.add_file(str(path), name=f"checkpoints/{path.name}")
        config, buffer = path.parent.parent / "config.yaml", path.with_name(path.name + BESIDE)
        if config.is_file():
            artifact.add_file(str(config), name=config.name)
        if self._log_replay and buffer.is_dir():
            artifact.add_dir(str(buffer), name=f"checkpoints/{buffer.name}")
        run.log_artifact(artifact, aliases=[path.stem])


def _own_id(file: Path) -> str | None:
    """The W&B id in a file, or None.  If the file is damaged, a new W&B run is started."""
    run_id = file.read_text(errors="replace").strip() if file.exists() else ""
    return run_id if re.fullmatch(r"[\w-]+", run_id) else None


def _text(error: Exception) -> str:
    """The text of an error in one line, without what pydantic adds for programmers."""
    return " ".join(str(error).split()).partition(" [type=")[0].rstrip(".") or type(error).__name__


def _service_has_ended() -> bool:
    """Whether the process that writes and uploads the data of W&B has ended, as far as can be told."""
    import wandb

    connection = getattr(wandb.setup(), "_connection", None)
    process = getattr(getattr(connection, "_proc", None), "_process", None)
    return process is not None and process.poll() is not None


def _end_service() -> None:
    """End the process of W&B, so that the next run starts another one."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()
