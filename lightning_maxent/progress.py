"""How far a command has come: a bar on a terminal, elsewhere a plain line now and then."""

import math
import sys
from typing import Any

from tqdm import tqdm

SECONDS = 30  # between two lines


class _Lines(tqdm):
    """Whole lines, without carriage returns, for a log or a pipe."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line; ``update`` calls it when it is time."""
        passed = self.format_dict["elapsed"]
        rate = self.format_dict["rate"] or (self.n - self.initial) / max(passed, 1e-9)
        of, left = "", ""
        if self.total:
            of = f"/{self.total:,}"
            left = f", {self.format_interval((self.total - self.n) / rate)} left" if rate else ""
        speed = f"{1 / rate:,.1f} s each" if 0 < rate < 1 else f"{rate:,.1f}{self.unit}/s"
        desc = f"{self.desc}: " if self.desc else ""
        postfix = f", {self.postfix}" if self.postfix else ""
        time = f"{self.format_interval(passed)} passed{left}"
        self.fp.write(f"{desc}{self.n:,}{of}{self.unit}, {time}, {speed}{postfix}\n")
        self.fp.flush()

    @classmethod
    def write(cls, s: str, file: Any = None, end: str = "\n", nolock: bool = False) -> None:
        """Print; there is nothing to draw over."""
        print(s, file=file, end=end, flush=True)

    def clear(self, nolock: bool = False) -> None:
        """Nothing: a line stays."""

    def close(self) -> None:
        """Write where it stands, if that is not written yet, and end."""
        if not self.disable and self.leave and self.n > self.last_print_n:
            self.display()
        self.delay = math.inf  # as if nothing had been drawn that tqdm would have to wipe away
        super().close()


def progress(total: int | None, unit: str, **options: Any) -> tqdm:
    """A tqdm bar on standard error where that is a terminal, and else what writes a line every half minute.

    Args:
        total: how much there is to do, if that is known.
        unit: of what.
        options: further ones of tqdm.
    """
    options |= {"total": total, "unit": f" {unit}", "miniters": 0}
    if sys.stderr.isatty():
        return tqdm(**options, mininterval=0.5, dynamic_ncols=True)
    return _Lines(**options, mininterval=SECONDS, maxinterval=SECONDS, delay=SECONDS)
