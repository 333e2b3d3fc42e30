"""Matching pennies against an opponent who remembers."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from lightning_maxent.errors import MaxEntError


class MatchingPennies(gym.Env[Any, Any]):
    """Who always plays alike is found out: the one policy that cannot be exploited tosses a fair coin.

    The agent shows heads (0) or tails (1) while the opponent guesses which, and wins 1 if the guess is wrong, else
    loses 1.  The opponent guesses as the agent used to play: he recalls one of its past plays at random, a play ``k``
    plays old with weight ``(1 - 1/memory)^k``, and expects it again; without memories he tosses a coin.  Against a
    fixed policy that shows heads with probability p, this wins him ``(2p - 1)^2`` a play on average: everything from a
    deterministic one, nothing from the fair coin.

    An opponent who guesses the more frequent side (fictitious play, Brown 1951) would win ``|2p - 1|``, the policy's
    exploitability, but he turns over at the smallest imbalance, and who learns from a window of past plays runs in
    circles after him.  Recalling (probability matching, Vulkan 2000) is a smooth response, without a parameter, to
    which who always plays alike loses as much.

    ======== ==========================================================================================
    shows    nothing: always 0, of Discrete(1); the opponent's memory stays hidden
    actions  Discrete(2): heads, tails
    reward   ``payoff[action, guess]``: -1 if they match, else 1
    ends     never; the time limit truncates after 20 plays (``max_episode_steps`` of ``gymnasium.make``)
    ======== ==========================================================================================

    The memory outlives the episodes; only a reset with a seed clears it.  A learner with discount 0 faces a bandit whose
    payoffs follow its own habits.

    Args:
        memory: how many plays the opponent remembers, on average; at least 1 (the last play alone).

    Raises:
        MaxEntError: if ``memory`` is below 1.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own declaration
    payoff = np.array([[-1.0, 1.0], [1.0, -1.0]])  # [action, guess], to the agent; the opponent's is the negative

    def __init__(self, memory: int = 50):
        if memory < 1:
            raise MaxEntError(f"memory is {memory}, but the opponent must remember at least 1 play.")
        self.observation_space = spaces.Discrete(1)
        self.action_space = spaces.Discrete(2)
        self._fading = 1 - 1 / memory
        self._remembered = np.zeros(2)  # [side], the weight of the plays that showed it

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
