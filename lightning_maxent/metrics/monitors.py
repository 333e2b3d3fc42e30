"""Lets Lightning's callbacks monitor every column of ``metrics.csv``."""

from collections.abc import Collection, Mapping, Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_warn

from lightning_maxent.errors import MaxEntError


class NeverRefused:
    """Marks a ``ModelCheckpoint`` that every run has, and whose column may be missing in a run without evaluations."""


class Monitors:
    """Passes training metrics to the callbacks that monitor a column: ``EarlyStopping`` and ``ModelCheckpoint``.

    Lightning looks for the column in ``trainer.callback_metrics``, which only evaluations fill, and ends the run if the
    column is missing.  Here a callback waits until its column has a value: losses begin after ``learning_starts``, and
    training returns after the first episode.  A callback sees every value once.

    Args:
        callbacks: the callbacks of the trainer; ``release`` restores their settings.
        networks: names of the networks that have a loss.
    """

    def __init__(self, callbacks: Sequence[pl.Callback], networks: Collection[str]) -> None:
        self._losses = {f"loss/{name}" for name in networks}
        self._measured: set[str] = set()  # columns that training has logged so far
        self._rows_with_updates = 0
        self._checked = False  # whether callbacks have read the current values
        self._stops = [each for each in callbacks if isinstance(each, EarlyStopping) and each.strict]
        self._keeps = {
            each: each.save_top_k
            for each in callbacks
            if isinstance(each, ModelCheckpoint) and not isinstance(each, NeverRefused) and each.monitor is not None
        }
        self._watches = [*(each for each in callbacks if isinstance(each, EarlyStopping)), *self._keeps]
        self._evaluated: set[str] = set()  # columns that evaluations have logged so far
        for callback in self._stops:
            callback.strict = False  # else it ends the run; ``check`` raises an error if the column cannot appear

    def release(self) -> None:
        """Restore the settings of the callbacks."""
        for callback in self._stops:
            callback.strict = True
        for callback, kept in self._keeps.items():
            callback.save_top_k = kept

    def show(self, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """Make a row of training metrics visible to the callbacks."""
        trainer.callback_metrics.update({name: torch.tensor(float(value)) for name, value in metrics.items()})
        self._rows_with_updates += not self._losses.isdisjoint(metrics)
        self._measured |= metrics.keys()

    def allow_saves(self, trainer: pl.Trainer) -> None:
        """Let each ``ModelCheckpoint`` save only if the column that it monitors has a value."""
        for callback, kept in self._keeps.items():
            monitor = str(callback.monitor)
            comes = monitor.startswith("eval/") or monitor in trainer.callback_metrics
            callback.save_top_k = kept if comes else 0

    def check(self, trainer: pl.Trainer) -> None:
        """Check the monitored columns; called when callbacks read them, after an evaluation.

        Raises:
            MaxEntError: for a column that has no value and cannot get one later.
        """
        self._checked = True
        self._evaluated |= trainer.callback_metrics.keys() - self._measured
        known = self._measured | self._evaluated
        for callback in (*self._stops, *self._keeps):
            if callback.monitor not in known and not self._may_come(str(callback.monitor)):
                raise MaxEntError(
                    f"{type(callback).__name__} monitors {callback.monitor!r}, but there is no such column; choose one of "
                    f"{', '.join(sorted(known))}."
                )

    def warn_of_missing(self) -> None:
        """At the end of a run, warn of each callback whose column never had a value; its name may be misspelt."""
        known = self._measured | self._evaluated
        for callback in self._watches:
            if callback.monitor not in known:
                rank_zero_warn(
                    f"{type(callback).__name__} monitors {callback.monitor!r}, which never appeared in this run, so it "
                    f"had no effect: train longer, or choose one of {', '.join(sorted(known))}."
                )

    def remove_seen(self, trainer: pl.Trainer) -> None:
        """Remove values that callbacks have seen; a repeated value would count as a metric that does not improve."""
        if self._checked:
            for name in self._measured:
                trainer.callback_metrics.pop(name, None)
            self._checked = False

    def _may_come(self, column: str) -> bool:
        group = column.partition("/")[0] + "/"
        if group == "eval/":
            return False
        if group == "train/":
            return not any(name.startswith(group) for name in self._measured)  # no episode has ended yet
        return column in self._losses or self._rows_with_updates < 2  # the first row may lack rarely updated networks
