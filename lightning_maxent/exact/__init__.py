"""Exact solutions of small problems, as references for the algorithms and their tests.

The problems are finite MDPs, linear-quadratic problems, the multi-goal world and matrix games.

This package uses numpy and scipy in float64.  It shares no equation with the rest of ``lightning_maxent``, so an error
there cannot hide here.

Computing time in seconds on one CPU core, at the default tolerance, for MDPs with 4 actions that lead to 5 random
states each (sparse):

======================================  ============  ============  =============
states                                  1,000         5,000         20,000
======================================  ============  ============  =============
``evaluate_policy``                     0.003         0.01          0.05
``soft_policy_iteration``               0.04          0.1           0.5
``soft_value_iteration``, discount 0.9  0.03          0.15          0.7
the same, discount 0.99                 0.4           1.7           8
``entropy_regularized_policy``          0.06          0.2           0.8
======================================  ============  ============  =============

Time and memory are proportional to the number of transitions with a positive probability.  If every state leads to
every other state, this is the square of the number of states.  Value iteration takes about 25 / (1 - discount) sweeps.
Policy iteration takes five to twenty evaluations at any discount.
"""

from lightning_maxent.exact.games import exploitability, game_value
from lightning_maxent.exact.linear_quadratic import (
    LinearGaussianPolicy,
    LinearQuadratic,
    LinearQuadraticSolution,
    evaluate_linear_policy,
    solve_linear_quadratic,
)
from lightning_maxent.exact.mdp import FiniteMDP, random_mdp, read_mdp
from lightning_maxent.exact.memoryless import best_deterministic_policy, lift
from lightning_maxent.exact.multi_goal import MultiGoal, MultiGoalSolution, solve_multi_goal
from lightning_maxent.exact.solve import (
    Solution,
    boltzmann_policy,
    entropy_regularized_policy,
    evaluate_policy,
    expected_return,
    soft_bellman_operator,
    soft_policy_iteration,
    soft_value,
    soft_value_iteration,
    value_iteration,
)

__all__ = [
    "FiniteMDP",
    "LinearGaussianPolicy",
    "LinearQuadratic",
    "LinearQuadraticSolution",
    "MultiGoal",
    "MultiGoalSolution",
    "Solution",
    "best_deterministic_policy",
    "boltzmann_policy",
    "entropy_regularized_policy",
    "evaluate_linear_policy",
    "evaluate_policy",
    "expected_return",
    "exploitability",
    "game_value",
    "lift",
    "random_mdp",
    "read_mdp",
    "soft_bellman_operator",
    "soft_policy_iteration",
    "soft_value",
    "soft_value_iteration",
    "solve_linear_quadratic",
    "solve_multi_goal",
    "value_iteration",
]
