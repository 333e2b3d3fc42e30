"""A logger that writes one csv file with one row per environment step at which metrics were logged."""

import csv
import io
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from lightning_maxent.files import write_errors, write_whole
from lightning_maxent.metrics.metrics_csv import STEP, read_metrics

ADVICE = "make room for it, and resume the run with --ckpt_path"


class TidyCSVLogger(Logger):
    """Writes ``metrics.csv``: the column ``env_steps``, then one column per metric, empty where it was not logged.

    A row is written when a later step is logged, and on ``save``.  Metrics that are logged at the same step after that
    are added to its row.  New rows are appended.  The whole file is rewritten when a row is changed, a metric appears
    for the first time, a write has failed, or the file was removed.  On resume, rows after the checkpoint are dropped.

    Args:
        save_dir: folder of the file.

    Raises:
        MaxEntError: while logging, if the file cannot be written.
    """

    def __init__(self, save_dir: str | os.PathLike[str]):
        super().__init__()
        self._save_dir = Path(save_dir)
        self.path = self._save_dir / "metrics.csv"
        self._columns: list[str] = [STEP]
        self._row: dict[str, Any] = {}
        self._last: int | None = None  # step of the last row in the file; a resumed run may add metrics to it
        self._whole = False  # whether the file ends with a complete row: a full disk may leave half a row
        if self.path.exists():
            self._columns, rows = read_metrics(self.path)
            self._last = _last_step(rows)

    @property
    def name(self) -> str:
        """Empty, because ``save_dir`` is already the folder of the run."""
        return ""

    @property
    def version(self) -> str:
        """Empty; see ``name``."""
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._save_dir)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: ``config.yaml`` in the same folder holds the hyperparameters."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        metrics = {name: value for name, value in metrics.items() if name != "epoch"}  # it only counts evaluations
        if self._row and self._row[STEP] != step:
            self.save()
        self._row |= {STEP: step, **metrics}

    @rank_zero_only
    def save(self) -> None:
        if not self._row:
            return
        if self._whole and not self.path.exists():
            rank_zero_warn(
                f"{self.path} has been removed while the run goes on: it is written anew, without the rows so far."
            )
            self._columns, self._whole = [STEP], False
        new = [name for name in self._row if name not in self._columns]
        if new or not self._whole or self._row[STEP] == self._last:
            rows = read_metrics(self.path)[1] if self.path.exists() else []
            if rows and int(rows[-1][STEP]) == self._row[STEP]:
                self._row = {name: value for name, value in rows.pop().items() if value} | self._row
            self._write([*self._columns, *new], [*rows, self._row])
        else:
            self._append()
        self._row = {}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    @rank_zero_only
    def drop_after(self, env_steps: int) -> None:
        """Remove the rows after ``env_steps``, the step of the checkpoint from which a run resumes."""
        if self.path.exists():
            rows = read_metrics(self.path)[1]
            self._write(self._columns, [row for row in rows if int(row[STEP]) <= env_steps])

    def _append(self) -> None:
        self._whole = False  # until this row is complete
        with write_errors(self.path, ADVICE), self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(self._row)
        self._whole, self._last = True, self._row[STEP]

    def _write(self, columns: list[str], rows: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        with write_errors(self.path, ADVICE):
            self._save_dir.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, text.getvalue(), ADVICE)
        # Only after a successful write: otherwise the next rows would have more columns than the header in the file.
        self._columns, self._whole, self._last = columns, True, _last_step(rows)


def _last_step(rows: list[dict[str, Any]]) -> int | None:
    return int(rows[-1][STEP]) if rows else None
