"""The command line: ``lightning-maxent fit --config sac/pendulum``."""

import difflib
import logging
import re
import sys
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.callbacks.checkpoint import AtomicCheckpointIO, BestCheckpoint, StepCheckpoint, read_checkpoint
from lightning_maxent.callbacks.curves import Curves
from lightning_maxent.callbacks.interrupt import GracefulInterrupt
from lightning_maxent.callbacks.progress import EnvStepProgress
from lightning_maxent.callbacks.training_log import TrainingLog
from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.tidy_csv import TidyCSVLogger
from lightning_maxent.loggers.wandb import WandbLogger

_PACKAGE = Path(__file__).parent
BUILT_IN_CONFIGS = next(path for path in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if path.is_dir())


class SaveRunConfig(SaveConfigCallback):
    """Writes the exact resolved configuration to ``config.yaml`` in the run's folder, and to W&B."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        config = self.config.clone()
        config.ckpt_path = None  # rerunning a configuration starts anew
        text = self.parser.dump(config, skip_none=False)
        (Path(trainer.default_root_dir) / "config.yaml").write_text(text)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(config.as_dict(), allow_val_change=True)


class MaxEntCLI(LightningCLI):
    """LightningCLI with one folder per run, resume by name, and the callbacks that every run wants."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--runs_dir", type=str, default="runs", help="Folder in which runs get their folders.")
        parser.add_argument("--name", type=str | None, default=None, help="Name of the run's folder; the time if null.")
        parser.add_lightning_class_args(StepCheckpoint, "checkpoint")
        parser.add_lightning_class_args(TrainingLog, "training_log")
        parser.link_arguments("data.obs_dim", "model.init_args.obs_dim", apply_on="instantiate")
        parser.link_arguments("data.action_dim", "model.init_args.action_dim", apply_on="instantiate")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        commands = LightningCLI.subcommands()
        return {name: commands[name] for name in ("fit", "validate", "test")}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Nothing: a run's configuration is its config.yaml, and flags given on resume win over it."""

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        group = Path(config.runs_dir) / _snake(config.model.class_path) / _folder(config.data.init_args.env_id)
        if config.ckpt_path == "last":
            config.ckpt_path = str(_last_checkpoint(group, config.name or "*"))
        if config.ckpt_path:
            config.ckpt_path = str(Path(config.ckpt_path).absolute())
            read_checkpoint(Path(config.ckpt_path))
        self.run_dir = _run_folder(Path(config.ckpt_path)) if config.ckpt_path else None
        if self.run_dir is None:
            self.run_dir = group.absolute() / (config.name or f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
            if self.subcommand == "fit" and (self.run_dir / "config.yaml").exists():
                raise MaxEntError(
                    f"The run {self.run_dir} exists already: choose another --name, or go on with it by "
                    f"--ckpt_path last."
                )
        if self.subcommand == "fit":
            try:
                self.run_dir.mkdir(parents=True, exist_ok=True)
                (self.run_dir / ".writable").touch()
                (self.run_dir / ".writable").unlink()
            except OSError as error:
                raise MaxEntError(
                    f"The run's folder {self.run_dir} cannot be written ({error.strerror}): choose another --runs_dir."
                ) from error

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        given = self._get(self.config_init, "trainer")
        plugins = given.plugins or []
        kwargs["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
        kwargs["logger"] = self._loggers(given.logger) if self.subcommand == "fit" else False
        kwargs["default_root_dir"] = str(self.run_dir)
        return super().instantiate_trainer(**kwargs)

    def _loggers(self, given: Any) -> list[Any]:
        """The csv first, since it says where the run's folder is; then W&B, or what the user chose instead."""
        if given is None or given is True:
            given = WandbLogger()
        chosen = [] if given is False else given if isinstance(given, list) else [given]
        for logger in chosen:
            if isinstance(logger, WandbLogger):
                logger.place(self.run_dir)
        return [TidyCSVLogger(self.run_dir), *chosen]

    def before_fit(self) -> None:
        path = self._get(self.config, "ckpt_path")
        if path:
            steps = read_checkpoint(Path(path))["global_step"]
            self.trainer.loggers[0].drop_after(steps)
            print(f"Going on from {path} at {steps:,} environment steps; environments start new episodes.")
        print(f"The run's folder: {self.run_dir}")


def _snake(class_path: str) -> str:
    """``a.b.TargetCriticSAC`` -> ``target_critic_sac``."""
    name = class_path.rpartition(".")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _folder(env_id: str) -> str:
    return env_id.rpartition(":")[2].replace("/", "-")


def _last_checkpoint(group: Path, name: str) -> Path:
    """The newest ``last.ckpt`` of the runs ``group/name``, where either may be a pattern."""
    found = sorted(
        Path().glob(f"{group}/{name}/checkpoints/last.ckpt")
        if not group.is_absolute()
        else Path("/").glob(f"{group.relative_to('/')}/{name}/checkpoints/last.ckpt"),
        key=lambda path: path.stat().st_mtime,
    )
    if not found:
        raise MaxEntError(
            f"There is no checkpoint {group}/{name}/checkpoints/last.ckpt to go on from: start the run first, or give "
            f"the path of a checkpoint."
        )
    return found[-1]


def _run_folder(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, if it lies in one."""
    folder = checkpoint.parent.parent
    return folder if checkpoint.parent.name == "checkpoints" and (folder / "config.yaml").is_file() else None


def find_config(name: str) -> str:
    """The path of a configuration: a file as it is, or the built-in one of that name.

    Raises:
        MaxEntError: if there is neither; names near matches.
    """
    if Path(name).is_file():
        return name
    built_in = BUILT_IN_CONFIGS / (name if name.endswith(".yaml") else f"{name}.yaml")
    if built_in.is_file():
        return str(built_in)
    names = sorted(str(path.relative_to(BUILT_IN_CONFIGS).with_suffix("")) for path in BUILT_IN_CONFIGS.rglob("*.yaml"))
    near = difflib.get_close_matches(name.removesuffix(".yaml"), names, n=3, cutoff=0.4) or names
    raise MaxEntError(f"There is no configuration {name!r}, neither a file nor built in; try {', '.join(near)}.")


def resolve_arguments(args: Sequence[str]) -> list[str]:
    """Replace names of built-in configurations by their paths; give ``--ckpt_path`` its run's configuration."""
    resolved, config_next = [], False
    for arg in args:
        if config_next:
            arg, config_next = find_config(arg), False
        elif arg in ("--config", "-c"):
            config_next = True
        elif arg.startswith("--config="):
            arg = "--config=" + find_config(arg.removeprefix("--config="))
        resolved.append(arg)
    has_config = any(arg in ("--config", "-c") or arg.startswith("--config=") for arg in args)
    checkpoint = _option(args, "--ckpt_path")
    if checkpoint and not has_config:
        runs_dir, name = _option(args, "--runs_dir") or "runs", _option(args, "--name") or "*"
        path = _last_checkpoint(Path(runs_dir) / "*" / "*", name) if checkpoint == "last" else Path(checkpoint)
        read_checkpoint(path)
        folder = _run_folder(path.absolute())
        if folder is None:
            raise MaxEntError(f"{path} does not lie in a run's folder, so name its configuration by --config.")
        resolved[1:1] = ["--config", str(folder / "config.yaml")]
        if checkpoint == "last":
            resolved += ["--ckpt_path", str(path)]
    return resolved


def _option(args: Sequence[str], name: str) -> str | None:
    for arg, following in zip(args, [*args[1:], ""]):
        if arg == name:
            return following
        if arg.startswith(f"{name}="):
            return arg.partition("=")[2]
    return None


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the console script ``lightning-maxent``."""
    logging.getLogger("torchrl").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated")  # Lightning's own
    try:
        MaxEntCLI(
            AbstractAlgorithm,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            auto_configure_optimizers=False,
            seed_everything_default=0,
            trainer_defaults={
                "max_epochs": -1,
                "devices": 1,
                "num_sanity_val_steps": 0,
                "callbacks": [BestCheckpoint(), EnvStepProgress(), Curves(), GracefulInterrupt()],
            },
            parser_kwargs={"prog": "lightning-maxent"},
            args=resolve_arguments(sys.argv[1:] if args is None else args),
        )
    except MaxEntError as error:
        print(f"lightning-maxent: error: {error}", file=sys.stderr)
        sys.exit(1)
