"""How ``metrics.csv`` is read.  Nothing here needs PyTorch, so that a page can be drawn without waiting for it."""

import csv
from pathlib import Path
from typing import Any

STEP = "env_steps"  # the first column


def read_metrics(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of a ``metrics.csv``, without what a full disk or a power cut has torn: rows that do not fit the header."""
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    reader = csv.DictReader(line for line in lines if line.endswith("\n") and "\0" not in line)
    columns = list(reader.fieldnames or [])
    if columns[:1] != [STEP] or len(set(columns)) < len(columns):
        return [STEP], []
    rows = [row for row in reader if None not in row and None not in row.values() and row[STEP].isdigit()]
    return columns, rows
