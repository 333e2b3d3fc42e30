"""What one check found."""

import math
from typing import NamedTuple


class Measurement(NamedTuple):
    """A number that was measured, what it should be, and how far off it may be."""

    check: str
    value: float
    expected: float
    tolerance: float
    remark: str = ""

    @property
    def error(self) -> float:
        return abs(self.value - self.expected)

    @property
    def passed(self) -> bool:
        return math.isfinite(self.value) and self.error <= self.tolerance
