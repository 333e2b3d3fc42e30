"""The commands ``fit``, ``validate`` and ``test`` of a run, based on LightningCLI."""

import argparse
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback, _InstantiatorFn
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightning_maxent import exports as exports  # jsonargparse accepts the bare names of imported classes
from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.algorithms.checks import check_trainer
from lightning_maxent.callbacks.checkpoint import BestCheckpoint, StepCheckpoint
from lightning_maxent.checkpoint_files import read_checkpoint
from lightning_maxent.cli.arguments import COMMANDS, last_checkpoint, no_such_option, run_folder
from lightning_maxent.cli.parser import OneSentenceParser, check_nulls, link_data_to_model
from lightning_maxent.cli.threads import waits_passively
from lightning_maxent.cli.trainer_options import check_trainer_options
from lightning_maxent.cli.whole_numbers import accept_whole_numbers
from lightning_maxent.data.data_module import EnvironmentDataModule
from lightning_maxent.distributed import is_first_to_fail, processes, rank
from lightning_maxent.errors import MaxEntError, described
from lightning_maxent.execution import AbstractExecution
from lightning_maxent.files import write_whole
from lightning_maxent.lightning_internals import callbacks_of, end_started_processes, is_dry_run, log_settings
from lightning_maxent.metrics.training_log import TrainingLog
from lightning_maxent.run_trainer import FLAGS, listed, parts_of_a_run, strategy_of_a_run


class SaveRunConfig(SaveConfigCallback):
    """Writes the complete resolved configuration to ``config.yaml`` in the folder of the run, and to every logger.

    It writes when training starts, so that a resume that fails before does not replace the existing configuration.  If
    the file is removed while the run goes on, it is written again with the next checkpoint, which needs it to resume.
    """

    _text = ""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Does nothing; see ``on_train_start``."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        config: Any = self.config.clone()
        config.ckpt_path = config.name = None  # so that a run with this configuration is new and has a new folder
        self._text = self.parser.dump(config, skip_none=False, skip_validation=True)  # parsing has validated it
        if trainer.is_global_zero:
            write_whole(_config_file(trainer), self._text)
        for logger in trainer.loggers:
            try:
                log_settings(logger, yaml.safe_load(self._text))
            except MaxEntError:
                raise
            except Exception as error:  # such as MLflow, which does not take a changed setting
                rank_zero_warn(
                    f"{type(logger).__name__} did not take the configuration of the run: {described(error)}."
                )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        file = _config_file(trainer)
        if self._text and trainer.is_global_zero and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, self._text)


def _config_file(trainer: pl.Trainer) -> Path:
    return Path(trainer.default_root_dir) / "config.yaml"


class _Settings:
    """Holds the settings that Lightning saves as hyperparameters, in place of the LightningCLI object.

    jsonargparse stores the object that creates classes in every builder, such as that of an optimizer.  If this were
    the LightningCLI, a copy of a model would also copy the Trainer and the replay buffer, or fail because they cannot
    be copied.
    """

    def __init__(self, config_dump: dict[str, Any]):
        self.config_dump = config_dump

    def _dump_config(self) -> None:
        """Does nothing, because the settings are already dumped."""


class MaxEntCLI(LightningCLI):
    """LightningCLI with one folder per run, resume by name, and the callbacks of every run."""

    def __init__(self, *given: Any, args: Sequence[str], **settings: Any):
        self._commands = args[:1] if args[0] in COMMANDS else COMMANDS
        super().__init__(*given, args=list(args), **settings)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--runs_dir", type=str, default="runs", help="Folder that holds the folders of all runs.")
        parser.add_argument(
            "--name", type=str | None, default=None, help="Name of the run's folder; if null, the time."
        )
        parser.add_lightning_class_args(StepCheckpoint, "checkpoint")
        parser.add_lightning_class_args(TrainingLog, "training_log")
        parser.add_argument(
            "--execution",
            type=AbstractExecution,
            default={"class_path": "lightning_maxent.Eager"},
            help="How updates run: Eager, Compiled or CudaGraph.",
        )
        link_data_to_model(parser)

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        """Add the commands of a run, or only the one that was given, because each takes time."""
        commands = LightningCLI.subcommands()
        self.subcommands = lambda: {name: commands[name] for name in self._commands}
        super()._add_subcommands(parser, **kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            self.config = parser.parse_args(args)
        except argparse.ArgumentError as error:
            if unknown := re.match(r"[Uu]nrecognized arguments: (--[^\s=]+)", str(error)):
                options = self._subcommand_parsers[args[0]]._option_string_actions
                raise no_such_option(unknown[1], options) from error
            raise
        seed = self.config[str(self.config.subcommand)].seed_everything
        if not isinstance(seed, bool) and not 0 <= seed < 2**32:
            raise MaxEntError(f"--seed_everything must lie in [0, 2**32), but is {seed}.")

    def _parse_ckpt_path(self) -> None:
        """Does nothing: a run's configuration is its config.yaml, and options given on resume override it."""

    def _run_subcommand(self, subcommand: str) -> None:
        with _status_of_signals(), _one_error_of_all(self.trainer), ExitStack() as self._held:
            super()._run_subcommand(subcommand)

    def _dump_config(self) -> None:
        """Dump the settings without another validation, which takes longer than the dump."""
        text = self.parser.dump(self.config, skip_link_targets=False, skip_none=False, skip_validation=True)
        self.config_dump = yaml.safe_load(text)[self.config.subcommand]

    def _add_instantiators(self) -> None:
        self._dump_config()
        settings: Any = _Settings(self.config_dump)
        for key, kind in (("model", AbstractAlgorithm), ("data", pl.LightningDataModule)):
            self.parser.add_instantiator(_InstantiatorFn(cli=settings, key=key), kind, subclasses=True)

    def before_instantiate_classes(self) -> None:
        config = self.config[str(self.subcommand)]
        for part in ("model", "data"):
            check_nulls(part, config[part].class_path, vars(config[part].init_args))
        group = Path(config.runs_dir) / _snake(config.model.class_path) / _folder(config.data.init_args.env_id)
        if config.ckpt_path == "last":
            config.ckpt_path = str(last_checkpoint(group, config.name))
        if config.ckpt_path:
            config.ckpt_path = str(Path(config.ckpt_path).absolute())
            read_checkpoint(Path(config.ckpt_path))
        if "/" in (config.name or "") or config.name in (".", ".."):
            raise MaxEntError(f"--name {config.name} must be the name of a folder, without a slash; see --runs_dir.")
        folder = run_folder(Path(config.ckpt_path)) if config.ckpt_path else None
        if folder and config.name not in (None, folder.name):
            folder = None  # another name: a new run that starts from the checkpoint
        self.resumes = folder is not None
        self.run_dir: Path = folder or group.absolute() / (config.name or f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")

    def after_instantiate_classes(self) -> None:
        """Save the settings of model and data as ``hparams``, which checkpoints keep.

        Loggers do not get them from here, because ``SaveRunConfig`` gives them the complete configuration.
        """
        for part, key in ((self.model, "model"), (self.datamodule, "data")):
            settings = self.config_dump[key]
            builder = {
                "_class_path": settings["class_path"],
                "_instantiator": "pytorch_lightning.cli.instantiate_module",
            }
            part.save_hyperparameters(settings["init_args"] | builder, logger=False)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        given = self._get(self.config_init, "trainer")
        check_trainer_options(given, self.model, self.datamodule)
        own = [self._get(self.config_init, name) for name in ("checkpoint", "training_log", "execution")]
        callbacks = [*listed(given.callbacks), *own]
        parts = parts_of_a_run(self.run_dir, callbacks, given.plugins, given.logger, given.enable_progress_bar)
        if self.subcommand != "fit":
            parts["logger"] = False
        try:
            return self._instantiate_trainer({**given, **strategy_of_a_run(vars(given)), **parts, **kwargs}, [])
        except (TypeError, ValueError) as error:  # such as a strategy that does not exist for this accelerator
            raise MaxEntError(f"The Trainer cannot be built: {error}") from error

    def before_fit(self) -> None:
        self._check_processes()
        path = self._get(self.config, "ckpt_path")
        checkpoint = read_checkpoint(Path(path)) if path else {}
        if path and "optimizer_states" not in checkpoint:
            raise MaxEntError(
                f"{path} only holds weights: resume from the last.ckpt beside it, or start a new run from these "
                f"weights with the callback WarmStart."
            )
        if not self.trainer.is_global_zero:  # process 0 does what is to be done once
            return
        if is_dry_run(self.trainer):
            print("A dry run: it writes no folder, no checkpoint and no metrics.")
            return
        self._held.enter_context(_claim(self.run_dir, self.resumes))
        if path:
            print(f"Resuming from {path} at {checkpoint['global_step']:,} environment steps.")
            if 0 <= self.trainer.max_steps <= checkpoint["global_step"]:
                print(
                    f"That is its end: to train further, give --trainer.max_steps more than {self.trainer.max_steps:,}."
                )
        print(f"The run's folder: {self.run_dir}")
        if self.trainer.strategy.root_device.type == "cpu" and (threads := torch.get_num_threads()) > 1:
            sleep = ", which sleep while they wait, because other processes are busy" if waits_passively() else ""
            print(f"PyTorch uses {threads} threads{sleep}; set OMP_NUM_THREADS=1 for several runs side by side.")

    def _check_processes(self) -> None:
        """Refuse what several processes cannot do, before Lightning starts the others."""
        check_trainer(self.trainer)
        if self.trainer.world_size > 1 and isinstance(self.datamodule, EnvironmentDataModule):
            self.datamodule.check_processes(self.trainer.world_size)
        started = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else None
        if started not in (None, self.trainer.world_size):
            raise MaxEntError(
                f"torchrun started {started} processes, but trainer.devices times trainer.num_nodes is "
                f"{self.trainer.world_size}: give torchrun and the run the same numbers."
            )
        if self.trainer.world_size > 1 and sys.argv[0] == "-c":
            raise MaxEntError(
                "python -c cannot start several processes: use the command lightning-maxent, or python -m lightning_maxent."
            )

    def after_fit(self) -> None:
        """Print the last and the best return, and the commands that show more of the policy."""
        last = self.trainer.callback_metrics.get("eval/return_mean")
        if last is None or is_dry_run(self.trainer) or not self.trainer.is_global_zero:
            return
        scores = [each.best_model_score for each in callbacks_of(self.trainer) if isinstance(each, BestCheckpoint)]
        best = f"; the best was {scores[0]:,.5g}" if scores and scores[0] is not None else ""
        folder = shlex.quote(os.path.relpath(self.run_dir))
        print(f"The last evaluation had the return {last:,.5g}{best}.")
        print(f"To evaluate the best policy: lightning-maxent test --ckpt_path {folder}/checkpoints/best.ckpt")
        print(f"To watch it, if the environment has pictures: lightning-maxent play --ckpt_path {folder}")

    def before_validate(self) -> None:
        self._check_processes()
        if self.trainer.is_global_zero and not self._get(self.config, "ckpt_path"):
            print("No --ckpt_path was given: this evaluates an untrained policy.")

    before_test = before_validate


@contextmanager
def _claim(folder: Path, resumes: bool) -> Iterator[None]:
    """Make the folder of a run and lock it; it must be writable and must not hold another run."""
    if not resumes and (folder / "config.yaml").exists():
        raise MaxEntError(
            f"The run {folder} exists already: choose another --name, or resume it with --ckpt_path last."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise MaxEntError(
            f"The run's folder {folder} cannot be written ({error.strerror}): choose another --runs_dir."
        ) from error
    with _locked(folder):
        try:
            yield
        finally:
            _give_back_unless_begun(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes, on systems with fcntl; the lock ends with this process."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MaxEntError(
                f"The run {folder} is being trained by another process: wait until it ends, stop it, or start a new "
                f"run from its checkpoint with another --name."
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def _give_back_unless_begun(folder: Path) -> None:
    """Remove the folder of a run that failed before it wrote anything, so that its name can be used again."""
    if {path.name for path in folder.iterdir()} <= {"config.yaml"}:
        (folder / "config.yaml").unlink(missing_ok=True)
        folder.rmdir()


def _snake(class_path: str) -> str:
    """``a.b.SAC`` -> ``sac``, ``a.b.A2C`` -> ``a2c``."""
    name = class_path.rpartition(".")[2]
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _folder(env_id: str) -> str:
    return env_id.rpartition(":")[2].replace("/", "-")


@contextmanager
def _status_of_signals() -> Iterator[None]:
    """Exit with the status that shells use for a run stopped by a signal: 130 for SIGINT, 143 for SIGTERM.

    Lightning would exit with 1 and 0.  Process 0 tells the status of a run of several processes: the others exit with 0,
    because Lightning kills process 0 as soon as another one exits with an error.
    """
    try:
        yield
    except SIGTERMException:
        sys.exit(143 if rank() == 0 else 0)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            sys.exit(130 if rank() == 0 else 0)
        raise


@contextmanager
def _one_error_of_all(trainer: pl.Trainer) -> Iterator[None]:
    """Let only the process that failed first raise its error; the others exit without a word."""
    try:
        yield
    except Exception as error:
        if processes() == 1 or isinstance(error, SIGTERMException):
            raise
        is_first = is_first_to_fail(error)
        end_started_processes(trainer.strategy, seconds=0 if is_first else 5)
        if not is_first:
            sys.exit(1)
        raise


def run(args: Sequence[str]) -> MaxEntCLI:
    """Run a command with arguments from ``resolve_arguments``."""
    accept_whole_numbers()
    return MaxEntCLI(
        AbstractAlgorithm,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=SaveRunConfig,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        trainer_defaults={
            **FLAGS,
            "max_steps": 1_000_000,  # environment steps, the length of most published curves
        },
        parser_class=OneSentenceParser,
        parser_kwargs={
            "prog": "lightning-maxent",
            "epilog": "Two further commands have their own options: `lightning-maxent compare --help` (several algorithms, "
            "tasks and seeds, with a table, statistics and a page) and `lightning-maxent verify --help` (checks of a "
            "critic).",
        },
        args=args,
    )
