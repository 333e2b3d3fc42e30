"""One tidy file: a row per environment step at which anything was measured."""

import csv
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from lightning_maxent.errors import MaxEntError

STEP = "env_steps"


class TidyCSVLogger(Logger):
    """Writes ``metrics.csv``: the column ``env_steps``, then a column per metric, empty where it was not measured.

    A row is written when a later step is logged, and on ``save``; what is measured at its step after that is added.  The
    file is appended to; only such an addition, or a metric that was never seen before, makes it be written anew.  On resume,
    rows from beyond the checkpoint are dropped.

    Args:
        save_dir: folder of the file.

    Raises:
        MaxEntError: where it cannot be written.
    """

    def __init__(self, save_dir: str | os.PathLike[str]):
        super().__init__()
        self._save_dir = Path(save_dir)
        self.path = self._save_dir / "metrics.csv"
        self._columns: list[str] = [STEP]
        self._row: dict[str, Any] = {}
        self._last: int | None = None  # step of the last row written, to which a run that goes on may add
        if self.path.exists():
            self._columns, rows = _read(self.path)
            self._last = _last_step(rows)

    @property
    def name(self) -> str:
        """Empty: the run's folder is given whole by ``save_dir``."""
        return ""

    @property
    def version(self) -> str:
        """Empty, see ``name``."""
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._save_dir)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` beside the file holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        metrics = {name: value for name, value in metrics.items() if name != "epoch"}  # an epoch is an evaluation
        if self._row and self._row[STEP] != step:
            self.save()
        self._row |= {STEP: step, **metrics}

    @rank_zero_only
    def save(self) -> None:
        if not self._row:
            return
        new = [name for name in self._row if name not in self._columns]
        if new or not self.path.exists() or self._row[STEP] == self._last:
            rows = _read(self.path)[1] if self.path.exists() else []
            if rows and int(rows[-1][STEP]) == self._row[STEP]:
                self._row = {name: value for name, value in rows.pop().items() if value} | self._row
            self._columns += new
            self._write([*rows, self._row])
        else:
            with self._sayable(), self.path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(self._row)
            self._last = self._row[STEP]
        self._row = {}

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    @rank_zero_only
    def drop_after(self, env_steps: int) -> None:
        """Forget what a run measured after the checkpoint from which it goes on."""
        if self.path.exists():
            self._write([row for row in _read(self.path)[1] if int(row[STEP]) <= env_steps])

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with self._sayable():
            self._save_dir.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_suffix(".csv.tmp")
            with temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(rows)
            os.replace(temporary, self.path)
        self._last = _last_step(rows)

    @contextmanager
    def _sayable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MaxEntError(
                f"{self.path} cannot be written ({error.strerror}): make room for it, and go on with the run by --ckpt_path."
            ) from error


def _last_step(rows: list[dict[str, Any]]) -> int | None:
    return int(rows[-1][STEP]) if rows else None


def _read(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows, without what a full disk or a power cut has torn."""
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    reader = csv.DictReader(line for line in lines if line.endswith("\n") and "\0" not in line)
    rows = [row for row in reader if None not in row.values()]
    return list(reader.fieldnames or [STEP]), rows
