"""``lightning-maxent sweep``: searches for the best settings, then writes the table and the page."""

import argparse
import json
import shlex
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_maxent.backends.options import add_options, check_options, given_options, make_backend
from lightning_maxent.backends.pool import Pool
from lightning_maxent.backends.run import fit_arguments
from lightning_maxent.cli.arguments import explain
from lightning_maxent.cli.command_parser import INTERRUPTED, CommandParser
from lightning_maxent.cli.configurations import find_configs
from lightning_maxent.comparison.runs import locked
from lightning_maxent.comparison.specification import OPTIONS, joined_options
from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole
from lightning_maxent.sweep.report import report
from lightning_maxent.sweep.specification import Sweep, make_sweep
from lightning_maxent.sweep.study import (
    DATABASE,
    SPECIFICATION,
    database_errors,
    hidden,
    import_optuna,
    open_study,
    trials_of,
)
from lightning_maxent.sweep.trials import Trials, runs_of_trial

DESCRIPTION = r"""Search for the best values of any options of `lightning-maxent fit`, with Optuna.

  lightning-maxent sweep sweep/cartpole                      # a built-in sweep
  lightning-maxent sweep mine.yaml --trials 50 --jobs 4      # a file of your own, 4 runs at a time
  lightning-maxent sweep --out runs/sweep/mine               # resume this sweep
  lightning-maxent sweep --out runs/sweep/mine --draw_only   # draw the results so far

A file says what is fixed, what is searched, and with which seeds:

  settings: [sac/half_cheetah, --trainer.max_steps=50_000]   # configurations and options of every run
  space:
    --model.optimizers.default.init_args.lr: {min: 1.0e-4, max: 3.0e-3, log: true}
    --data.batch_size: {values: [64, 128, 256]}
    critic: {values: [critic/redq, critic/tqc]}              # whole configurations, or lists of options
  seeds: [0, 1, 2]                                           # the value of a trial is their interquartile mean
  trials: 30

Further configurations and options of `fit`, such as --trainer.max_steps 5000, apply to every run.  Finished trials are
not repeated; interrupted runs resume from their last checkpoint.  The folder --out holds sweep.yaml, trials.db,
runs/trial<n>/seed<n>/, trials.csv, pictures/ and page.html."""

FREE = ("trials", "pruning")  # keys that may change in a sweep that has begun
DATABASE_FILE = "database.yaml"


def sweep(arguments: Sequence[str], settings: Callable[[list[str]], dict[str, Any]]) -> int:
    """Run ``lightning-maxent sweep`` and return the exit status: 1 if no trial has a value, 130 if stopped.

    Args:
        arguments: the arguments after ``sweep``.
        settings: gives all settings of a run from its arguments, and raises an error if they are wrong.

    Raises:
        MaxEntError: for wrong arguments, a wrong sweep, or another sweep in the same folder.
    """
    parser = _parser()
    args, further = parser.parse_known_args(joined_options(arguments))
    check_options(args)
    parser.check_unknown(further, OPTIONS)
    import_optuna()
    content, where, out = _content(args, further)
    plan = make_sweep(content, where)
    database = _database(args.storage, out)
    run = _check_arguments(plan, out, settings)
    length = {"max_steps": run["trainer"]["max_steps"], "eval_interval": run["data"]["init_args"]["eval_interval"]}
    stopped = False
    url = args.storage or f"sqlite:///{(out / DATABASE).absolute()}"
    with locked(out), database_errors(url):
        write_whole(out / DATABASE_FILE, yaml.safe_dump(database))
        study = open_study(plan, out.absolute().name, url, length)
        _check_unchanged(study, content, out)
        write_whole(out / "sweep.yaml", yaml.safe_dump(content, sort_keys=False))
        if not args.draw_only:
            pool = _pool(args, out)
            Trials(plan, study, out, database["folder"], not args.storage, pool, length["max_steps"]).carry_out()
            stopped = pool.stopped
        has_value = report(plan, study, out, "lightning-maxent sweep " + shlex.join(arguments))
    if stopped:
        storage = f"--storage {shlex.quote(args.storage)}" if args.storage else ""
        again = " ".join(filter(None, (shlex.quote(str(out)), storage, given_options(args))))
        print(f"To resume: lightning-maxent sweep --out {again}")
        return INTERRUPTED
    return int(not has_value)


def _parser() -> CommandParser:
    parser = CommandParser("sweep", DESCRIPTION)
    parser.add_argument("sweep", nargs="?", help="the file of a sweep, or the name of a built-in one")
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="further configurations of every run")
    parser.add_argument("--out", type=Path, help="folder of all results; default: runs/sweep/<name of the file>")
    parser.add_argument("--trials", type=int, help="number of trials, with those of earlier calls; default: 20")
    parser.add_argument("--seeds", nargs="+", type=int, help="one run of each trial per seed; default: 0")
    parser.add_argument("--metric", help="column of metrics.csv; default: eval/return_mean")
    parser.add_argument("--pruning", choices=("median", "hyperband", "none"), help="default: median")
    add_options(parser, "on a Ray cluster or SLURM none: give a number")
    parser.add_argument(
        "--storage", default="", metavar="URL", help="database of a server; default: the file trials.db in --out"
    )
    parser.add_argument("--draw_only", action="store_true", help="train nothing, draw the results so far")
    return parser


def _pool(args: argparse.Namespace, out: Path) -> Pool:
    """What carries out the runs; it has a number of jobs, since each new trial learns from those that have ended."""
    backend = make_backend(args, out)
    if backend.jobs is None:
        backend.close()
        raise MaxEntError(
            f"A sweep with --backend {args.backend} needs --jobs, the number of parallel runs: the fewer, the more "
            f"each new trial learns from those that have ended."
        )
    return Pool(backend, args.retries)


def _content(args: argparse.Namespace, further: Sequence[str]) -> tuple[dict[str, Any], str, Path]:
    """The mapping of the sweep with the options of the command line, where it stands, and the folder."""
    if args.sweep:
        files = find_configs(args.sweep)
        content = yaml.safe_load(Path(files[0]).read_text())
        if len(files) > 1 or "space" not in content:
            raise MaxEntError(
                f"{args.sweep} is the configuration of a run, not a sweep: give a file with the settings "
                f"[{args.sweep}] and a space, as `lightning-maxent sweep --help` shows."
            )
        where, out = files[0], args.out or Path("runs/sweep") / Path(files[0]).stem
    elif args.out is None:
        raise MaxEntError("Give what to search: the file of a sweep, or the --out of an earlier one.")
    else:
        out, where = args.out, str(args.out / "sweep.yaml")
        if not Path(where).is_file():
            raise MaxEntError(f"There is no sweep in {out}: give the file of a sweep.")
        content = yaml.safe_load(Path(find_configs(where)[0]).read_text())
    added = [*args.configs, *further]
    if added:
        fixed = content.get("settings") or []
        content |= {"settings": [*([fixed] if isinstance(fixed, str) else fixed), *added]}
    names = ("trials", "seeds", "metric")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.pruning:
        own = content.get("pruning")
        same = isinstance(own, dict) and own.get("method", "median") == args.pruning
        given["pruning"] = own if same else {"method": args.pruning}
    return content | given, where, out


def _database(storage: str, out: Path) -> dict[str, str]:
    """The database of a sweep, without its password, and the id of the folder in it."""
    path, shown = out / DATABASE_FILE, hidden(storage) if storage else ""
    if not path.is_file():
        return {"storage": shown, "folder": uuid.uuid4().hex}
    known = yaml.safe_load(path.read_text())
    if known["storage"] != shown:
        has = (
            f"in {known['storage']}: give this --storage" if known["storage"] else "in its folder: leave out --storage"
        )
        raise MaxEntError(f"The sweep {out} has its trials {has}, or choose another --out.")
    return known


def _check_arguments(plan: Sweep, out: Path, settings: Callable[[list[str]], dict[str, Any]]) -> dict[str, Any]:
    """Check the arguments of runs with every choice and both ends of all numbers; returns the settings of the first."""
    first = {name: parameter.examples[0] for name, parameter in plan.space.items()}
    examples = [
        (name, first | {name: value}) for name, parameter in plan.space.items() for value in parameter.examples[1:]
    ]
    found = []
    for name, values in [(next(iter(first)), first), *examples]:
        run = runs_of_trial(plan, 0, values, out)[0]
        try:
            found.append(settings(fit_arguments(run, None)))
        except (argparse.ArgumentError, MaxEntError) as error:
            raise MaxEntError(f"A trial with {name} {values[name]} cannot run: {explain(str(error))}") from error
    return found[0]


def _check_unchanged(study: Any, content: dict[str, Any], out: Path) -> None:
    """Check that a study that has begun is of this sweep, and save the sweep in it."""
    now = {key: value for key, value in content.items() if key not in FREE}
    before = study.user_attrs.get(SPECIFICATION)
    if before is not None and trials_of(study):
        old = json.loads(before)
        if changed := [key for key in {**old, **now} if old.get(key) != json.loads(json.dumps(now.get(key)))]:
            raise MaxEntError(
                f"The sweep {out} has begun with other {' and '.join(changed)}: choose another --out, or restore them; "
                f"only {' and '.join(FREE)} may change."
            )
    study.set_user_attr(SPECIFICATION, json.dumps(now))
