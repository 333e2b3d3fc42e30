"""Exceptions for wrong input, whose messages say what is wrong and what to do."""

import site
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRACEBACK = "LIGHTNING_MAXENT_TRACEBACK"  # environment variable: if set, the command line prints the whole traceback
_OURS = Path(__file__).resolve().parent
_INSTALLED = {
    Path(folder).resolve()
    for folder in (
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        site.getusersitepackages(),
        *site.getsitepackages(),
    )
}
_STANDARD = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
FOREIGN = (Exception, SystemExit)  # errors of foreign code that are explained; KeyboardInterrupt is not among them
# Installed packages that call or are called by all code: an error inside them is reported at the line that called them.
_PASSED_THROUGH = (
    *("gymnasium", "jsonargparse", "lightning_fabric", "lightning_utilities", "numpy", "pytorch_lightning"),
    *("tensordict", "torch", "torchrl", "beartype", "jaxtyping"),
)


class MaxEntError(RuntimeError):
    """Its message says what is wrong and what to do; the command line prints it without a traceback."""


class DivergedError(MaxEntError):
    """Training has diverged; the last checkpoint must not be overwritten with the current state."""


class ForeignError(MaxEntError):
    """Code outside this package raised the ``__cause__``; the command line says how to see its full traceback."""


def check_positive(**numbers: int) -> None:
    """Raise ``MaxEntError`` for the first number below one; the message names it."""
    for name, number in numbers.items():
        if number < 1:
            raise MaxEntError(f"{name} must be at least 1, but is {number}.")


@contextmanager
def errors_of(who: str) -> Iterator[None]:
    """Turn an exception of foreign code into one sentence with the line that raised it.

    Args:
        who: the beginning of the sentence, the name of the code.

    Raises:
        ForeignError: "``who`` raised ...", with the original as its cause; a ``MaxEntError`` passes unchanged.
    """
    try:
        yield
    except MaxEntError:
        raise
    except FOREIGN as error:
        raise ForeignError(f"{who} raised {described(error)}.") from error


def broken_module(error: BaseException) -> ForeignError | None:
    """The error for a parse error whose root cause is in a module of the user; None for any other."""
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    own = any(code_owner_rank(frame.f_code.co_filename) == 2 for frame, _ in traceback.walk_tb(root.__traceback__))
    if root is error or not (own or isinstance(root, SyntaxError)):
        return None
    return ForeignError(f"A module of yours raised {described(root)}.")


@contextmanager
def restoring(what: str) -> Iterator[None]:
    """Turn an error about saved data that are not as they were written into one sentence.

    Args:
        what: the beginning of the sentence, the name of the data.

    Raises:
        MaxEntError: for any error but a ``MaxEntError``, which passes unchanged.
    """
    try:
        yield
    except MaxEntError:
        raise
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise MaxEntError(
            f"{what} cannot be restored ({type(error).__name__}: {text}): a part of it is missing, or was changed or "
            f"written by another version; resume from another checkpoint."
        ) from error


def described(error: BaseException) -> str:
    """Kind and text of an error in one line, with the line of code that raised it if it is known."""
    text = " ".join((str(error.msg) if isinstance(error, SyntaxError) else str(error)).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = source_line(error)
    return f"{what} ({place})" if place else what


def source_line(error: BaseException) -> str | None:
    """File and line of the user's code that raised an error, else of the installed package that raised it.

    None if only the standard library, this package, or packages such as torch and Lightning were involved.
    """
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        return f"{error.filename}, line {error.lineno}"
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ranks = [code_owner_rank(filename) for filename, _ in places]
    if not any(ranks):
        return source_line(error.__cause__) if error.__cause__ else None
    filename, line = places[max(range(len(places)), key=lambda depth: (ranks[depth], depth))]
    return f"{filename}, line {line}"


def code_owner_rank(filename: str) -> int:
    """Whose code a file holds: 2 the user's, 1 that of another installed package, 0 any other."""
    path = Path(filename).resolve()
    if filename.startswith("<") or path.is_relative_to(_OURS):  # "<frozen importlib._bootstrap>" and the like
        return 0
    for folder in _INSTALLED:
        if path.is_relative_to(folder):
            return int(path.relative_to(folder).parts[0] not in _PASSED_THROUGH)
    return 0 if any(path.is_relative_to(folder) for folder in _STANDARD) else 2
