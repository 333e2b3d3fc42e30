"""The HTML page of a sweep, in the style of the page of a comparison."""

from collections.abc import Mapping, Sequence
from html import escape

from lightning_maxent.comparison.page import document, number, picture, table
from lightning_maxent.sweep.results import (
    FAILED,
    PRUNED,
    UNFINISHED,
    Tried,
    at_length,
    command_of,
    described,
    ranked,
)
from lightning_maxent.sweep.specification import Sweep


def page(
    title: str,
    command: str,
    made: Mapping[str, str],
    sweep: Sweep,
    trials: Sequence[Tried],
    pictures: Mapping[str, str],
) -> str:
    """The text of the page.

    Args:
        title: heading of the page.
        command: the command line of the sweep.
        made: versions, commit and date.
        sweep: the sweep.
        trials: all trials that have begun.
        pictures: SVG text by caption.
    """
    order = ranked(trials, sweep.direction)
    sections = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in warnings_of(sweep, trials)),
        *_best(sweep, order[0]),
        "<h2>Pictures</h2>",
        '<div class="pictures">' + "".join(map(picture, pictures, pictures.values())) + "</div>",
        "<h2>Trials</h2>",
        _trials(sweep, order),
        "<h2>How to read this</h2>",
        *(f"<p>{escape(text)}</p>" for text in notes(sweep)),
        "<h2>What was searched</h2>",
        table(["parameter", "values"], [(name, described(sweep, name)) for name in sweep.space], "text"),
        table(["", ""], _fixed(sweep), "text"),
        "<h2>How it was made</h2>",
        f"<p><code>{escape(command)}</code></p>",
        table(["", ""], made.items(), "text"),
    ]
    return document(title, sections)


def warnings_of(sweep: Sweep, trials: Sequence[Tried]) -> list[str]:
    """The warnings at the top of the page."""
    found = []
    if failed := [str(trial.number) for trial in trials if trial.status == FAILED]:
        found.append(f"{len(failed)} of {len(trials)} trials failed and have no value: {', '.join(failed)}.")
    begun = sum(trial.status != UNFINISHED for trial in trials)
    if begun < sweep.trials:
        found.append(f"{begun} of {sweep.trials} trials are done: these results are preliminary.")
    if len(sweep.seeds) < 3:
        runs = "a single run" if len(sweep.seeds) == 1 else f"only {len(sweep.seeds)} runs"
        found.append(
            f"Each trial is {runs}. The best of many noisy values is high partly by luck: check it on new seeds with "
            f"check.yaml, a comparison that lies beside this page."
        )
    return found


def notes(sweep: Sweep) -> list[str]:
    """Explanations of the numbers."""
    of = "its last evaluation"
    if sweep.last_evaluations > 1:
        of = f"the mean of its last {sweep.last_evaluations} evaluations"
    texts = [
        f"The score of a run is its {sweep.metric}: {of}. The value of a trial is the interquartile mean of its runs, "
        f"the mean of their middle half. The sweep was to {sweep.direction} it.",
        "Evaluations: the interquartile mean over the seeds at each environment step at which all of them were "
        "evaluated.",
        "Parallel coordinates: each line is a finished trial. Where bright lines meet on an axis, that value is good "
        "whatever the others are.",
        "Importance: how different the values of a parameter are in the best quarter of the finished trials from those "
        "in all of them (Watanabe et al. 2023, arXiv 2304.10255), as shares of 1. It is about the searched range, and "
        "unreliable for fewer than 20 finished trials.",
    ]
    if sweep.pruning.method != "none":
        texts.append(
            f"Pruned trials ({sweep.pruning.method}) were stopped early because their evaluations were low; their last "
            f"evaluation is shown, which is no value and cannot be the best."
        )
    return texts


def _best(sweep: Sweep, best: Tried) -> list[str]:
    scores = ", ".join(f"seed {seed}: {number(score)}" for seed, score in best.scores.items())
    sections = [
        f"<h2>Best: trial {best.number}, {escape(sweep.metric)} {number(best.value)}</h2>",
        f"<p>{escape(scores)}</p>",
        table(["", ""], [(name, _cell(value)) for name, value in best.values.items()], "text"),
        "<p>To repeat it:</p>",
        f"<p><code>{escape(command_of(sweep.settings_of(best.values), sweep.seeds[0]))}</code></p>",
    ]
    if (long := at_length(sweep, best.values)) is not None:
        sections += [
            f"<p>To train it at length, {long[1]}:</p>",
            f"<p><code>{escape(command_of(long[0]))}</code></p>",
        ]
    return sections


def _trials(sweep: Sweep, order: Sequence[Tried]) -> str:
    names = sweep.short_names
    head = ["trial", "status", sweep.metric, *names.values(), "env steps", "seconds"]
    rows = []
    for trial in order:
        value = f"({number(trial.last)})" if trial.status == PRUNED else number(trial.value)
        status = f"{trial.status}: {trial.reason}" if trial.reason else trial.status
        seconds = "–" if trial.seconds is None else f"{trial.seconds:,.0f}"
        steps = f"{max(trial.curve, default=0):,}"
        rows.append(
            [trial.number, status, value, *(_cell(trial.values.get(name, "–")) for name in names), steps, seconds]
        )
    return table(head, rows)


def _fixed(sweep: Sweep) -> list[tuple[str, str]]:
    pruning = sweep.pruning.method
    return [
        ("every run", " ".join(sweep.settings)),
        ("seeds", ", ".join(map(str, sweep.seeds))),
        ("trials", str(sweep.trials)),
        ("pruning", pruning),
    ]


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)
