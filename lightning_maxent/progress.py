"""Progress of a command: a bar on a terminal, else a line every half minute."""

import math
import sys
from typing import Any

from tqdm import tqdm

SECONDS = 30  # between two lines


class _Lines(tqdm):
    """Prints complete lines without carriage returns, for a log or a pipe."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line; ``update`` calls this when a line is due."""
        passed = self.format_dict["elapsed"]
        rate = self.format_dict["rate"] or (self.n - self.initial) / max(passed, 1e-9)
        of, left = "", ""
        if self.total:
            of = f"/{self.total:,}"
            left = f", {self.format_interval((self.total - self.n) / rate)} left" if rate else ""
        speed = f"{1 / rate:,.1f} s each" if 0 < rate < 1 else f"{rate:,.1f}{self.unit}/s"
        desc = f"{self.desc.removesuffix(': ')}: " if self.desc else ""
        postfix = f", {self.postfix}" if self.postfix else ""
        time = f"{self.format_interval(passed)} passed{left}"
        self.fp.write(f"{desc}{self.n:,}{of}{self.unit}, {time}, {speed}{postfix}\n")
        self.fp.flush()

    @classmethod
    def write(cls, s: str, file: Any = None, end: str = "\n", nolock: bool = False) -> None:
        """Print a text; there is no bar to redraw."""
        print(s, file=file, end=end, flush=True)

    def clear(self, nolock: bool = False) -> None:
        """Does nothing, because lines are not erased."""

    def close(self) -> None:
        """Write the final state if it has not been written, and end."""
        if not self.disable and self.leave and self.n > self.last_print_n:
            self.display()
        self.delay = math.inf  # so that tqdm does not erase a bar
        super().close()


def progress(total: int | None, unit: str, **options: Any) -> tqdm:
    """A tqdm bar on standard error if that is a terminal, else a tqdm object that writes a line every half minute.

    Args:
        total: the number of units, if it is known.
        unit: the name of the unit, such as "runs".
        options: further options of tqdm.
    """
    options |= {"total": total, "unit": f" {unit}", "miniters": 0}
    if sys.stderr.isatty():
        return tqdm(**options, mininterval=0.5, dynamic_ncols=True)
    return _Lines(**options, mininterval=SECONDS, maxinterval=SECONDS, delay=SECONDS)
