"""Transitions recorded by another run, in place of environments."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.data.env_runner import AbstractRunner
from lightning_maxent.errors import MaxEntError
from lightning_maxent.transition import Transition


class Recording(AbstractRunner):
    """Replays the transitions of another run step by step; the actions given to ``step`` are ignored.

    The recording does not hold truncations.  An episode counts as ended if the next observation is not the first
    observation of the next step.  So a truncation is missed if the next episode begins in exactly that state, and after
    the last step.

    Args:
        rows: the transitions in their order, ``[time x env]``.
        num_envs: number of transitions per step.
        passed: number of transitions to skip at the start.
    """

    def __init__(self, rows: Transition, num_envs: int, passed: int):
        self._rows, self._num_envs, self._passed = rows, num_envs, passed
        self.obs = self._next().obs

    def step(self, action: Float[Tensor, "env action_dim"]) -> tuple[Transition, np.ndarray]:
        """The next transitions ``[env]``, and a mask ``[env]`` of the episodes that ended.

        Raises:
            MaxEntError: if the recording has no more transitions.
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
        """An empty list, because no episode is played."""
        return []

    def close(self) -> None:
        """Does nothing, because no environment is open."""

    def _next(self) -> Transition:
        return Transition(*(field[self._passed : self._passed + self._num_envs] for field in self._rows))
