"""``lightning-maxent compare``: trains all unfinished runs, then writes the table, statistics, pictures and page."""

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import yaml

from lightning_maxent.backends.options import add_options, check_options, given_options, make_backend
from lightning_maxent.backends.pool import Pool
from lightning_maxent.backends.provenance import provenance
from lightning_maxent.backends.run import Run, fit_arguments
from lightning_maxent.cli.arguments import explain
from lightning_maxent.cli.command_parser import INTERRUPTED, CommandParser
from lightning_maxent.cli.configurations import find_configs
from lightning_maxent.comparison.page import page, svg
from lightning_maxent.comparison.pictures import draw_curves, draw_improvement, draw_statistic, style_of
from lightning_maxent.comparison.reference import Reference, find_reference, read_reference, reference_by_task
from lightning_maxent.comparison.results import (
    ALL_TASKS,
    AREA,
    IMPROVEMENT,
    IQM,
    curves_of,
    summarize,
    tidy_rows,
    write_table,
)
from lightning_maxent.comparison.runs import check_unchanged, locked, runs_of
from lightning_maxent.comparison.specification import (
    OPTIONS,
    Comparison,
    folder_of,
    joined_options,
    make_comparison,
)
from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole

DESCRIPTION = r"""Train every variant on every task with every seed, and compare them in tables and pictures.

  lightning-maxent compare compare/pendulum
  lightning-maxent compare --variants value_sac/pendulum sac/pendulum --seeds 0 1 2 --out results/sacs
  lightning-maxent compare --out results/sacs               # resume this comparison
  lightning-maxent compare --out results/sacs --draw_only   # draw the results so far
  lightning-maxent compare compare/pendulum --backend slurm --slurm partition=gpu time=120

Options of `lightning-maxent fit`, such as --trainer.max_steps 5000, apply to every run.  Finished runs are not
repeated; interrupted runs resume from their last checkpoint.  The folder --out holds comparison.yaml,
runs/<variant>/<task>/seed<n>/, evaluations.csv, statistics.csv, pictures/ and page.html."""


def compare(arguments: Sequence[str], parse: Callable[[list[str]], None]) -> int:
    """Run ``lightning-maxent compare`` and return the exit status: 1 if a run failed, 130 if stopped.

    Args:
        arguments: the arguments after ``compare``.
        parse: parses the arguments of a run, and raises an error if they are wrong.

    Raises:
        MaxEntError: for wrong arguments, a wrong comparison, or runs with other settings in the same folder.
    """
    parser = _parser()
    args, further = parser.parse_known_args(joined_options(arguments))
    check_options(args)
    parser.check_unknown(further, OPTIONS)
    comparison, out = _comparison(args, further)
    reference = read_reference(Path(comparison.reference)) if comparison.reference else []
    runs = runs_of(comparison, out)
    stopped = False
    if not args.draw_only:
        check_unchanged(runs)
        _check_arguments(runs, parse)
        with locked(out):
            pool = Pool(make_backend(args, out), args.retries)
            text = yaml.safe_dump(dataclasses.asdict(comparison), sort_keys=False)
            write_whole(out / "comparison.yaml", text)
            pool.carry_out(runs)
            stopped = pool.stopped
    draw(comparison, out, "lightning-maxent compare " + shlex.join(arguments), reference)
    if stopped:
        print(f"To resume: lightning-maxent compare --out {shlex.quote(str(out))} {given_options(args)}".rstrip())
        return INTERRUPTED
    failed = any(run.status == "failed" for run in runs)  # each was reported when it failed
    return int(failed and not args.draw_only)


def draw(comparison: Comparison, out: Path, command: str, reference: Sequence[Reference]) -> None:
    """Write the table, statistics, pictures and page of the runs in ``out``, including unfinished runs.

    Args:
        comparison: the comparison.
        out: its folder.
        command: the command line, for the page.
        reference: published curves to draw beside the runs.
    """
    runs = runs_of(comparison, out)
    rows = tidy_rows(runs, comparison.metric)
    if not rows:
        print(f"No run in {out} has been evaluated yet, so there is nothing to draw.")
        return
    write_table(rows, out / "evaluations.csv")
    curves = curves_of(rows, comparison.metric)
    statistics = summarize(comparison, curves)
    if statistics:
        write_table(statistics, out / "statistics.csv")
    styles = style_of(list(comparison.variants))
    beside = reference_by_task(reference, runs, curves, comparison.metric)
    figures = {
        f"learning curves, {task}": draw_curves(task, comparison.metric, curves[task], styles, beside.get(task, []))
        for task in comparison.tasks
        if task in curves
    }
    for name in (IQM, AREA):
        for task in (ALL_TASKS, *comparison.tasks):
            chosen = [each for each in statistics if (each.task, each.statistic) == (task, name)]
            if chosen:
                unit = "normalized score" if task == ALL_TASKS else comparison.metric
                figures[f"{name}, {task}"] = draw_statistic(f"{name}, {task}", chosen, styles, unit)
    if any(each.statistic == IMPROVEMENT for each in statistics):
        figures[IMPROVEMENT] = draw_improvement(statistics, styles)
    pictures = {caption: svg(figure) for caption, figure in figures.items()}
    (out / "pictures").mkdir(exist_ok=True)
    for caption, text in pictures.items():
        write_whole(out / "pictures" / f"{folder_of(caption.replace(', ', ' '))}.svg", text)
    made = {"date": f"{datetime.now():%Y-%m-%d %H:%M}", **provenance()}
    title = f"{' and '.join(comparison.tasks)}: {', '.join(comparison.variants)}"
    text = page(title, command, made, comparison, runs, rows, curves, statistics, pictures, beside)
    write_whole(out / "page.html", text)
    print(f"Drawn: {out / 'page.html'}")


def _parser() -> CommandParser:
    parser = CommandParser("compare", DESCRIPTION)
    parser.add_argument("comparison", nargs="?", help="the file of a comparison, or the name of a built-in one")
    parser.add_argument("--variants", nargs="+", metavar="CONFIG", help="in place of a file: one configuration each")
    parser.add_argument("--tasks", nargs="+", metavar="ENV", help="Gymnasium ids; default: that of the variants")
    parser.add_argument("--seeds", nargs="+", type=int, help="one run of each variant on each task per seed")
    parser.add_argument("--metric", help="column of metrics.csv, higher is better; default: eval/return_mean")
    parser.add_argument("--reference", metavar="CSV", help="published curves, drawn beside the runs ('': none)")
    parser.add_argument("--out", type=Path, help="folder of all results; default: runs/compare/<name of the file>")
    add_options(parser, "on a Ray cluster or SLURM all")
    parser.add_argument("--draw_only", action="store_true", help="train nothing, draw the results so far")
    return parser


def _comparison(args: argparse.Namespace, further: Sequence[str]) -> tuple[Comparison, Path]:
    """The comparison and its folder, from a file, from the command line, or from the folder of an earlier call."""
    names = ("tasks", "seeds", "metric", "reference")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.comparison and args.variants:
        raise MaxEntError("Give a comparison's file or --variants, not both.")
    if args.comparison:
        files = find_configs(args.comparison)
        if len(files) > 1:
            raise MaxEntError(
                f"{args.comparison} is the configuration of a run, not a comparison: give --variants {args.comparison} "
                f"and others, with --seeds and --out."
            )
        where = Path(files[0])
        content, out = yaml.safe_load(where.read_text()), args.out or Path("runs/compare") / where.stem
    elif args.variants:
        if args.out is None:
            raise MaxEntError("--variants needs --out, the folder of the comparison.")
        where, content, out = "the command line", {"variants": {name: [name] for name in args.variants}}, args.out
    elif args.out is None:
        raise MaxEntError("Give what to compare: a file, --variants, or the --out of an earlier comparison.")
    else:
        out, where = args.out, args.out / "comparison.yaml"
        if not where.is_file():
            raise MaxEntError(f"There is no comparison in {out}: give the file of a comparison, or --variants.")
        content = yaml.safe_load(Path(find_configs(str(where))[0]).read_text())
    settings = content.get("settings") or []
    if further:
        content = content | {"settings": [*([settings] if isinstance(settings, str) else settings), *further]}
    comparison = make_comparison(content | given, str(where))
    if comparison.reference:
        folder = Path() if args.reference else Path(where).parent
        comparison = dataclasses.replace(comparison, reference=str(find_reference(comparison.reference, folder)))
    return comparison, out


def _check_arguments(runs: Sequence[Run], parse: Callable[[list[str]], None]) -> None:
    """Check the arguments of every variant on every task before the first run begins."""
    to_begin = {(run.variant, run.task): run for run in runs if run.status != "finished"}
    for run in to_begin.values():
        try:
            parse(fit_arguments(run, None))
        except (argparse.ArgumentError, MaxEntError) as error:
            raise MaxEntError(f"The variant {run.variant!r} cannot run on {run.task}: {explain(str(error))}") from error
