"""The result of one check."""

import math
from typing import NamedTuple

LOOK = "check loss and target; or the critic needs more updates"


class Measurement(NamedTuple):
    """The value that a check measured, the expected value, the tolerance, and advice for a check that fails."""

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
