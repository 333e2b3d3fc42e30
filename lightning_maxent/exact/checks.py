"""Checks of arguments that several exact solvers share."""

import math

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from lightning_maxent.errors import MaxEntError

ROUNDING = 1e-6  # allowed deviation of a sum of probabilities from one; sums in float32 are no more accurate


def check_alpha(alpha: float) -> None:
    """Raise ``MaxEntError`` unless the temperature is finite and not negative."""
    if not (math.isfinite(alpha) and alpha >= 0):
        raise MaxEntError(f"The temperature alpha must be finite and not negative, but is {alpha}.")


def check_discount(discount: float) -> None:
    """Raise ``MaxEntError`` unless the discount lies in [0, 1]."""
    if not 0 <= discount <= 1:
        raise MaxEntError(f"The discount must lie in [0, 1], but is {discount}.")


def check_tolerance(tolerance: float) -> None:
    """Raise ``MaxEntError`` unless the tolerance is finite and positive."""
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise MaxEntError(f"The tolerance must be finite and positive, but is {tolerance}.")


def check_horizon(horizon: int | None) -> None:
    """Raise ``MaxEntError`` for a negative number of steps; None means no limit."""
    if horizon is not None and horizon < 0:
        raise MaxEntError(f"The horizon must be a number of steps or None, but is {horizon}.")


def distribution(name: str, given: ArrayLike, shape: tuple[int, ...]) -> Float64[np.ndarray, "*shape"]:
    """A copy of ``given`` as float64, checked to hold probabilities along its last axis.

    Raises:
        MaxEntError: if its shape is not ``shape`` or it does not hold probabilities; the message begins with ``name``.
    """
    probabilities = np.array(given, dtype=np.float64)
    if probabilities.shape != shape:
        raise MaxEntError(f"{name} must have the shape {shape}, but has {probabilities.shape}.")
    sums, smallest = np.atleast_1d(probabilities.sum(-1)), np.atleast_1d(probabilities.min(-1))
    wrong = ~((np.abs(sums - 1) <= ROUNDING) & (smallest >= 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        where = f"in row {row} " if len(shape) > 1 else ""
        raise MaxEntError(
            f"{name} must hold probabilities that sum to one, but {where}their sum is {sums[row]} and the smallest is "
            f"{smallest[row]}."
        )
    return probabilities
