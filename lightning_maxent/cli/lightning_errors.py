"""The sentences of errors that Lightning, or MLflow below its logger, raises on purpose."""

import linecache
import re
from types import FrameType, TracebackType

LIGHTNING = ("pytorch_lightning", "lightning_fabric", "lightning_utilities")
REFUSING = (*LIGHTNING, "mlflow")  # packages whose deliberate errors are about wrong input


def refusal_of_lightning(error: BaseException | None) -> str | None:
    """The message of an error that a ``raise`` statement in Lightning or MLflow raised; None for any other error.

    Such an error is about wrong input.  Any other error inside Lightning is a bug and keeps its traceback.
    jsonargparse, which builds callbacks and loggers, wraps such errors into its own.
    """
    while error is not None and (raised := _innermost(error.__traceback__)) is not None:
        frame = raised.tb_frame
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        line = linecache.getline(frame.f_code.co_filename, raised.tb_lineno)
        if package in REFUSING and line.lstrip().startswith("raise "):
            return _sentence(error, frame)
        if package != "jsonargparse":
            return None
        error = error.__cause__ or error.__context__
    return None


def _sentence(error: BaseException, frame: FrameType) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError):
        who = type(frame.f_locals.get("self", error)).__name__
        needed = re.findall(r"pip install -U '?([\w.-]+)", text) or re.findall(r"`([\w.-]+)`", text)[:1]
        # Of several that Lightning would take, the last is the one with a viewer: tensorboardX, tensorboard.
        return f"{who} needs a package that is not installed: pip install {needed[-1]}." if needed else text
    return text


def _innermost(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback
