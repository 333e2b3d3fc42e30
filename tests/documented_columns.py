"""The columns of ``metrics.csv`` in the table of docs/train.md."""

import re
from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "train.md"


def documented_columns() -> list[str]:
    """The names in the first column of the table; ``<network>`` stands for the name of any network."""
    _, _, after = PAGE.read_text().partition("| column | what it is |\n|---|---|\n")
    table, _, _ = after.partition("\n\n")
    return re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)


def undocumented(columns: Iterable[str]) -> list[str]:
    """The columns without a row in the table."""
    rows = "|".join(re.escape(name).replace("<network>", r"\w+") for name in documented_columns())
    return [column for column in columns if not re.fullmatch(rows, column)]
