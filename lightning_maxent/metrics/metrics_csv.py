"""Reads ``metrics.csv``, without importing PyTorch, which takes seconds."""

import csv
from pathlib import Path
from typing import Any

from lightning_maxent.errors import MaxEntError

STEP = "env_steps"  # the first column


def read_metrics(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of a ``metrics.csv``, without damaged rows, which a full disk or a power cut may leave.

    Raises:
        MaxEntError: if there is something else at the path, or it cannot be read.
    """
    try:
        lines = path.read_text(errors="replace").splitlines(keepends=True)
    except OSError as error:
        raise MaxEntError(f"{path} cannot be read ({error.strerror}): remove it, and resume the run.") from error
    reader = csv.DictReader(line for line in lines if line.endswith("\n") and "\0" not in line)
    columns = list(reader.fieldnames or [])
    if columns[:1] != [STEP] or len(set(columns)) < len(columns):
        return [STEP], []
    rows = [row for row in reader if None not in row and None not in row.values() and row[STEP].isdigit()]
    return columns, rows
