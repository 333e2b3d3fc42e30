"""Figures of learning curves, aggregates and probabilities of improvement; each variant has one color in all."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lightning_maxent.comparison.reference import Reference, seeds_of
from lightning_maxent.comparison.results import ALL_TASKS, IMPROVEMENT, Curves, Statistic, band
from lightning_maxent.comparison.statistics import interquartile_mean

# The color-blind palette of Okabe and Ito, without yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")  # the next one when all colors are used
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # of references
GREYS = ("black", "grey")
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "lightning_maxent",
}


def style_of(variants: list[str]) -> dict[str, tuple[str, str]]:
    """Color and line style of each variant."""
    rounds = range(len(variants))
    return {
        variant: (COLOURS[i % len(COLOURS)], LINES[i // len(COLOURS) % len(LINES)])
        for variant, i in zip(variants, rounds)
    }


def draw_curves(
    task: str,
    metric: str,
    variants: dict[str, Curves],
    styles: dict[str, tuple[str, str]],
    reference: Sequence[Reference] = (),
) -> Figure:
    """Each run as a faint line, the interquartile mean in bold, its interval as a band; references are dashed."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(6.0 if reference else 4.4)
        for variant, (color, line) in styles.items():
            if variant not in variants or not len(variants[variant].steps):
                continue
            steps, scores, _ = variants[variant]
            runs = scores.shape[1]
            axes.plot(steps, scores, color=color, alpha=0.3, linewidth=0.8)
            middle = interquartile_mean(scores)
            marker = "o" if len(steps) == 1 else None
            axes.plot(steps, middle, line, color=color, linewidth=2.2, marker=marker, label=f"{variant} ({runs} runs)")
            low, high = band(scores)
            axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        draw_reference(axes, reference)
        axes.set(title=task, xlabel="environment steps", ylabel=metric)
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_formatter(EngFormatter())  # 20 k, 1 M
        if reference:  # with so many curves there is no room for the legend inside
            figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
        elif axes.lines:
            axes.legend(frameon=False, fontsize="small")
        return figure


def draw_reference(axes: Axes, reference: Iterable[Reference]) -> None:
    """The mean of each algorithm as a dashed line in black or grey, with bars of one standard deviation."""
    for index, each in enumerate(reference):
        steps, means, deviations, _ = zip(*each.points, strict=True)
        axes.errorbar(
            steps,
            means,
            deviations,
            color=GREYS[index % len(GREYS)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4,
            linestyle="--",
            linewidth=0.9,
            capsize=3,
            label=f"reference {each.algorithm}, mean ± deviation of {seeds_of([each])}",
        )


def draw_statistic(title: str, statistics: list[Statistic], styles: dict[str, tuple[str, str]], unit: str) -> Figure:
    """One row per variant: the statistic as a point, its interval as a bar."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(1.1 + 0.42 * len(statistics))
        for row, each in enumerate(statistics):
            _point(axes, row, each, styles[each.variant][0])
        _rows(axes, [each.variant for each in statistics])
        axes.set(title=title, xlabel=unit)
        return figure


def draw_improvement(statistics: list[Statistic], styles: dict[str, tuple[str, str]]) -> Figure:
    """One row per pair: the probability that the first is better than the second; one half means equally good."""
    order = list(styles)
    pairs = [
        each
        for each in statistics
        if each.statistic == IMPROVEMENT and order.index(each.variant) < order.index(each.against)
    ]
    with mpl.rc_context(STYLE):
        figure, axes = _axes(1.1 + 0.42 * len(pairs))
        for row, each in enumerate(pairs):
            _point(axes, row, each, styles[each.variant][0])
        axes.axvline(0.5, color="grey", linewidth=1, linestyle="--")
        _rows(axes, [f"{each.variant} > {each.against}" for each in pairs])
        axes.set(xlim=(-0.03, 1.03), xlabel=f"{IMPROVEMENT}, of equal seeds, {ALL_TASKS}")
        return figure


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, height), layout="constrained")
    return figure, figure.subplots()


def _point(axes: Axes, row: int, statistic: Statistic, color: str) -> None:
    axes.plot([statistic.low, statistic.high], [row, row], color=color, linewidth=7, alpha=0.35, solid_capstyle="butt")
    axes.plot(statistic.value, row, "o", color=color)


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.25)
