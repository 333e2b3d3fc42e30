"""Figures of a sweep: history, curves, importance, parallel coordinates, and values of each parameter."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from lightning_maxent.comparison.page import number
from lightning_maxent.comparison.pictures import COLOURS, STYLE
from lightning_maxent.sweep.results import FINISHED, PRUNED, Tried, ranked
from lightning_maxent.sweep.specification import Numbers, Sweep

BLUE, ORANGE = COLOURS[:2]
GREY = "#999999"
MAP = mpl.colormaps["viridis"]


def draw(sweep: Sweep, trials: Sequence[Tried], importance: Mapping[str, float]) -> dict[str, Figure]:
    """All figures by caption, of a sweep in which at least one trial finished."""
    finished = [trial for trial in trials if trial.status == FINISHED]
    best = ranked(trials, sweep.direction)[0]
    figures = {
        "history": draw_history(sweep, trials, best),
        "curves": draw_curves(sweep, trials, best),
        "parallel coordinates": draw_parallel(sweep, finished, best),
        "values": draw_values(sweep, trials, best),
    }
    return figures | ({"importance": draw_importance(sweep, importance)} if importance else {})


def draw_history(sweep: Sweep, trials: Sequence[Tried], best: Tried) -> Figure:
    """The value of each trial, and the best value so far."""
    better = np.maximum if sweep.direction == "maximize" else np.minimum
    finished = [trial for trial in trials if trial.status == FINISHED]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(4.4)
        numbers, values = [trial.number for trial in finished], np.array([trial.value for trial in finished])
        end = max(trial.number for trial in trials)
        so_far = better.accumulate(values)
        axes.step(
            [*numbers, end], [*so_far, so_far[-1]], where="post", color=ORANGE, linewidth=2.2, label="best so far"
        )
        axes.plot(numbers, values, "o", color=BLUE, label="finished")
        if pruned := [trial for trial in trials if trial.status == PRUNED]:
            axes.plot(
                [trial.number for trial in pruned], [trial.last for trial in pruned], "x", color=GREY, label="pruned"
            )
        axes.plot(best.number, best.value, "o", color=ORANGE, markersize=9, label=f"best: trial {best.number}")
        axes.set(title="Trials", xlabel="trial", ylabel=sweep.metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize="small")
        return figure


def draw_curves(sweep: Sweep, trials: Sequence[Tried], best: Tried) -> Figure:
    """The evaluations of each trial; the best one is thick."""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(4.4)
        for trial in trials:
            if trial.curve and trial.number != best.number:
                kind = {PRUNED: (GREY, "--"), FINISHED: (BLUE, "-")}.get(trial.status, (GREY, ":"))
                marker = "x" if trial.status == PRUNED else None
                steps, values = list(trial.curve), list(trial.curve.values())
                axes.plot(steps, values, kind[1], color=kind[0], alpha=0.6, linewidth=1, marker=marker, markevery=[-1])
        if best.curve:
            axes.plot(
                list(best.curve),
                list(best.curve.values()),
                color=ORANGE,
                linewidth=2.5,
                marker="o" if len(best.curve) == 1 else None,
                label=f"best: trial {best.number}",
            )
            axes.legend(frameon=False, fontsize="small")
        of = f", interquartile mean of {len(sweep.seeds)} seeds" if sweep.seeds[1:] else ""
        axes.set(title=f"Evaluations{of}", xlabel="environment steps", ylabel=sweep.metric)
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.grid(alpha=0.25)
        return figure


def draw_importance(sweep: Sweep, importance: Mapping[str, float]) -> Figure:
    """One bar per parameter."""
    names = sweep.short_names
    with mpl.rc_context(STYLE):
        figure, axes = _figure(1.4 + 0.42 * len(importance))
        bars = axes.barh([names[name] for name in importance], list(importance.values()), color=BLUE)
        axes.bar_label(bars, [f"{share:.0%}" for share in importance.values()], padding=3)
        axes.invert_yaxis()
        axes.set(title="Importance of each parameter", xlim=(0, 1.12 * max(importance.values())))
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return figure


def draw_parallel(sweep: Sweep, finished: Sequence[Tried], best: Tried) -> Figure:
    """One line per finished trial across an axis for each parameter and one for the value; bright lines are good."""
    values = np.array([trial.value for trial in finished])
    scale = Normalize(values.min(), values.max())
    sign = 1 if sweep.direction == "maximize" else -1
    columns = [*sweep.space, None]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(4.4)
        for trial in sorted(finished, key=lambda trial: sign * trial.value):
            heights = [_height(sweep, name, trial.values[name]) for name in sweep.space] + [float(scale(trial.value))]
            share = float(scale(trial.value))
            color = ORANGE if trial is best else MAP(share if sign > 0 else 1 - share)
            axes.plot(range(len(columns)), heights, color=color, linewidth=2.5 if trial is best else 1.2, alpha=0.85)
        for place, name in enumerate(columns):
            axes.axvline(place, color="black", linewidth=0.8)
            if name is None:
                _write_ends(axes, place, number(values.min()), number(values.max()))
            elif isinstance(parameter := sweep.space[name], Numbers):
                _write_ends(axes, place, f"{parameter.low:g}", f"{parameter.high:g}")
            else:
                _write_choices(axes, place, {label: _height(sweep, name, label) for label in parameter.choices})
        axes.set_xticks(range(len(columns)), [*map(_shortened, sweep.short_names.values()), sweep.metric])
        axes.tick_params(axis="x", length=0, pad=18, labelrotation=20 if len(columns) > 5 else 0)
        axes.set(ylim=(-0.02, 1.02), xlim=(-0.3, len(columns) - 0.5))
        axes.set_title(f"Finished trials; best: trial {best.number}", pad=24)  # above the upper ends
        axes.yaxis.set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        return figure


def draw_values(sweep: Sweep, trials: Sequence[Tried], best: Tried) -> Figure:
    """One panel per parameter: the value of each trial over its value of the parameter."""
    columns = min(2, len(sweep.space))
    rows = math.ceil(len(sweep.space) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.6 + 2.4 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
        for axes in panels[len(sweep.space) :]:
            axes.remove()
        for place, (axes, (name, parameter)) in enumerate(zip(panels, sweep.space.items())):
            labels = list(parameter.examples)
            for status, color, marker in ((PRUNED, GREY, "x"), (FINISHED, BLUE, "o")):
                chosen = [trial for trial in trials if trial.status == status]
                at = [trial.values[name] for trial in chosen]
                heights = [trial.shown for trial in chosen]
                axes.plot(
                    at if isinstance(parameter, Numbers) else [labels.index(label) for label in at],
                    heights, marker, color=color, alpha=0.7,
                )  # fmt: skip
            own = best.values[name]
            axes.plot(own if isinstance(parameter, Numbers) else labels.index(own), best.value, "o", color=ORANGE)
            if not isinstance(parameter, Numbers):
                axes.set_xticks(range(len(labels)), map(_shortened, labels), rotation=20 if len(labels) > 4 else 0)
                axes.set_xlim(-0.5, len(labels) - 0.5)
            else:
                margin = 0.04
                if parameter.log:
                    axes.set_xscale("log")
                    axes.xaxis.set_minor_formatter(NullFormatter())
                    edge = (parameter.high / parameter.low) ** margin
                    axes.set_xlim(parameter.low / edge, parameter.high * edge)
                else:
                    edge = (parameter.high - parameter.low) * margin
                    axes.set_xlim(parameter.low - edge, parameter.high + edge)
            axes.set_xlabel(sweep.short_names[name])
            if place % columns == 0:
                axes.set_ylabel(sweep.metric)
            axes.grid(alpha=0.25)
        return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, height), layout="constrained")
    return figure, figure.subplots()


def _height(sweep: Sweep, name: str, value: float | int | str) -> float:
    """Where a value lies on the axis of its parameter, between 0 and 1."""
    parameter = sweep.space[name]
    if not isinstance(parameter, Numbers):
        labels = list(parameter.choices)
        return labels.index(str(value)) / (len(labels) - 1)
    if parameter.log:
        return math.log(float(value) / parameter.low) / math.log(parameter.high / parameter.low)
    return (float(value) - parameter.low) / (parameter.high - parameter.low)


def _write_ends(axes: Axes, place: int, low: str, high: str) -> None:
    """Write the lowest and the highest value below and above an axis."""
    for height, label, side in ((0, low, "top"), (1, high, "bottom")):
        below_or_above = (0, -4 if side == "top" else 4)
        axes.annotate(
            label, (place, height), below_or_above, textcoords="offset points", ha="center", va=side, fontsize="small"
        )


def _write_choices(axes: Axes, place: int, heights: Mapping[str, float]) -> None:
    """Write the choices beside an axis."""
    behind = {"facecolor": "white", "alpha": 0.7, "pad": 0.5, "linewidth": 0}
    for label, height in heights.items():
        axes.annotate(
            _shortened(label),
            (place, height),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            bbox=behind,
        )


def _shortened(label: str) -> str:
    """A label that leaves room for its neighbors: the end of a long one."""
    return label if len(label) <= 18 else f"…{label[-17:]}"
