"""Matching pennies against an opponent who remembers earlier actions."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lightning_maxent.errors import MaxEntError


class MatchingPennies(gym.Env[Any, Any]):
    """A repeated zero-sum game; the only policy that the opponent cannot exploit is uniform over both actions.

    The agent shows heads (0) or tails (1), and the opponent guesses which.  The agent wins 1 if the guess is wrong,
    else it loses 1.  The opponent draws one of the agent's earlier actions, the action ``k`` steps ago with weight
    ``(1 - 1/memory)^k``, and guesses that it is repeated.  Without earlier actions, the guess is uniform.  Against a
    fixed policy that shows heads with probability p, the opponent wins ``(2p - 1)^2`` a step on average: 1 against a
    deterministic policy, 0 against the uniform one.

    An opponent who always guesses the more frequent action (fictitious play, Brown 1951) would win ``|2p - 1|``, the
    exploitability of the policy.  But such a guess changes at the smallest imbalance, and a policy that learns from
    recent steps then cycles and does not converge.  Drawing an earlier action (probability matching, Vulkan 2000) is a
    smooth response without a parameter, against which a deterministic policy loses just as much.

    ======== ==========================================================================================
    obs      always 0, of Discrete(1); the opponent's memory is hidden
    actions  Discrete(2): heads, tails
    reward   ``payoff[action, guess]``: -1 if they match, else 1
    ends     never; the time limit truncates after 20 steps (``max_episode_steps`` of ``gymnasium.make``)
    ======== ==========================================================================================

    The memory is kept between episodes; only a reset with a seed clears it.  For a learner with discount 0 this is a
    bandit whose payoffs depend on its own earlier actions.

    Args:
        memory: the number of actions that the opponent remembers, on average; at least 1 (only the last action).

    Raises:
        MaxEntError: if ``memory`` is below 1.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own declaration
    payoff = np.array([[-1.0, 1.0], [1.0, -1.0]])  # [action, guess], of the agent; the opponent gets the negative

    def __init__(self, memory: int = 50):
        if memory < 1:
            raise MaxEntError(f"memory must be at least 1 action, but is {memory}.")
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(2)
        self._fading = 1 - 1 / memory
        self._remembered = np.zeros(2)  # [action], the total weight of its earlier uses

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._remembered[:] = 0
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        shown, guess = int(action), self._guess()
        self._remembered *= self._fading
        self._remembered[shown] += 1
        return 0, float(self.payoff[shown, guess]), False, False, {}

    def _guess(self) -> int:
        heads, tails = self._remembered if self._remembered.any() else (1, 1)
        return int(self.np_random.random() * (heads + tails) >= heads)
