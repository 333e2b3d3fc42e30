"""Data that was met before."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.data.env_runner import AbstractRunner
from lightning_maxent.errors import MaxEntError
from lightning_maxent.transition import Transition


class Recording(AbstractRunner):
    """What another run has met, step by step, whatever the action.

    That a time limit ended an episode is seen by the next one's beginning elsewhere: not where that is the very state, nor
    after the last step.

    Args:
        rows: in the order in which they were met, ``[time x env]``.
        num_envs: how many of them belong to one step.
        passed: how many to begin after.
    """

    def __init__(self, rows: Transition, num_envs: int, passed: int):
        self._rows, self._num_envs, self._passed = rows, num_envs, passed
        self.obs = self._next().obs

    def step(self, action: Float[Tensor, "env action_dim"]) -> tuple[Transition, np.ndarray]:
        """The next transitions ``[env]``, and a mask ``[env]`` of episodes that ended: what follows begins elsewhere.

        Raises:
            MaxEntError: if there is none.
        """
        if self._passed + self._num_envs > len(self._rows.reward):
            raise MaxEntError(
                f"The recording ends at {self._passed:,} environment steps: set max_steps to no more than that."
            )
        met = self._next()
        self._passed += self._num_envs
        if self._passed == len(self._rows.reward):
            return met, met.terminated.numpy()
        self.obs = self._next().obs
        return met, (met.terminated | (self.obs != met.next_obs).any(-1)).numpy()

    def drain_returns(self) -> list[tuple[float, int]]:
        """None: no episode was played."""
        return []

    def close(self) -> None:
        """Nothing was opened."""

    def _next(self) -> Transition:
        return Transition(*(field[self._passed : self._passed + self._num_envs] for field in self._rows))
