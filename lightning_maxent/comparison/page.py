"""The HTML page of a comparison.  Pictures are embedded; the page has no scripts and loads nothing."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lightning_maxent.backends.run import Run
from lightning_maxent.comparison.reference import Reference, seeds_of
from lightning_maxent.comparison.results import (
    ALL_TASKS,
    AREA,
    DIFFERENCE,
    IMPROVEMENT,
    IQM,
    MEAN,
    MEDIAN,
    Curves,
    Row,
    Statistic,
    scale_of,
    scores_of,
    shared_steps,
)
from lightning_maxent.comparison.runs import difference
from lightning_maxent.comparison.specification import Comparison
from lightning_maxent.comparison.statistics import LEVEL, RESAMPLES, coverage_of_many_tasks

STYLE = """
:root { color-scheme: light dark; --ink: #222; --faint: #555; --paper: #fff; --line: #ddd; --code: #f4f4f4 }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --faint: #aaa; --paper: #161616; --line: #444; --code: #2a2a2a } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; color: var(--ink); background: var(--paper) }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere } h2 { margin-top: 2.5rem } .warning { border-left: .3rem solid #D55E00; padding-left: .7rem }
@media (max-width: 46em) { h1 { font-size: 1.5rem } h2 { font-size: 1.3rem } }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem }
.pictures img { width: 100%; max-width: 46rem; height: auto; background: #fff }
.wide { overflow-x: auto; margin: 1rem 0 } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child, .text td, .text th { text-align: left } .text td { white-space: normal }
.text td:last-child { overflow-wrap: anywhere; min-width: 8rem }
small { color: var(--faint) } code { overflow-wrap: anywhere; background: var(--code); padding: 0 .2rem }
"""


def svg(figure: Figure) -> str:
    """A figure as the text of an SVG file; the text is the same for every drawing of the same figure."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def page(
    title: str,
    command: str,
    made: Mapping[str, str],
    comparison: Comparison,
    runs: Sequence[Run],
    rows: Sequence[Row],
    curves: dict[str, dict[str, Curves]],
    statistics: Sequence[Statistic],
    pictures: Mapping[str, str],
    reference: Mapping[str, Sequence[Reference]],
) -> str:
    """The text of the page.

    Args:
        title: heading of the page.
        command: the command line of the comparison.
        made: versions, commit and date.
        comparison: the comparison.
        runs: all runs, including those that have not begun.
        rows: the evaluations of the runs.
        curves: the evaluations by task and variant.
        statistics: the statistics.
        pictures: SVG text by caption.
        reference: published curves by task.
    """
    sections = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in warnings_of(runs, curves)),
        _what(comparison, curves),
        "<h2>Pictures</h2>",
        _reference(comparison, reference),
        '<div class="pictures">' + "".join(map(picture, pictures, pictures.values())) + "</div>",
        "<h2>Scores</h2>",
        *_scores(comparison, curves, statistics, reference),
        _improvement(comparison, statistics),
        "<h2>How to read this</h2>",
        *(f"<p>{escape(text)}</p>" for text in notes(comparison, curves)),
        "<h2>Runs</h2>",
        _runs(runs, rows, comparison.metric),
        _everything(rows),
        "<h2>How it was made</h2>",
        f"<p><code>{escape(command)}</code></p>",
        table(["", ""], made.items(), "text"),
    ]
    return document(title, sections)


def document(title: str, sections: Iterable[str]) -> str:
    """The text of an HTML file in the style of a comparison, with sections that are HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def warnings_of(runs: Sequence[Run], curves: dict[str, dict[str, Curves]]) -> list[str]:
    """The warnings at the top of the page."""
    found = []
    by_status = {
        status: [run for run in runs if run.status == status] for status in ("failed", "unfinished", "not begun")
    }
    if failed := by_status["failed"]:
        found.append(
            f"{len(failed)} of {len(runs)} runs failed and are left out, which biases the scores of their variants "
            f"upwards: {'; '.join(run.name for run in failed)}."
        )
    if changed := [f"{run.name} ({what})" for run in runs if (what := difference(run))]:
        found.append(
            f"{len(changed)} of {len(runs)} runs were made with other settings than these: {'; '.join(changed)}."
        )
    if missing := len(by_status["unfinished"]) + len(by_status["not begun"]):
        found.append(f"{missing} of {len(runs)} runs are not finished: these numbers are preliminary.")
    found += [
        f"The runs on {task} have no evaluation at a common environment step, so they are not compared."
        for task, variants in curves.items()
        if not shared_steps(variants)
    ]
    for variant in dict.fromkeys(run.variant for run in runs):
        if lacking := [task for task, variants in curves.items() if variant not in variants]:
            found.append(
                f"{variant} has no score on {', '.join(lacking)}, so it is left out of the statistics over all tasks."
            )
    for task, variants in curves.items():
        if len({frozenset(each.seeds) for each in variants.values()}) > 1:
            seeds = "; ".join(f"{name}: {', '.join(map(str, sorted(each.seeds)))}" for name, each in variants.items())
            found.append(
                f"On {task} not all variants have the same seeds ({seeds}): two variants are compared on the seeds "
                f"that both have."
            )
    if lacking := [task for task in dict.fromkeys(run.task for run in runs) if task not in curves]:
        found.append(f"No run was evaluated on {', '.join(lacking)}: “{ALL_TASKS}” are the other tasks.")
    made = [run.made_with for run in runs if run.made_with]
    for what in sorted({name for each in made for name in each}):
        if len(different := sorted({each.get(what, "none") for each in made})) > 1:
            found.append(f"Runs were started with different versions of {what}: {', '.join(different)}.")
    return found


def notes(comparison: Comparison, curves: dict[str, dict[str, Curves]]) -> list[str]:
    """Explanations of the numbers, for these numbers of runs."""
    last = "; ".join(
        f"{task}: {steps[-1]:,.0f}" for task, variants in curves.items() if (steps := shared_steps(variants))
    )
    texts = [
        f"A run's score is its {comparison.metric} at the last evaluation that all runs of the task share (environment "
        f"steps: {last or 'none'}). The area under the curve is the average score from the first shared evaluation to "
        f"the last. The interquartile mean is the mean of the middle half of the runs.",
        f"In brackets: the {LEVEL:.0%} percentile interval of {RESAMPLES:,} stratified bootstrap resamples, in which "
        f"the runs of each task are drawn again (Agarwal et al. 2021, arXiv 2108.13264). It is about other seeds on "
        f"the same tasks, not about other tasks.",
        f"Variants are compared seed by seed: evaluation episodes of runs with the same seed begin in the same states, "
        f"so the influence of these states cancels. The {DIFFERENCE} is the mean over seeds of the difference between "
        f"the scores of two runs with the same seed. The {IMPROVEMENT} is the probability that a run of one variant "
        f"has a higher score than the run of another variant with the same seed, on a task drawn at random; a tie "
        f"counts one half. For the intervals of both, the same seeds are drawn for the two variants. The intervals of "
        f"two variants may overlap although the interval of their difference excludes 0: the interval of the "
        f"difference decides.",
    ]
    fewest = min((each.scores.shape[1] for variants in curves.values() for each in variants.values()), default=0)
    if fewest == 1:
        texts.append("A single run has no interval: these numbers cannot tell a better variant from a better seed.")
    elif fewest in (2, 3):
        texts.append(
            f"A variant that wins with all {fewest} seeds has a {IMPROVEMENT} of 1, and its interval has no width. If "
            f"two variants are equally good, one of them wins with all seeds in {2 ** (1 - fewest):.0%} of comparisons."
        )
        texts.append(
            f"With {fewest} runs on a task, the interval is the range from the lowest run to the highest. It contains "
            f"the true mean of a symmetric distribution in {1 - 2 ** (1 - fewest):.0%} of comparisons, not in "
            f"{LEVEL:.0%}; over many tasks, in {coverage_of_many_tasks(fewest):.0%}."
        )
    elif fewest:
        texts.append(
            f"With {fewest} runs per task, an interval over many tasks contains the true mean in about "
            f"{coverage_of_many_tasks(fewest):.0%} of comparisons, not in {LEVEL:.0%}; an interval of one task does so "
            f"in fewer."
        )
    return texts


def number(value: float) -> str:
    """A number with four significant digits, or with commas from 1,000; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def _estimate(statistic: Statistic | None) -> str:
    if statistic is None:
        return "–"
    if math.isnan(statistic.low):
        return number(statistic.value)
    return f"{number(statistic.value)} <small>[{number(statistic.low)}, {number(statistic.high)}]</small>"


def _what(comparison: Comparison, curves: dict[str, dict[str, Curves]]) -> str:
    def joined(items: Sequence[str]) -> str:
        return " ".join(f"<code>{escape(item)}</code>" for item in items)

    rows = [(f"variant {escape(name)}", joined(items)) for name, items in comparison.variants.items()]
    rows += [(f"task {escape(name)}", joined(items)) for name, items in comparison.tasks.items()]
    rows += [
        (f"variant {escape(variant)} on task {escape(task)}", joined(items))
        for variant, by_task in comparison.pairs.items()
        for task, items in by_task.items()
    ]
    rows += [("every run", joined(comparison.settings))] if comparison.settings else []
    rows += [("seeds", ", ".join(map(str, comparison.seeds))), ("metric", joined([comparison.metric]))]
    return table(["", ""], rows, "text", escaped=True)


def _reference(comparison: Comparison, reference: Mapping[str, Sequence[Reference]]) -> str:
    if not comparison.reference:
        return ""
    file = Path(comparison.reference).name
    if not reference:
        return f"<p>{escape(f'{file} has no curve for these tasks, this metric and this few environment steps.')}</p>"
    seeds = seeds_of(each for of_task in reference.values() for each in of_task)
    text = f"Black or grey curves with bars: mean ± one standard deviation of {seeds} of the reference, from {file}."
    return f"<p>{escape(text)} None of its runs has a seed in common with ours.</p>"


def _reference_at_the_end(reference: Sequence[Reference], steps: Sequence[float]) -> str:
    """The reference scores of each algorithm at the last step at which all our runs were evaluated too."""
    found = []
    for each in reference:
        if points := [point for point in each.points if point.env_steps in steps]:
            mean, deviation = number(points[-1].mean), number(points[-1].deviation)
            found.append(f"{each.algorithm} {mean} ± {deviation} at {points[-1].env_steps:,} environment steps")
    return f"<p>{escape('Reference: ' + '; '.join(found) + '.')}</p>" if found else ""


def picture(caption: str, text: str) -> str:
    """The HTML of a picture, given as the text of an SVG file."""
    data = base64.b64encode(text.encode()).decode()
    return f'<img alt="{escape(caption)}" src="data:image/svg+xml;base64,{data}">'


def _scores(
    comparison: Comparison,
    curves: dict[str, dict[str, Curves]],
    statistics: Sequence[Statistic],
    reference: Mapping[str, Sequence[Reference]],
) -> Iterable[str]:
    for task in (ALL_TASKS, *comparison.tasks):
        of_task = {(each.variant, each.statistic): each for each in statistics if each.task == task}
        names = [variant for variant in comparison.variants if (variant, IQM) in of_task]
        if not names:
            continue
        heading = task
        if task == ALL_TASKS:
            scales = {name: scale_of(comparison, name, s) for name in curves if (s := scores_of(curves[name]))}
            kind = "stated" if comparison.normalization else "the lowest and highest run of this comparison"
            pairs = "; ".join(f"{name}: {number(low)}, {number(high)}" for name, (low, high) in scales.items())
            heading += f", normalized so that these become 0 and 1 ({kind}): {pairs}"
        yield f"<h3>{escape(heading)}</h3>"
        rows = [
            [
                escape(variant),
                str(of_task[variant, IQM].runs),
                *(_estimate(of_task.get((variant, name))) for name in (IQM, MEAN, MEDIAN, AREA)),
            ]
            for variant in names
        ]
        yield table(["variant", "runs per task", IQM, MEAN, MEDIAN, AREA], rows, escaped=True)
        yield _differences(task, names, statistics)
        yield _reference_at_the_end(reference.get(task, []), shared_steps(curves.get(task, {})))


def _differences(task: str, names: Sequence[str], statistics: Sequence[Statistic]) -> str:
    """A table of the differences row - column over equal seeds; each pair stands once."""
    found = {(e.variant, e.against): e for e in statistics if (e.task, e.statistic) == (task, DIFFERENCE)}
    if not found:
        return ""
    rows = [
        [escape(x), *(_estimate(found[x, y]) if (x, y) in found else "" for y in names[1:])]
        for x in names
        if any(x == pair[0] for pair in found)
    ]
    return table([f"{DIFFERENCE}: row − column", *names[1:]], rows, escaped=True)


def _improvement(comparison: Comparison, statistics: Sequence[Statistic]) -> str:
    pairs = {(each.variant, each.against): each for each in statistics if each.statistic == IMPROVEMENT}
    names = [name for name in comparison.variants if any(name in pair for pair in pairs)]
    if not names:
        return ""
    rows = [[escape(x), *("" if x == y else _estimate(pairs.get((x, y))) for y in names)] for x in names]
    head = ["row > column", *names]
    return "<h3>Probability of improvement</h3>" + table(head, rows, escaped=True)


def _runs(runs: Sequence[Run], rows: Sequence[Row], metric: str) -> str:
    last = {(row["variant"], row["task"], row["seed"]): row for row in rows}
    lines = []
    for run in runs:
        row = last.get((run.variant, run.task, run.seed), {})
        score = number(float(row[metric])) if row.get(metric) else "–"
        status = f"{run.status}: {run.reason}" if run.reason and run.status == "failed" else run.status
        about = run.made_with.get("commit", "–")
        steps = f"{row['env_steps']:,}" if row else "–"
        lines.append([run.variant, run.task, run.seed, steps, score, row.get("seconds") or "–", about, status])
    return table(["variant", "task", "seed", "env steps", metric, "seconds", "commit", "status"], lines)


def _everything(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    everything = table(list(rows[0]), [list(row.values()) for row in rows])
    return f"<details><summary>All {len(rows):,} evaluations of each seed</summary>{everything}</details>"


def table(head: Sequence[str], rows: Iterable[Iterable[Any]], kind: str = "", escaped: bool = False) -> str:
    """The HTML of a table.

    Args:
        head: names of the columns.
        rows: the rows.
        kind: ``text`` if the cells hold text, else numbers.
        escaped: whether the cells are HTML.
    """

    def cell(value: Any) -> str:
        return f"<td>{value if escaped else escape(str(value))}</td>"

    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    thead = f"<thead><tr>{header}</tr></thead>" if any(head) else ""
    return f'<div class="wide"><table class="{kind}">{thead}<tbody>{body}</tbody></table></div>'
