"""Zero-sum matrix games: the value of a game, and the exploitability of a mixed strategy.

If the row player chooses ``i`` and the column player ``j``, the column player pays ``payoff[i, j]`` to the row player.
"""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact.checks import distribution


def game_value(payoff: ArrayLike) -> tuple[float, Float64[np.ndarray, " row"]]:
    """The value of the game to the row player, and an optimal policy: probabilities of the rows.

    Maximizes ``v`` subject to ``policy @ payoff >= v`` in every column (von Neumann 1928), a linear program.  If there
    are several optimal policies, this returns one of them.

    Raises:
        MaxEntError: if the payoffs are not a matrix of finite numbers.
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
    """The value of the game minus the payoff of ``policy`` against its best response; zero at an equilibrium.

    Raises:
        MaxEntError: if the payoffs are not a matrix of finite numbers, or the policy does not hold one probability per
            row.
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
