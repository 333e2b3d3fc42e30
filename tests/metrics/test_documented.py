"""The table of columns in docs/train.md has a row for every column that training and evaluation can write."""

import ast
from collections.abc import Iterator
from pathlib import Path

from documented_columns import documented_columns

import lightning_maxent
from lightning_maxent.metrics.metrics_csv import STEP

PACKAGE = Path(lightning_maxent.__file__).parent
WRITERS = {  # functions that return or fill a dictionary of metrics, and the names of their columns
    "drain_metrics": "{}",
    "metrics": "{}",
    "_log": "{}",
    "now": "{}",
    "episode_metrics": "eval/{}_mean",
    "episode_diagnostics": "eval/{}_mean",
}


def texts(part: ast.AST) -> Iterator[str]:
    """The keys of all dictionaries within a part of the code; an f-string ends in ``<network>``."""
    for node in ast.walk(part):
        keys: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            keys = node.keys
        elif isinstance(node, ast.DictComp):
            keys = [node.key]
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            keys = [node.slice]
        for key in keys:
            if isinstance(key, ast.Constant):
                yield str(key.value)
            elif isinstance(key, ast.JoinedStr) and isinstance(key.values[0], ast.Constant):
                yield f"{key.values[0].value}<network>"


def written_columns() -> set[str]:
    """The columns in the code of algorithms, data, optimizers and the training log."""
    columns = {STEP, "eval/return_std"}  # written by the logger, and by the means over episodes
    parts = ("algorithms/*.py", "data/*.py", "metrics/training_log.py", "optimizers.py")
    for path in (path for part in parts for path in PACKAGE.glob(part)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
                columns.update(texts(node))
            elif isinstance(node, ast.FunctionDef) and node.name in WRITERS:
                columns.update(WRITERS[node.name].format(text) for text in texts(node))
    return columns


def test_every_column_in_the_code_has_a_row_in_the_table_and_every_row_has_a_column():
    assert sorted(documented_columns()) == sorted(written_columns())
