"""Exact solutions."""

from lightning_maxent.exact.games import exploitability, game_value
from lightning_maxent.exact.mdp import FiniteMDP, random_mdp, read_mdp
from lightning_maxent.exact.memoryless import best_deterministic_policy, lift
from lightning_maxent.exact.solve import (
    Solution,
    boltzmann_policy,
    entropy_regularised_policy,
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
    "Solution",
    "best_deterministic_policy",
    "boltzmann_policy",
    "entropy_regularised_policy",
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
    "value_iteration",
]
