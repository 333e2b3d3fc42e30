"""Draws the curves of the page ``benchmarks.md`` from the csv files in ``docs/results``.

``benchmarks.yaml`` says what is in each chart.  A chart is a table with the last values, which every browser shows, and
its points as JSON, from which ``_static/benchmarks.js`` draws.
"""

import csv
import html
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from sphinx.application import Sphinx

from lightning_maxent.comparison.statistics import interquartile_mean, interval

PAGE = "benchmarks"
LABELS = ("variant", "algorithm", "library")  # columns that name what was measured
RETURNS = ("return_mean", "eval/return_mean")


class Curve(NamedTuple):
    """Interquartile means over the seeds, and their intervals, at the steps that all seeds have."""

    name: str
    seeds: int
    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def curves(results: Path, given: dict[str, Any]) -> list[Curve]:
    """The curves of a csv file, as an entry of ``benchmarks.yaml`` chooses and names them.

    Raises:
        ValueError: if the entry names a variant or a task that the file does not have.
    """
    with (results / f"{given['csv']}.csv").open() as file:
        rows = list(csv.DictReader(file))
    label = next(name for name in LABELS if name in rows[0])
    returns = next(name for name in RETURNS if name in rows[0])
    names = given.get("names", {})
    runs: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if given.get("task") in (None, row.get("task")) and row[returns]:
            runs[names.get(row[label], row[label])][row["seed"]][int(float(row["env_steps"]))] = float(row[returns])
    if unknown := names.keys() - {row[label] for row in rows}:
        raise ValueError(f"{given['csv']}.csv has no {sorted(unknown)}.")
    if not runs:
        raise ValueError(f"{given['csv']}.csv has no task {given['task']}.")
    return [curve(name, list(seeds.values())) for name, seeds in runs.items()]


def curve(name: str, seeds: list[dict[int, float]]) -> Curve:
    """The curve of some seeds, each a return by its environment steps."""
    steps = sorted(set.intersection(*(set(seed) for seed in seeds)))
    scores = np.array([[seed[step] for seed in seeds] for step in steps])  # [step, seed]
    low, high = interval(lambda tasks: interquartile_mean(tasks[0]), [scores], resamples=2_000)
    numbers = (np.round(each, 1).tolist() for each in (interquartile_mean(scores), low, high))
    return Curve(name, len(seeds), steps, *numbers)


def chart(results: Path, given: dict[str, Any]) -> str:
    """The section of a chart, in Markdown and HTML."""
    drawn = [each for file in given["curves"] for each in curves(results, file)]
    points = json.dumps([each._asdict() for each in drawn], separators=(",", ":")).replace("</", "<\\/")
    rows = "".join(
        f"<tr><td>{html.escape(each.name)}</td><td>{each.steps[-1]:,}</td><td>{each.seeds}</td>"
        f"<td>{each.mean[-1]:,.0f}</td><td>{each.low[-1]:,.0f} to {each.high[-1]:,.0f}</td></tr>"
        for each in drawn
    )
    head = "".join(f"<th>{name}</th>" for name in ("", "steps", "seeds", "return", "interval"))
    files = "\n".join(
        f"- [{file['csv']}.csv](results/{file['csv']}.csv): commit {file['commit']}, `{file['command']}`"
        for file in given["curves"]
    )
    return f"""
## {given["title"]}

<figure class="benchmark" aria-label="{html.escape(given["title"])}: return over environment steps">
<script type="application/json">{points}</script>
</figure>
<div class="table-wrapper"><table class="docutils"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>

{files}

[How it was measured](results/{given["page"]}.md)
"""


def add_charts(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add all charts to the page."""
    if docname == PAGE:
        docs = Path(app.srcdir)
        charts = yaml.safe_load((docs / f"{PAGE}.yaml").read_text())
        source[0] += "".join(chart(docs / "results", each) for each in charts)
        app.env.note_dependency(str(docs / f"{PAGE}.yaml"))


def add_script(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Load the script on this page alone."""
    if pagename == PAGE:
        app.add_js_file("benchmarks.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", add_charts)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True}
