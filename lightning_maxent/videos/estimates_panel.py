"""A picture of what an algorithm estimated so far in an episode."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

HEIGHT, DPI = 160, 80


class EstimatesPanel:
    """Curves of V and Q on the left, and of the entropy on the right, over the steps of an episode.

    Args:
        width: of the picture, in pixels.
    """

    def __init__(self, width: int):
        self._figure = Figure(figsize=(width / DPI, HEIGHT / DPI), dpi=DPI)
        self._canvas = FigureCanvasAgg(self._figure)
        self._lines: dict[str, Line2D] = {}

    def draw(self, estimates: Sequence[Mapping[str, float]]) -> UInt8[np.ndarray, "height width 3"]:
        """The picture after the steps whose estimates are given."""
        if not self._lines:
            self._add_axes(list(estimates[0]))
        for name, line in self._lines.items():
            line.set_data(range(len(estimates)), [each[name] for each in estimates])
        for axes in self._figure.axes:
            axes.relim()
            axes.autoscale_view()
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()

    def _add_axes(self, names: Sequence[str]) -> None:
        values = [name for name in names if name != "entropy"]
        panels = [values, ["entropy"]] if values else [["entropy"]]
        self._figure.subplots_adjust(left=0.09, right=0.98, bottom=0.15, top=0.95, wspace=0.25)
        for axes, of_panel in zip(np.atleast_1d(self._figure.subplots(1, len(panels))), panels):
            for name in of_panel:
                (self._lines[name],) = axes.plot([], label=name, linewidth=1)
            axes.legend(fontsize=7, loc="upper left")
            axes.tick_params(labelsize=7)
