"""Accepts ``1e4`` and ``32.0`` as values of integer options."""

import re
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, get_args

from jsonargparse import _typehints

_adapt = _typehints.adapt_typehints
_or_float: ContextVar[bool] = ContextVar("_or_float", default=False)  # whether the option may also be a float


def accept_whole_numbers() -> None:
    """Make all parsers of jsonargparse accept ``1e4`` as 10000, from the command line and from files.

    Options that may be integers or floats are not converted: for Lightning's ``limit_val_batches``, 1 is one batch and
    1.0 is all batches.  jsonargparse has no public way to convert the values of basic types.
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
    """The integer that equals a float or a text; any other value is returned unchanged."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?([eE]\+?\d{1,2})?", value):
        number = Decimal(value)
        return int(number) if number == int(number) else value
    return value
