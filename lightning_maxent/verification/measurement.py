"""What one check found."""

import math
from typing import NamedTuple

LOOK = "look at loss and target, or it learns slower than these updates allow"


class Measurement(NamedTuple):
    """A number that was measured, what it should be, how far off it may be, and where to look if it is further."""

    check: str
    value: float
    expected: float
    tolerance: float
    advice: str

    @property
    def error(self) -> float:
        return abs(self.value - self.expected)

    @property
    def passed(self) -> bool:
        return math.isfinite(self.value) and self.error <= self.tolerance
