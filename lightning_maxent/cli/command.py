"""The command line: ``lightning-maxent fit sac/pendulum``.

PyTorch and Lightning take seconds to import.  So a command prints a line before it imports them.
"""

import argparse
import glob
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import yaml

from lightning_maxent.cli.arguments import COMMANDS, OWN_COMMANDS, explain, resolve_arguments
from lightning_maxent.cli.completion import completion
from lightning_maxent.cli.configurations import listing
from lightning_maxent.cli.help import run_help
from lightning_maxent.cli.threads import choose_waiting
from lightning_maxent.errors import TRACEBACK, ForeignError, MaxEntError, broken_module
from lightning_maxent.files import write_whole

if TYPE_CHECKING:
    from lightning_maxent.cli.lightning_cli import MaxEntCLI

HELP = """usage: lightning-maxent COMMAND [CONFIG ...] [OPTIONS]

  fit        train: lightning-maxent fit sac/pendulum
  validate   evaluate a checkpoint as during training: lightning-maxent validate --ckpt_path last
  test       evaluate a trained policy: lightning-maxent test --ckpt_path last --data.eval_episodes 100
  compare    train several algorithms on several tasks and seeds, and draw a table, statistics and a page
  sweep      search for the best settings: learning rates, sizes, critics, or any other options
  play       show a trained policy in a window: lightning-maxent play --policy zoo/half_cheetah
  record     record a trained policy as a video: lightning-maxent record --ckpt_path last
  export     write a policy to a file that plays without this package: export --ckpt_path last --out policy.onnx
  share      write a policy as a small folder, or upload it to the Hugging Face hub
  verify     check a critic against exact solutions
  list       list the built-in algorithms, tasks, critics, recipes, other configurations and trained policies
  completion print a script that completes commands in bash or zsh: source <(lightning-maxent completion bash)

A CONFIG is a YAML file or a built-in name: an algorithm on a task (sac/pendulum), an algorithm alone (sac), a task alone
(task/pendulum), or an overlay (critic/redq).  If two set the same option, the later one counts.
`lightning-maxent COMMAND --help` lists the options of a command, `fit --model.help SAC` those of a class.
`lightning-maxent --version` prints the version."""


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the console script ``lightning-maxent`` and of ``python -m lightning_maxent``."""
    args = list(sys.argv[1:] if args is None else args)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # for the user's own classes; last, so that they hide no installed package
    with one_sentence_errors("lightning-maxent"):
        if args[:1] in (["--help"], ["-h"]):
            print(HELP)
        elif args[:1] == ["--version"]:
            print(f"lightning-maxent {version('lightning-maxent')}")
        elif args[:1] == ["list"]:
            if args[1:] not in ([], ["--help"], ["-h"]):
                raise MaxEntError("list has no arguments: lightning-maxent list shows all that is built in.")
            print(listing())
        elif args[:1] == ["completion"]:
            if len(args) != 2:
                raise MaxEntError("completion needs a shell: lightning-maxent completion bash, or zsh.")
            print(completion(args[1]))
        elif args and args[0] in OWN_COMMANDS:
            _own_command(args[0], args[1:])
        else:
            _run_command(args)


def _run_command(args: Sequence[str]) -> None:
    known = bool(args) and args[0] in COMMANDS
    given = [each for each in args if each not in ("--help", "-h", "--help=all")]
    asks_for_help = known and len(given) < len(args)
    if asks_for_help and ("--help=all" in args or "all" in given[1:]):
        run([args[0], "--help"])
    elif asks_for_help and not given[1:]:
        print(run_help(args[0], None))
    else:
        if known and _is_first_process():
            _announce(args[0])
        if asks_for_help:
            print(run_help(args[0], settings(given)))
        else:
            choose_waiting()
            run(resolve_arguments(args))


def settings(args: Sequence[str]) -> dict:
    """All settings of the run that the arguments of a command describe."""
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        command, *resolved = resolve_arguments(args)
        run([command, "--print_config", *resolved])
    return yaml.safe_load(printed.getvalue())


def _is_first_process() -> bool:
    """Whether this is process 0 of a run, by what Lightning, torchrun and SLURM set in the environment."""
    ranks = [os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ]
    return not ranks or ranks[0] == "0"


def _announce(command: str) -> None:
    """Print that a command is starting, on standard error, because a program may read the standard output."""
    text = f"{command} is starting; PyTorch and Lightning take seconds to load."
    print(f"lightning-maxent {version('lightning-maxent')}: {text}", file=sys.stderr, flush=True)


@contextmanager
def one_sentence_errors(program: str) -> Iterator[None]:
    """Exit with one sentence for an error about wrong input; other errors keep their traceback.

    If the environment variable ``LIGHTNING_MAXENT_TRACEBACK`` is set, the full traceback is printed before the
    sentence.
    """
    try:
        yield
    except argparse.ArgumentError as error:
        _tell(program, error, broken_module(error) or MaxEntError(explain(str(error))))
    except KeyboardInterrupt as stop:  # before or after the run itself, which handles it
        print("Interrupted.", file=sys.stderr)
        sys.exit(143 if isinstance(stop, Terminated) else 130)  # the exit status of shells for SIGTERM and SIGINT
    except Exception as error:
        _tell(program, error, _own_error(error))


def _own_command(name: str, args: Sequence[str]) -> None:
    """Run one of ``OWN_COMMANDS``."""
    _announce(name)
    if name == "compare":
        from lightning_maxent.comparison.command import compare  # needs fcntl, which only POSIX has

        status = compare(args, parse)
    elif name == "sweep":
        from lightning_maxent.sweep.command import sweep

        status = sweep(args, settings)
    elif name == "verify":
        from lightning_maxent.verification.command import verify

        status = verify(args)
    else:
        from lightning_maxent.cli import policy_commands

        commands = {
            "export": policy_commands.export_command,
            "play": policy_commands.play_command,
            "record": policy_commands.record_command,
            "share": policy_commands.share_command,
        }
        with _terminable():
            status = commands[name](args)
    if status:
        sys.exit(status)


class Terminated(KeyboardInterrupt):
    """SIGTERM asked this process to end."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM raises ``Terminated``, so that unfinished files are removed."""

    def terminate(*_: object) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield
        return
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def parse(args: Sequence[str]) -> None:
    """Parse the arguments of a command, and raise an error if they are wrong; nothing is run."""
    settings(args)


def run(args: Sequence[str]) -> "MaxEntCLI":
    """Run ``fit``, ``validate`` or ``test`` with arguments from ``resolve_arguments``."""
    from lightning_maxent.cli import lightning_cli

    return lightning_cli.run(args)


def fit_once(args: Sequence[str], runs_dir: Path, name: str) -> Path:
    """Train a run unless it is already finished, and return its folder; an interrupted run is resumed.

    Args:
        args: the arguments of ``fit``.
        runs_dir: the folder of all runs.
        name: the name of this run.

    Raises:
        MaxEntError: if there is already a run of this name with other ``args``.
    """
    settings, given = "\n".join(args), runs_dir / f"{name}.arguments"
    pattern = f"*/*/{glob.escape(name)}"
    begun = next(runs_dir.glob(pattern), None)
    if begun and not (given.is_file() and given.read_text() == settings):
        raise MaxEntError(f"The run {begun} was started with other settings: choose another folder, or delete it.")
    if begun and (begun / "finished").exists():
        return begun
    runs_dir.mkdir(parents=True, exist_ok=True)
    write_whole(given, settings)
    goes_on = [f"--ckpt_path={path}" for path in runs_dir.glob(f"{pattern}/checkpoints/last.ckpt")]
    cli = run(resolve_arguments(["fit", *args, f"--runs_dir={runs_dir}", f"--name={name}", *goes_on]))
    (cli.run_dir / "finished").touch()
    return cli.run_dir


def _own_error(error: BaseException) -> Exception:
    """The error in the chain of causes whose message the user needs; re-raises errors of any other kind."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, MaxEntError):
            return cause
    from lightning_fabric.utilities.exceptions import MisconfigurationException  # takes seconds to import

    for cause in causes:
        if isinstance(cause, MisconfigurationException):
            return cause
    from lightning_maxent.cli.lightning_errors import refusal_of_lightning

    if sentence := refusal_of_lightning(error):
        return ForeignError(sentence)
    for cause in causes:
        if isinstance(cause, ModuleNotFoundError):
            return _missing_package(cause)
    raise error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes.  Each comes once, even if the causes form a cycle."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _missing_package(error: ModuleNotFoundError) -> MaxEntError:
    said, (*_, raised) = " ".join(str(error).split()), traceback.extract_tb(error.__traceback__)
    if "pip install" not in said:
        said += f" ({raised.filename}, line {raised.lineno}); try `pip install {(error.name or '').partition('.')[0]}`."
    return MaxEntError(f"A package is missing: {said}")


def _tell(program: str, error: Exception, told: Exception) -> NoReturn:
    """Print the traceback if it was requested, then the sentence, and exit; the sentence says how to request it."""
    sentence = str(told)
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    elif isinstance(told, ForeignError):
        sentence = f"{sentence.removesuffix('.')} ({TRACEBACK}=1 shows the whole traceback)."
    _exit(program, sentence)


def _exit(program: str, sentence: str) -> NoReturn:
    print(f"{program}: error: {sentence}", file=sys.stderr)
    sys.exit(1)
