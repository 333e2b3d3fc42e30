"""Resolves the arguments of the command line: built-in names, checkpoints with their configuration, and mistakes."""

import difflib
import glob
import importlib
import inspect
import itertools
import os
import re
import sys
from abc import ABC
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from lightning_maxent.cli.configurations import check_overlays, find_configs
from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.wandb_artifacts import is_address, local_checkpoint
from lightning_maxent.old_names import moved_class, renamed_class, renamed_option

COMMANDS = ("fit", "validate", "test")  # the commands of a run
OWN_COMMANDS = ("play", "record", "export", "share", "compare", "sweep", "verify")  # those that do not use LightningCLI
OPTIONS = (  # of these commands; some have further words after a dot
    "--config",
    "--model",
    "--data",
    "--trainer",
    "--checkpoint",
    "--training_log",
    "--execution",
    "--seed_everything",
    "--runs_dir",
    "--name",
    "--ckpt_path",
    "--weights_only",
    "--verbose",
    "--print_config",
    "--help",
)
LISTED = {  # base classes of parts that are in a list: what such a part is called, and how to add one
    "Env": ("wrapper", "--data.wrappers+=gymnasium.wrappers.TimeAwareObservation"),
    "Callback": ("callback", "--trainer.callbacks+=EarlyStopping"),
    "Precision": ("plugin", "--trainer.plugins+=pytorch_lightning.plugins.MixedPrecision"),
}
_PACKAGE = "lightning_maxent"


def explain(message: str) -> str:
    """One sentence for a parse error of jsonargparse, with near matches for a misspelt name."""
    if several := re.search(r"Multiple subclasses with name (\w+)\. Give the full .*?: (.+)\.\n", message):
        paths = several[2].split(", ")
        own = [path for path in paths if path.startswith(_PACKAGE)]
        return f"There are several classes {several[1]}: give the whole path, {' or '.join(own or paths)}."
    if lacking := re.search(
        r"callable class: the following arguments are required: ([\w, ]+?)(?:\n|\. Got value).*?class_path='(?:[\w.]+\.)?(\w+)'",
        message,
        re.DOTALL,
    ):
        return f"{lacking[2]} cannot be built without {lacking[1]}: give it among its init_args."
    if lacking := re.search(
        r"Problem with given class_path '((?:[\w.]+\.)?(\w+))':\s+the following arguments are required: ([\w, ]+)",
        message,
    ):
        if package := _missing_package(lacking[1], lacking[3].split(", ")):
            return package
        if lacking[3] == "env_id":
            return "No task was given: add one to the algorithm, as in fit sac/pendulum, or give --data.env_id."
        return f"{lacking[2]} cannot be built without {lacking[3]}: give it among its init_args."
    if unknown := re.search(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)", message):
        asked = re.match(r"\. Got value: Namespace\(.*?class_path='([^']+)'", message[unknown.end() :])
        class_paths = [asked[1]] if asked else _class_paths(message[: unknown.start()])
        return _where(message) + _unknown_option(unknown[1], class_paths)
    if unknown := re.search(
        r"unrecognized arguments: --optimizers\.([\w.]+)|'optimizers' does not accept option '([\w.]+)'", message
    ):
        return _unknown_entry(unknown[1] or unknown[2])
    if lacking := re.search(r"the following arguments are required: \w+\.(model|data)\b", message):
        part, instead = ("algorithm", "--model") if lacking[1] == "model" else ("data", "--data")
        return (
            f"No {part} {'were' if part == 'data' else 'was'} given: begin with an algorithm on a task, as in "
            f"fit sac/pendulum, or give {instead} with a class."
        )
    if stray := re.search(r"[Uu]nrecognized arguments: ([^-\s]\S*)", message):
        return (
            f"{stray[1]} belongs to no option: write configurations after the command, as in fit sac/pendulum "
            f"critic/redq, and options after them."
        )
    if unknown := re.search(r"(?:[Uu]nrecognized arguments: |does not accept option )(\S+)", message):
        return renamed_option(unknown[1].lstrip("-").partition("=")[0]) or (
            f"There is no option {unknown[1]}; --help all lists all of them."
        )
    if missing := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message):
        module, name = missing.groups()
        path = re.findall(rf"\b{re.escape(module)}\.{name}\b[\w.]*|$", message)[0].rstrip(".") or f"{module}.{name}"
        meant = _meant(name, module, _PACKAGE)
        return renamed_class(path) or moved_class(path) or f"There is no class {path}{meant}"
    if missing := re.search(r"No module named '([^']+)'", message):
        asked = re.search(rf"{re.escape(missing[1])}[\w.]*", message.replace(missing[0], ""))
        name = asked[0] if asked else "that was given"
        if sentence := renamed_class(name) or moved_class(name):
            return sentence
        meant = _meant(name.rpartition(".")[2], _PACKAGE)
        if meant == ".":
            meant = ": check its spelling, and that its package is installed."
        return f"The class {name} cannot be found ({missing[0]}){meant}"
    if of_part := re.search(
        r"callable class: Parser key \"([\w.]+)\":\s+Expected a <class '(?:float|int)'>\. Got value: (.+?)\. Got value: ",
        message,
    ):
        return f"The option {of_part[1]!r} must be a number, but is {of_part[2]!r}."
    if number := re.search(r"Expected a <class '(?:float|int)'>\s+- Expected a dot import path string: (\S+)", message):
        option = re.findall(r'Parser key "([\w.]+)"', message[: number.start()])[-1]
        return f"The option {option!r} must be a number, but is {number[1]!r}."
    if nameless := re.search(r"Expected a dot import path string: (\S+)", message):
        name = nameless[1].rstrip(".")
        keys = re.findall(r'Parser key "([\w.]+)\.(\w+)"', message[: nameless.start()])
        if name == "None" and keys:  # jsonargparse takes a null within a part for a name
            return _null_within(*keys[-1])
        return renamed_class(name) or f"There is no class {name}: give it with its module{_meant(name, _PACKAGE)}"
    if null := re.search(r'Parser key "(\w+)":\s+Not a valid subclass of (\w+)\. Got value: None', message):
        return f"The option --{null[1]} cannot be null: leave it out to have the default, or give a class."
    if ownerless := re.search(r"Not a valid subclass of (\w+)\n", message):
        return (
            f"There are options of an {ownerless[1]}, but no {ownerless[1]}: a configuration of a part, such as "
            f"critic/redq, comes after a whole configuration, as in fit sac/pendulum critic/redq."
        )
    if subclass := re.search(r"Expected '([\w.]+)' to be a subclass of <class '(\w+)'>", message):
        return f"{subclass[1]} cannot be used here: a subclass of {subclass[2]} is needed."
    if simple := re.findall(
        r'Parser key "([\w.]+)":\s+Does not validate against any of the Union subtypes\s+'
        r"Subtypes: \[((?:(?:<class '\w+'>|typing\.Literal\[[^\]]*\])(?:, )?)+)\].*?Given value: (\S+)",
        message,
        re.DOTALL,
    ):
        return _wrong_value(*simple[-1])
    if no_list := re.search(
        r'Parser key "(\w+)":\s+- Expected a path but (\S+) [^"]*Expected a <class \'list\'>', message, re.DOTALL
    ):
        return f"The option {no_list[1]!r} is a list: add to it with +=, as in {no_list[1]}+={no_list[2]}."
    if value := re.search(r'Parser key "([\w.]+)":\s+(Expected a .*?Got value: .*?)(?:\. Got value|\n|$)', message):
        return f"The option {value[1]!r} was given a value of another kind: {value[2]}"
    return " ".join(line.strip(" -") for line in message.splitlines() if line.strip(" -"))


def _meant(name: str, *modules: str) -> str:
    """The end of a sentence about an unknown name: a near class in the first of the modules that has one."""
    for module in modules:
        classes = [each for each, _ in inspect.getmembers(importlib.import_module(module), inspect.isclass)]
        if near := difflib.get_close_matches(name, classes, n=1):
            return f"; did you mean {module}.{near[0]}?"
    return "."


def _class_paths(message: str) -> list[str]:
    return re.findall(r"class_path '([^']+)'", message)


def _missing_package(class_path: str, arguments: Sequence[str]) -> str | None:
    """The message of a Lightning class about a missing package; Lightning checks this before the arguments."""
    from lightning_maxent.cli.lightning_errors import LIGHTNING, refusal_of_lightning

    module, _, name = class_path.rpartition(".")
    if module.partition(".")[0] not in LIGHTNING:
        return None
    try:
        getattr(importlib.import_module(module), name)(**dict.fromkeys(arguments, ""))
    except ModuleNotFoundError as error:
        return refusal_of_lightning(error)
    except Exception:  # caused by the empty arguments
        return None
    return None


def _null_within(group: str, option: str) -> str:
    """The sentence for a null of one option of a group, which the command line cannot give alone."""
    return f"To set {option!r} to null, give {group} as a whole: --model.{group}='{{{option}: null}}'."


def _wrong_value(option: str, kinds: str, value: str) -> str:
    """The sentence for a value of an option that takes numbers, texts or null."""
    if value == "None" and "." in option:
        group, _, name = option.rpartition(".")
        return _null_within(group, name)
    words = {"float": "a number", "int": "an integer", "str": "a text", "bool": "true or false", "NoneType": "null"}
    allowed = [words[kind] for kind in re.findall(r"<class '(\w+)'>", kinds) if kind in words]
    named = re.findall(r"'(\w+)'", " ".join(re.findall(r"Literal\[([^\]]*)\]", kinds)))
    return f"The option {option!r} cannot be {value!r}: it must be {' or '.join([*named, *allowed])}."


def _where(message: str) -> str:
    """The whole option of the command line that was parsed, as the beginning of a sentence; empty for one of a file."""
    given = re.search(r'Parser key "([\w.]+)".*Given value: NestedArg\(key=\'([\w.]+)\'', message, re.DOTALL)
    return f"--{given[1]}.{given[2]}: " if given else ""


def _unknown_entry(name: str) -> str:
    """The sentence for an unknown entry of ``optimizers``, such as ``lr``, which belongs to one of its optimizers."""
    from torch.optim import Adam  # takes seconds to import

    from lightning_maxent.optimizers import Optimizers

    entries = list(inspect.signature(Optimizers).parameters)
    meant = {each: f"default.init_args.{each}" for each in inspect.signature(Adam).parameters} | dict(
        zip(entries, entries)
    )
    first, *rest = [word for word in name.split(".") if word != "init_args"] or [name]
    near = difflib.get_close_matches(first, meant, n=1)
    if not near:
        return (
            f"There is no option --model.optimizers.{name}: optimizers has the entries {', '.join(entries)}, and the "
            f"options of an optimizer follow its entry, as in --model.optimizers.default.init_args.lr."
        )
    option = ".".join(["--model.optimizers", meant[near[0]], *rest])
    return f"There is no option --model.optimizers.{name}; did you mean {option}?"


def _unknown_option(name: str, class_paths: list[str]) -> str:
    module, _, class_name = class_paths[-1].rpartition(".") if class_paths else ("", "", "")
    if sentence := renamed_option(name, class_name):
        return sentence
    if not class_paths:
        return f"There is no option {name!r}; --help all lists all of them."
    if class_name == "Optimizer":
        return (
            f"The option {name!r} belongs to an optimizer whose class is not given: give the class first, as in "
            f"--model.optimizers.critic=FusedAdam, or set the option of optimizers.default."
        )
    if class_name in ("LightningDataModule", "AbstractAlgorithm"):
        return f"No algorithm was given to take the option {name!r}: put one first, as in fit sac task/pendulum."
    if class_name in LISTED:
        return (
            f"No {LISTED[class_name][0]} was given to take the option {name!r}: add its class to the list first, as in "
            f"{LISTED[class_name][1]}."
        )
    given = getattr(importlib.import_module(module), class_name)
    options, option = list(inspect.signature(given).parameters), name.partition(".")[0]
    if f"--{option}" in OPTIONS and option not in options and option != "model":
        return f"The option {option!r} belongs to the run, not to {class_name}: give --{name}."
    if option not in options and (others := _with_option(option, given)):
        if option == "critic":
            return (
                f"{class_name} has no critic, so it cannot take configurations such as critic/redq: leave the critic "
                f"out, or choose an algorithm with a critic ({', '.join(others)})."
            )
        return (
            f"{class_name} has no option {option!r} ({', '.join(others)} {'have' if others[1:] else 'has'} it): choose "
            f"such a class before the option, or leave out the option, or the configuration that sets it."
        )
    near = difflib.get_close_matches(name, options, n=1)
    if not near:
        return f"There is no option {name!r} in the arguments of {class_name}: check its spelling and its indentation."
    if near[0] == name:
        return f"The argument {name!r} of {class_name} cannot be set here: leave it out."
    return f"{class_name} has no option {name!r}; did you mean {near[0]!r}?"


def _with_option(option: str, given: type) -> list[str]:
    """Names of the classes of this package that can replace ``given`` and have the option."""
    (*_, base) = [each for each in (object, *given.__mro__) if each.__module__.partition(".")[0] == _PACKAGE] or [given]
    offered = inspect.getmembers(importlib.import_module(f"{_PACKAGE}.exports"), inspect.isclass)
    fitting = [(name, each) for name, each in offered if issubclass(each, base) and ABC not in each.__bases__]
    return [name for name, each in fitting if option in inspect.signature(each).parameters]


def no_such_option(name: str, options: Collection[str]) -> MaxEntError:
    """The error for an unknown option: gives its new name if it was renamed, else near matches among ``options``."""
    if sentence := renamed_option(name.lstrip("-")):
        return MaxEntError(sentence)
    near = difflib.get_close_matches(name, options, n=3)
    meant = f"did you mean {' or '.join(near)}?" if near else "--help all lists all of them."
    return MaxEntError(f"There is no option {name}; {meant}")


def last_checkpoint(folder: Path, *names: str | None) -> Path:
    """The newest ``last.ckpt`` of the runs ``folder/name/…/name``; None stands for any name.

    Folders without a ``config.yaml`` are not runs.

    Raises:
        MaxEntError: if there is no such checkpoint.
    """
    below = Path(*(name or "*" for name in names), "checkpoints", "last.ckpt")
    literal = Path(*(glob.escape(name) if name else "*" for name in names), "checkpoints", "last.ckpt")
    found = sorted(filter(run_folder, folder.absolute().glob(str(literal))), key=os.path.getmtime)
    if not found:
        raise MaxEntError(
            f"There is no checkpoint {folder.absolute() / below}: train a run first, or give the path of a checkpoint."
        )
    return found[-1]


def run_folder(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint; None if the checkpoint is not in the folder of a run."""
    folder = checkpoint.parent.parent
    return folder if checkpoint.parent.name == "checkpoints" and (folder / "config.yaml").is_file() else None


def resolve_arguments(args: Sequence[str]) -> list[str]:
    """Turn ``fit sac/pendulum`` into ``fit --config=<file> …``, and add the run's configuration to ``--ckpt_path``.

    Raises:
        MaxEntError: for an unknown command, a command without a configuration, a model or a checkpoint, or an overlay
            for other data than the algorithm's.
    """
    args = _with_config_options(args)
    _check_order(args)
    _check_command(args)
    args = _with_local_checkpoint(args)
    resolved, names, config_next = [], [], False
    for arg in args:
        if config_next or arg.startswith("--config="):
            names.append(arg if config_next else arg.removeprefix("--config="))
            resolved += _config_options(names[-1])
            config_next = False
        elif arg in ("--config", "-c"):
            config_next = True
        else:
            resolved.append(arg)
    if config_next:
        raise MaxEntError("--config needs a configuration: a built-in name such as sac/pendulum, or a YAML file.")
    check_overlays(names)
    checkpoint = _option(args, "--ckpt_path")
    if checkpoint and not names:
        folder = Path(_option(args, "--runs_dir") or "runs")
        path = (
            last_checkpoint(folder, None, None, _option(args, "--name")) if checkpoint == "last" else Path(checkpoint)
        )
        resolved[1:1] = [f"--config={_config_beside(path)}"]
        if checkpoint == "last":
            resolved += ["--ckpt_path", str(path)]
    return resolved


def _with_config_options(args: Sequence[str]) -> list[str]:
    """Turn ``fit a b --option`` into ``fit --config=a --config=b --option``."""
    configs = list(itertools.takewhile(lambda arg: not arg.startswith("-"), args[1:]))
    return [*args[:1], *(f"--config={config}" for config in configs), *args[1 + len(configs) :]]


def _with_local_checkpoint(args: Sequence[str]) -> Sequence[str]:
    """Replace the address of a checkpoint in W&B by its path after a download.

    A new run starts from the weights of a checkpoint that ``fit`` cannot resume.
    """
    address = _option(args, "--ckpt_path")
    if not address or not is_address(address):
        return args
    from lightning_maxent.checkpoint_files import is_resumable  # imports PyTorch, which takes seconds

    path, others, position = local_checkpoint(address), list(args), list(args).index
    if f"--ckpt_path={address}" in others:
        del others[position(f"--ckpt_path={address}")]
    else:
        del others[position("--ckpt_path") : position("--ckpt_path") + 2]
    if args[0] != "fit" or is_resumable(path):
        return [*others, f"--ckpt_path={path}"]
    print(
        f"{address} does not hold all that a resume needs, so a new run starts from its weights (WarmStart).",
        file=sys.stderr,
    )
    if not any(re.match(r"(--config|-c)(=|$)", arg) for arg in others):
        others.insert(1, f"--config={_config_beside(path)}")
    return [*others, "--trainer.callbacks+=WarmStart", f"--trainer.callbacks.path={path}"]


def _check_order(args: Sequence[str]) -> None:
    """Raise ``MaxEntError`` for options of the model or the data before the configuration that gives their class."""
    if not args or args[0] not in COMMANDS:
        return
    options = list(itertools.takewhile(lambda arg: not re.match(r"(--config|-c)(=|$)", arg), args[1:]))
    later = args[1 + len(options) :]
    for option in options:
        part = re.match(r"--(model|data)\.\w", option)
        if not part or option.partition("=")[0].endswith(".help") or not later:
            continue
        if not any(re.match(rf"--{part[1]}(=|$)", each) for each in options):
            config = later[0].partition("=")[2] or " ".join(later[1:2])
            raise MaxEntError(
                f"The option {option.partition('=')[0]} comes before the configuration {config}: write configurations "
                f"first, as in {' '.join([args[0], config, *options])}."
            )


def _config_beside(checkpoint: Path) -> str:
    """The configuration of the run that wrote a checkpoint."""
    from lightning_maxent.checkpoint_files import read_checkpoint  # imports PyTorch, which takes seconds

    read_checkpoint(checkpoint)
    folder = run_folder(checkpoint.absolute())
    if folder is None:
        raise MaxEntError(f"{checkpoint} is not in the folder of a run: give its configuration with --config.")
    return find_configs(str(folder / "config.yaml"))[0]


def _check_command(args: Sequence[str]) -> None:
    if not args or not (args[0] in COMMANDS or args[0].startswith("-")):
        given = f"There is no command {args[0]!r}" if args else "No command was given"
        raise MaxEntError(
            f"{given}: {', '.join(COMMANDS + OWN_COMMANDS)}, list or completion; e.g. lightning-maxent fit sac/pendulum."
        )
    says_what = ("--config", "-c", "--model", "--ckpt_path", "--help", "-h", "--print_config")
    given = [arg.partition("=")[0] for arg in args]
    if args[0] in COMMANDS and not any(name in says_what or name.endswith(".help") for name in given):
        for name in (each.partition(".")[0].rstrip("+") for each in given if each.startswith("--")):
            if name not in OPTIONS:
                raise no_such_option(name, OPTIONS)
        if stray := _configuration_among(args):
            options = [arg for arg in args[1:] if arg != stray]
            raise MaxEntError(
                f"The configuration {stray} comes after options: write configurations first, as in "
                f"{' '.join([args[0], stray, *options])}."
            )
        raise MaxEntError(
            f"Say what to {args[0]}: {args[0]} sac/pendulum, or another built-in name, or your own file; or "
            f"--ckpt_path with a checkpoint."
        )


def _configuration_among(args: Sequence[str]) -> str | None:
    """The first built-in configuration or YAML file among the arguments after the command; None if there is none."""
    for before, arg in itertools.pairwise(args):
        is_value = arg.startswith("-") or (before.startswith("-") and "=" not in before)
        with suppress(MaxEntError):
            if not is_value and find_configs(arg):
                return arg
    return None


def _config_options(name: str) -> list[str]:
    """One ``--config`` option for each file that a name stands for."""
    if name.startswith("compare/") and not Path(name).exists():
        raise MaxEntError(f"{name} is a comparison of several runs: lightning-maxent compare {name}.")
    if name.startswith("sweep/") and not Path(name).exists():
        raise MaxEntError(f"{name} is a sweep over several runs: lightning-maxent sweep {name}.")
    return [f"--config={file}" for file in find_configs(name)]


def _option(args: Sequence[str], name: str) -> str | None:
    for arg, following in zip(args, [*args[1:], ""]):
        if arg == name:
            return following
        if arg.startswith(f"{name}="):
            return arg.partition("=")[2]
    return None
