"""The command line: ``lightning-maxent fit sac/pendulum``.

PyTorch and Lightning take seconds to import.  Nothing here does so before it has said what is being done.
"""

import argparse
import glob
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import yaml

from lightning_maxent.arguments import COMMANDS, explain, resolve_arguments
from lightning_maxent.configurations import listing
from lightning_maxent.errors import TRACEBACK, ForeignError, MaxEntError, broken_module
from lightning_maxent.files import write_whole
from lightning_maxent.run_help import run_help

if TYPE_CHECKING:
    from lightning_maxent.lightning_cli import MaxEntCLI

HELP = """usage: lightning-maxent COMMAND [CONFIG ...] [OPTIONS]

  fit        train: lightning-maxent fit sac/pendulum
  validate   evaluate a checkpoint as training does: lightning-maxent validate --ckpt_path last
  test       play a trained policy: lightning-maxent test --ckpt_path last --data.eval_episodes 100
  compare    variants x tasks x seeds side by side, then a table, statistics and a page
  verify     is a critic right?
  list       what is built in: algorithms, tasks, critics, recipes and other configurations

A CONFIG is a YAML file or a built-in name: an algorithm on a task (sac/pendulum), an algorithm alone (sac), a task alone
(task/pendulum), or an overlay (critic/redq).  Where two set the same option, the later one wins.
`lightning-maxent COMMAND --help` lists the options of a command, `fit --model.help SAC` those of a class.
`lightning-maxent --version` prints the version."""


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the console script ``lightning-maxent`` and of ``python -m lightning_maxent``."""
    args = list(sys.argv[1:] if args is None else args)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where the reader's own critics lie; last, so that they hide nothing installed
    with one_sentence_errors("lightning-maxent"):
        if args[:1] in (["--help"], ["-h"]):
            print(HELP)
        elif args[:1] == ["--version"]:
            print(f"lightning-maxent {version('lightning-maxent')}")
        elif args == ["list"]:
            print(listing())
        elif args[:1] in (["compare"], ["verify"]):
            _own_command(args[0], args[1:])
        else:
            _run_command(args)


def _run_command(args: Sequence[str]) -> None:
    known = bool(args) and args[0] in COMMANDS
    given = [each for each in args if each not in ("--help", "-h")]
    asks_for_help = known and len(given) < len(args)
    if asks_for_help and given[1:] == ["all"]:
        run([args[0], "--help"])
    elif asks_for_help and not given[1:]:
        print(run_help(args[0], None))
    else:
        if known:
            _announce(args[0])
        if asks_for_help:
            print(run_help(args[0], _settings(given)))
        else:
            run(resolve_arguments(args))


def _settings(args: Sequence[str]) -> dict:
    """All settings of the run that the arguments of a command describe."""
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        run(resolve_arguments([*args, "--print_config"]))
    return yaml.safe_load(printed.getvalue())


def _announce(command: str) -> None:
    """At once, and on standard error: what a command prints may be read by a program."""
    text = f"lightning-maxent {version('lightning-maxent')}: {command} is starting; PyTorch and Lightning take seconds to load."
    print(text, file=sys.stderr, flush=True)


@contextmanager
def one_sentence_errors(program: str) -> Iterator[None]:
    """What was wrong with what was given ends the program with one sentence; other errors keep their traceback.

    If the environment variable ``LIGHTNING_MAXENT_TRACEBACK`` is set, the whole traceback comes before the sentence.
    """
    try:
        yield
    except argparse.ArgumentError as error:
        _tell(program, error, broken_module(error) or MaxEntError(explain(str(error))))
    except KeyboardInterrupt:  # where no run was there to be stopped
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)  # as a shell reports it
    except Exception as error:
        _tell(program, error, _own_error(error))


def _own_command(name: str, args: Sequence[str]) -> None:
    """No command of LightningCLI, since it builds no model with data; imported when asked for."""
    _announce(name)
    if name == "compare":
        from lightning_maxent.comparison.command import compare  # POSIX alone can lock files

        status = compare(args, parse)
    else:
        from lightning_maxent.verification.command import verify

        status = verify(args)
    if status:
        sys.exit(status)


def parse(args: Sequence[str]) -> None:
    """Raise what is wrong with the arguments of a command, and do nothing else."""
    _settings(args)


def run(args: Sequence[str]) -> "MaxEntCLI":
    """Carry out ``fit``, ``validate`` or ``test``, given whole paths of configurations."""
    from lightning_maxent import lightning_cli

    return lightning_cli.run(args)


def fit_once(args: Sequence[str], runs_dir: Path, name: str) -> Path:
    """The folder of a run: as it lies there finished, gone on with from its last checkpoint, or carried out whole.

    Args:
        args: of ``fit``.
        runs_dir: folder in which runs get their folders.
        name: of this one's.

    Raises:
        MaxEntError: if a run of this name lies there, finished or not, that was given other ``args``.
    """
    settings, given = "\n".join(args), runs_dir / f"{name}.arguments"
    pattern = f"*/*/{glob.escape(name)}"
    begun = next(runs_dir.glob(pattern), None)
    if begun and not (given.is_file() and given.read_text() == settings):
        raise MaxEntError(f"The run {begun} was begun with other settings: choose another folder, or delete it.")
    if begun and (begun / "finished").exists():
        return begun
    runs_dir.mkdir(parents=True, exist_ok=True)
    write_whole(given, settings)
    goes_on = [f"--ckpt_path={path}" for path in runs_dir.glob(f"{pattern}/checkpoints/last.ckpt")]
    cli = run(resolve_arguments(["fit", *args, f"--runs_dir={runs_dir}", f"--name={name}", *goes_on]))
    (cli.run_dir / "finished").touch()
    return cli.run_dir


def _own_error(error: BaseException) -> Exception:
    """The sentence for the user, wherever in the chain it is; an error of another kind goes on with its traceback."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, MaxEntError):
            return cause
    from lightning_fabric.utilities.exceptions import MisconfigurationException  # takes seconds, so not before

    for cause in causes:
        if isinstance(cause, MisconfigurationException):
            return cause
    from lightning_maxent.trainer_options import refusal_of_lightning

    if sentence := refusal_of_lightning(error):
        return ForeignError(sentence)
    for cause in causes:
        if isinstance(cause, ModuleNotFoundError):
            return _missing_package(cause)
    raise error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it.  Each comes once, also where the causes go round in a circle."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _missing_package(error: ModuleNotFoundError) -> MaxEntError:
    said, (*_, raised) = " ".join(str(error).split()), traceback.extract_tb(error.__traceback__)
    if "pip install" not in said:
        said += f" ({raised.filename}, line {raised.lineno}); try `pip install {(error.name or '').partition('.')[0]}`."
    return MaxEntError(f"A part that was asked for needs a package that is not installed: {said}")


def _tell(program: str, error: Exception, told: Exception) -> NoReturn:
    """The whole traceback if it was asked for; then one sentence, which says how to ask for it where it may help."""
    sentence = str(told)
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    elif isinstance(told, ForeignError):
        sentence = f"{sentence.removesuffix('.')} ({TRACEBACK}=1 shows the whole traceback)."
    _exit(program, sentence)


def _exit(program: str, sentence: str) -> NoReturn:
    print(f"{program}: error: {sentence}", file=sys.stderr)
    sys.exit(1)
