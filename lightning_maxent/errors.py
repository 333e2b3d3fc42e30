"""The one exception that means: what was given cannot work, and here is what to do."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MaxEntError(RuntimeError):
    """One sentence that says what was wrong and what to do; the command line prints it without a traceback."""


class DivergedError(MaxEntError):
    """Learning went wrong for good: the state of the run is not worth saving over the last checkpoint."""


def check_positive(**numbers: int) -> None:
    """Raise ``MaxEntError`` that names the first number below one."""
    for name, number in numbers.items():
        if number < 1:
            raise MaxEntError(f"{name} must be at least 1, but is {number}.")


@contextmanager
def blamed(who: str) -> Iterator[None]:
    """What somebody else's code raises inside becomes one sentence with the line that raised it.

    That line is the last one outside of this and of installed packages, if there is one.
    """
    try:
        yield
    except MaxEntError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        theirs = ("site-packages", str(Path(__file__).parent))
        own = [frame for frame in frames if not any(part in frame.filename for part in theirs)] or frames
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise MaxEntError(f"{who} raised {what} ({own[-1].filename}, line {own[-1].lineno}).") from error
