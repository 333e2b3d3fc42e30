"""What ``fit --help`` shows: the options that a run is made of, with their values in the configurations that are given."""

import importlib
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

HELP = """usage: lightning-maxent {command} [CONFIG ...] [OPTIONS]

{example}

A CONFIG is a YAML file or a built-in name; `lightning-maxent list` shows all of them.  Where two set the same option, the
later one wins, and options win over configurations.  An option is given as --data.num_envs=4 or --data.num_envs 4.

The run:
  --name NAME                      name of its folder; the time if not given
  --runs_dir FOLDER                in which runs get their folders; runs if not given
  --seed_everything N              seed of networks, environments and draws; 0 if not given
  --ckpt_path last|FILE            {ckpt_path}
  --checkpoint.every_n_steps N     environment steps from one last.ckpt to the next
  --training_log.every_n_steps N   environment steps from one row of metrics.csv to the next
  --print_config                   print all settings as YAML, and do not run

The Trainer, of Lightning:
  --trainer.max_steps N            environment steps of the run; 1,000,000 if not given
  --trainer.accelerator NAME       auto, cpu or gpu
  --trainer.precision NAME         32-true or bf16-mixed
  --trainer.logger CLASS           W&B if not given; false for metrics.csv alone; or a logger of Lightning
  --trainer.callbacks+=CLASS       a callback more, such as EarlyStopping or EMAWeightAveraging
  --trainer.fast_dev_run N         play N rounds and leave nothing

{parts}

More:
  `lightning-maxent list` shows what is built in.
  `lightning-maxent {command} --model.help SAC` shows the options of a class; so do --data.help and --trainer.callbacks.help.
  `lightning-maxent {command} --help all` shows every option, with all of Lightning's."""

ABOUT = {
    "fit": (
        "Train: lightning-maxent fit sac/pendulum, or fit sac --data.env_id Walker2d-v5.",
        "resume from a checkpoint: the newest run of this kind, or this file",
    ),
    "validate": (
        "Evaluate a checkpoint as training does: lightning-maxent validate --ckpt_path last.",
        "the checkpoint, with its configuration beside it; last means that of the newest run",
    ),
    "test": (
        "Play a trained policy: lightning-maxent test --ckpt_path last --data.eval_episodes 100.",
        "the checkpoint, with its configuration beside it; last means that of the newest run",
    ),
}

WITHOUT_CONFIG = """The task, the algorithm and its parts:
  --data.env_id ID                 of Gymnasium, such as Walker2d-v5, or MODULE:ID
  --data.NAME, --model.NAME        `lightning-maxent {command} sac/pendulum --help` shows them for a configuration"""


def run_help(command: str, config: Mapping[str, Any] | None) -> str:
    """The text of the help.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        config: all settings of the run that the command line describes; None if it describes none.
    """
    example, ckpt_path = ABOUT[command]
    parts = "\n\n".join(_sections(config)) if config else WITHOUT_CONFIG.format(command=command)
    return HELP.format(command=command, example=example, ckpt_path=ckpt_path, parts=parts)


def _sections(config: Mapping[str, Any]) -> Iterator[str]:
    for key, title in (("data", "The data"), ("model", "The algorithm")):
        path, values = config[key]["class_path"], config[key]["init_args"]
        about = _descriptions(path)
        lines = [f"{title}, {path.rpartition('.')[2]}:"]
        for name, value in values.items():
            lines += _option(f"--{key}.{name}", value, about.get(name, ""))
        yield "\n".join(lines)


def _option(name: str, value: Any, about: str) -> list[str]:
    shown = f"{name}={_short(value)}"
    wrapped = textwrap.wrap(about, 118 - 35)
    if len(shown) <= 32 and wrapped:
        return [f"  {shown:<32} {wrapped[0]}", *(" " * 35 + line for line in wrapped[1:])]
    return [f"  {shown}", *(" " * 35 + line for line in wrapped)]


def _short(value: Any) -> str:
    """A value as it is typed; a part by the name of its class."""
    if isinstance(value, Mapping):
        part = value.get("class_path") or (value.get("default") or {}).get("class_path")
        return part.rpartition(".")[2] if part else str(dict(value))
    return value if isinstance(value, str) else json.dumps(value)


def _descriptions(class_path: str) -> dict[str, str]:
    """What the docstrings of a class and of its bases say of its arguments."""
    from docstring_parser import parse

    module, _, name = class_path.rpartition(".")
    chosen = getattr(importlib.import_module(module), name)
    texts = [vars(each).get("__doc__") or "" for each in reversed(chosen.__mro__)]
    documented = [each for text in texts for each in parse(text).params]
    return {each.arg_name: " ".join((each.description or "").replace("``", "").split()) for each in documented}
