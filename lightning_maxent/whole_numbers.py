"""Whole numbers as people write them: ``1e4`` and ``32.0`` where an option is an integer."""

import re
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, get_args

from jsonargparse import _typehints

_adapt = _typehints.adapt_typehints
_or_float: ContextVar[bool] = ContextVar("_or_float", default=False)  # 1 and 1.0 mean different things there


def accept_whole_numbers() -> None:
    """Let all parsers of jsonargparse take ``1e4`` for 10000, from the command line and from files.

    An option that may be an integer or a float stays as it is: of Lightning's ``limit_val_batches``, 1 is one batch and 1.0
    all of them.  jsonargparse has no public way to convert what an option of a basic type is given.
    """
    _typehints.adapt_typehints = _adapt_whole_numbers


def _adapt_whole_numbers(val: Any, typehint: Any, **kwargs: Any) -> Any:
    if typehint is int and not _or_float.get():
        return _adapt(whole_number(val), typehint, **kwargs)
    token = _or_float.set(float in get_args(typehint))
    try:
        return _adapt(val, typehint, **kwargs)
    finally:
        _or_float.reset(token)


def whole_number(value: Any) -> Any:
    """The integer that a float or a text stands for; what stands for none is given back as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?([eE]\+?\d{1,2})?", value):
        number = Decimal(value)
        return int(number) if number == int(number) else value
    return value
