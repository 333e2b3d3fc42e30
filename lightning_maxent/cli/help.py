"""The text of ``fit --help``: the options of a run, with their values in the given configurations."""

import importlib
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

HELP = """usage: lightning-maxent {command} [CONFIG ...] [OPTIONS]

{example}

A CONFIG is a YAML file or a built-in name; `lightning-maxent list` shows all names.  If two set the same option, the
later one counts.  Options override configurations.  Write an option as --data.num_envs=4 or --data.num_envs 4.

The run:
  --name NAME                      name of the run's folder; default: the time
  --runs_dir FOLDER                folder that holds the folders of all runs; default: runs
  --seed_everything N              seed of all random numbers; default: 0
  --ckpt_path last|FILE            {ckpt_path}
  --checkpoint.every_n_steps N     environment steps between two saves of last.ckpt
  --training_log.every_n_steps N   environment steps between two rows of metrics.csv
  --execution NAME                 how updates run: Eager, Compiled (long runs on the CPU) or CudaGraph (GPU)
  --print_config                   print all settings as YAML, and do not run

Lightning's Trainer:
  --trainer.max_steps N            environment steps of the run; default: 1,000,000
  --trainer.accelerator NAME       auto, cpu or gpu
  --trainer.devices N              devices that train one model together, each in its own process; default: 1
  --trainer.precision NAME         32-true, bf16-mixed, 16-mixed (GPU) or 64-true
  --trainer.logger CLASS           default: W&B; false for metrics.csv only; or another logger of Lightning
  --trainer.callbacks+=CLASS       add a callback, such as EarlyStopping or EMAWeightAveraging
  --trainer.fast_dev_run N         run at most N rounds, to the first evaluation, and write no files

{parts}

More:
  `lightning-maxent list` shows all built-in configurations.
  `lightning-maxent {command} --model.help SAC` shows the options of a class; so does --data.help ReplayDataModule.
  `lightning-maxent {command} --help all` shows every option, including all of Lightning's."""

ABOUT = {
    "fit": (
        "Train: lightning-maxent fit sac/pendulum, or fit sac --data.env_id Walker2d-v5.",
        "checkpoint to resume from: a file, or last for the newest run (of CONFIG, if given)",
    ),
    "validate": (
        "Evaluate a checkpoint as during training: lightning-maxent validate --ckpt_path last.",
        "the checkpoint, which brings its configuration; last for that of the newest run",
    ),
    "test": (
        "Evaluate a trained policy: lightning-maxent test --ckpt_path last --data.eval_episodes 100.",
        "the checkpoint, which brings its configuration; last for that of the newest run",
    ),
}

WITHOUT_CONFIG = """The task, the algorithm and its parts:
  --data.env_id ID                 a Gymnasium id, such as Walker2d-v5, or MODULE:ID
  --data.NAME, --model.NAME        `lightning-maxent {command} sac/pendulum --help` shows those of a configuration"""


def run_help(command: str, config: Mapping[str, Any] | None) -> str:
    """The text of the help.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        config: all settings of the run on the command line; None if there is no configuration.
    """
    example, ckpt_path = ABOUT[command]
    parts = "\n\n".join(_sections(config)) if config else WITHOUT_CONFIG.format(command=command)
    return HELP.format(command=command, example=example, ckpt_path=ckpt_path, parts=parts)


def _sections(config: Mapping[str, Any]) -> Iterator[str]:
    for key, title in (("data", "The data"), ("model", "The algorithm")):
        path, values = config[key]["class_path"], config[key]["init_args"]
        about = descriptions(path)
        lines = [f"{title}, {path.rpartition('.')[2]}:"]
        for name, value in values.items():
            lines += _option(f"--{key}.{name}", value, about.get(name, ""))
        yield "\n".join(lines)


def _option(name: str, value: Any, about: str) -> list[str]:
    shown = f"{name}={short(value)}"
    wrapped = textwrap.wrap(about, 118 - 35)
    if len(shown) <= 32 and wrapped:
        return [f"  {shown:<32} {wrapped[0]}", *(" " * 35 + line for line in wrapped[1:])]
    return [f"  {shown}", *(" " * 35 + line for line in wrapped)]


def short(value: Any) -> str:
    """A value as on the command line; a part is shown as the name of its class."""
    if isinstance(value, Mapping):
        part = value.get("class_path") or (value.get("default") or {}).get("class_path")
        return part.rpartition(".")[2] if part else str(dict(value))
    return value if isinstance(value, str) else json.dumps(value)


def descriptions(class_path: str) -> dict[str, str]:
    """The descriptions of a class's arguments in its docstring and those of its bases."""
    from docstring_parser import parse

    module, _, name = class_path.rpartition(".")
    chosen = getattr(importlib.import_module(module), name)
    texts = [vars(each).get("__doc__") or "" for each in reversed(chosen.__mro__)]
    documented = [each for text in texts for each in parse(text).params]
    return {each.arg_name: " ".join((each.description or "").replace("``", "").split()) for each in documented}
