"""Plots the metrics of a run in one figure."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from matplotlib.figure import Figure
from pytorch_lightning.utilities import rank_zero_warn

from lightning_maxent.loggers.tidy_csv import TidyCSVLogger
from lightning_maxent.metrics.metrics_csv import STEP

PANELS = {
    "return": ("eval/return_mean", "eval/sampled_return_mean", "train/return_mean"),
    "soft return": ("eval/soft_return_mean",),  # with scaled rewards
    "entropy (nats)": ("eval/entropy_mean", "entropy", "entropy_target"),
    "temperature": ("temperature",),
    "Q or V, and its bias": ("eval/q_mean", "eval/q_bias_mean", "eval/value_mean", "eval/value_bias_mean"),
    "losses": ("loss/critic", "loss/value"),
}


class Curves(pl.Callback):
    """Draws ``curves.png`` next to ``metrics.csv`` when the run ends or stops for any reason."""

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":  # after the last evaluation
            self._draw(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._draw(trainer)

    @staticmethod
    def _draw(trainer: pl.Trainer) -> None:
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if isinstance(logger, TidyCSVLogger):
                picture = logger.path.with_name("curves.png")
                try:
                    logger.save()
                    if logger.path.exists():
                        draw_curves(logger.path, picture)
                except Exception as error:  # any error: the checkpoint must still be saved
                    rank_zero_warn(f"{picture} was not drawn: {error}")


def draw_curves(metrics: Path, picture: Path) -> None:
    """Plot the columns of a ``metrics.csv`` over environment steps, one panel for each group in ``PANELS``."""
    table = np.genfromtxt(
        metrics, delimiter=",", names=True, deletechars="", replace_space=" ", ndmin=1, encoding="utf-8"
    )
    columns = table.dtype.names or ()
    figure = Figure(figsize=(12, 6))
    figure.subplots_adjust(left=0.06, bottom=0.09, right=0.985, top=0.94, wspace=0.25, hspace=0.42)
    for axes, (title, names) in zip(figure.subplots(2, 3).flat, PANELS.items()):
        for name in names:
            if name in columns:
                known = ~np.isnan(table[name])
                axes.plot(table[STEP][known], table[name][known], label=name)
        if "eval/return_mean" in names[:1] and "eval/return_std" in columns:
            known = ~np.isnan(table["eval/return_mean"])
            mean, std = table["eval/return_mean"][known], table["eval/return_std"][known]
            axes.fill_between(table[STEP][known], mean - std, mean + std, alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel="environment steps")
        if axes.lines:
            axes.legend(fontsize="small")
        if title == "losses" and axes.lines:
            axes.set_yscale("log")
    figure.savefig(picture, dpi=120)
