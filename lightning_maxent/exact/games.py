"""Zero-sum matrix games: what a player can be sure of, and what a mixed strategy falls short of it.

``payoff[i, j]`` goes to the row player if the row player chooses ``i`` and the column player ``j``; the column player
pays it.
"""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact.checks import distribution


def game_value(payoff: ArrayLike) -> tuple[float, Float64[np.ndarray, " row"]]:
    """The value of the game to the row player, and probabilities of the rows that are sure of it on average.

    Maximizes ``v`` such that ``policy @ payoff >= v`` in every column (von Neumann 1928), a linear programme.  Where
    several policies are sure of the value, this is one of them.

    Raises:
        MaxEntError: if the payoffs are no matrix of finite numbers.
    """
    payoffs = _payoff(payoff)
    rows, columns = payoffs.shape
    lowest = payoffs.min()
    scale = np.ptp(payoffs) or 1.0  # the solver's tolerances are absolute
    found = linprog(
        c=np.append(np.zeros(rows), -1.0),
        A_ub=np.column_stack((-(payoffs - lowest).T / scale, np.ones(columns))),
        b_ub=np.zeros(columns),
        A_eq=np.append(np.ones(rows), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0.0, 1.0)] * (rows + 1),
    )
    weights = found.x[:rows].clip(min=0.0)
    policy = weights / weights.sum()
    return float((policy @ payoffs).min()), policy


def exploitability(payoff: ArrayLike, policy: ArrayLike) -> float:
    """What an opponent who knows the row player's policy gains over the value of the game; zero at an equilibrium.

    Raises:
        MaxEntError: if the payoffs are no matrix of finite numbers, or the policy no probabilities of its rows.
    """
    payoffs = _payoff(payoff)
    rows = distribution("The policy", policy, payoffs.shape[:1])
    return max(0.0, game_value(payoffs)[0] - float((rows @ payoffs).min()))


def _payoff(payoff: ArrayLike) -> Float64[np.ndarray, "row column"]:
    payoffs = np.array(payoff, dtype=np.float64)
    if payoffs.ndim != 2 or payoffs.size == 0 or not np.isfinite(payoffs).all():
        raise MaxEntError(
            f"The payoff must be a matrix [row action, column action] of finite numbers, but has the shape "
            f"{payoffs.shape} and {np.count_nonzero(~np.isfinite(payoffs))} entries that are not finite."
        )
    return payoffs
