"""What Lightning's callbacks may monitor: every column of ``metrics.csv``."""

from collections.abc import Collection, Mapping, Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_warn

from lightning_maxent.errors import MaxEntError


class NeverRefused:
    """Marks a ``ModelCheckpoint`` of every run, which may go without its column: not every run is evaluated."""


class Monitors:
    """Shows what training measures to the callbacks that monitor a column: ``EarlyStopping`` and ``ModelCheckpoint``.

    Lightning looks for the column in ``trainer.callback_metrics``, where evaluations alone leave theirs, and ends the run
    at the first look that finds nothing.  Here a callback waits until its column is measured: losses come after the
    warm-up, training returns after the first episode.  It judges every value once.

    Args:
        callbacks: of the trainer; they are given back as they were by ``release``.
        networks: names of those that have a loss.
    """

    def __init__(self, callbacks: Sequence[pl.Callback], networks: Collection[str]) -> None:
        self._losses = {f"loss/{name}" for name in networks}
        self._measured: set[str] = set()  # columns of training so far
        self._rows_with_updates = 0
        self._judged = False
        self._stops = [each for each in callbacks if isinstance(each, EarlyStopping) and each.strict]
        self._keeps = {
            each: each.save_top_k
            for each in callbacks
            if isinstance(each, ModelCheckpoint) and not isinstance(each, NeverRefused) and each.monitor is not None
        }
        self._watches = [*(each for each in callbacks if isinstance(each, EarlyStopping)), *self._keeps]
        self._evaluated: set[str] = set()  # columns of evaluations so far
        for callback in self._stops:
            callback.strict = False  # it would end the run; ``judge`` does so where no such column can come

    def release(self) -> None:
        """Give the callbacks back as they were."""
        for callback in self._stops:
            callback.strict = True
        for callback, kept in self._keeps.items():
            callback.save_top_k = kept

    def show(self, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """Let callbacks see a row."""
        trainer.callback_metrics.update({name: torch.tensor(float(value)) for name, value in metrics.items()})
        self._rows_with_updates += not self._losses.isdisjoint(metrics)
        self._measured |= metrics.keys()

    def wait(self, trainer: pl.Trainer) -> None:
        """Keep a checkpoint only where the column that decides about it has a value."""
        for callback, kept in self._keeps.items():
            monitor = str(callback.monitor)
            comes = monitor.startswith("eval/") or monitor in trainer.callback_metrics
            callback.save_top_k = kept if comes else 0

    def judge(self, trainer: pl.Trainer) -> None:
        """Callbacks look about now, after an evaluation.

        Raises:
            MaxEntError: for a column that neither is measured nor can come.
        """
        self._judged = True
        self._evaluated |= trainer.callback_metrics.keys() - self._measured
        known = self._measured | self._evaluated
        for callback in (*self._stops, *self._keeps):
            if callback.monitor not in known and not self._may_come(str(callback.monitor)):
                raise MaxEntError(
                    f"{type(callback).__name__} monitors {callback.monitor!r}, but there is no such column; choose one of "
                    f"{', '.join(sorted(known))}."
                )

    def warn_of_missing(self) -> None:
        """At the end of a run, name each callback whose column never appeared: it may have come later, or be misspelt."""
        known = self._measured | self._evaluated
        for callback in self._watches:
            if callback.monitor not in known:
                rank_zero_warn(
                    f"{type(callback).__name__} monitors {callback.monitor!r}, which never appeared in this run, so it decided "
                    f"nothing: train longer, or choose one of {', '.join(sorted(known))}."
                )

    def forget(self, trainer: pl.Trainer) -> None:
        """Take back what was judged: a value that came twice would pass for a metric that does not improve."""
        if self._judged:
            for name in self._measured:
                trainer.callback_metrics.pop(name, None)
            self._judged = False

    def _may_come(self, column: str) -> bool:
        group = column.partition("/")[0] + "/"
        if group == "eval/":
            return False
        if group == "train/":
            return not any(name.startswith(group) for name in self._measured)  # no episode has ended yet
        return column in self._losses or self._rows_with_updates < 2  # the first row may lack a network updated rarely
