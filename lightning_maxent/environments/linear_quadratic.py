"""Linear dynamics, quadratic costs, bounded actions."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import LinearQuadratic

DYNAMICS = [[1.0, 0.2], [0.0, 0.8]]  # a position, and a velocity that friction slows down
CONTROL = [[0.0], [0.5]]
STATE_COST = [[1.0, 0.0], [0.0, 1.0]]
ACTION_COST = [[8.0]]
LARGEST = np.finfo(np.float32).max  # Gymnasium's checker takes infinite bounds for a mistake


class LinearQuadraticEnv(gym.Env[Any, Any]):
    """Continuous actions and a soft optimum in closed form: what a learner's V, Q, policy and entropy should become.

    By default a body on a line is to be brought to rest at the origin.  ``lightning_maxent.exact.solve_linear_quadratic``
    solves ``env.unwrapped.world``, in which actions are any vectors; here they are advised to keep to a box (one that
    does not is played nevertheless).  With the default matrices, temperatures up to 0.5 and discounts up to 0.99, the
    edge of the box is more than four standard deviations from the best policy's mean in every state of the start, so
    that neither the box nor a squashing function costs a learner much.

    A learner's actions and entropies are in parts of ``bound``, and its values those of ``world.rescaled(bound)``;
    at the default bound of 1, that is ``world`` itself.  A value takes the episode to go on for ever, as does a learner
    that bootstraps from truncated steps.

    ======== ==========================================================================================
    shows    the state: Box, as wide as float32 is
    actions  Box, from ``-bound`` to ``bound``
    reward   ``-(s'Qs + a'Ra)`` of the state and the action before the step
    ends     never; the time limit truncates after 50 steps (``max_episode_steps`` of ``gymnasium.make``)
    ======== ==========================================================================================

    Args:
        dynamics: ``A`` of the next state's mean ``As + Ba``, ``[state, state]``.
        control: ``B``, ``[state, action]``.
        state_cost: ``Q``, ``[state, state]``.
        action_cost: ``R``, ``[action, action]``.
        noise: covariance of the next state, ``[state, state]``; none if left out.
        discount: of ``world``'s values; the play knows none.
        bound: the largest action.
        start: episodes begin uniformly in ``[-start, start]`` on every axis.

    Raises:
        MaxEntError: for what ``LinearQuadratic`` refuses, or a bound or start that is not positive and finite.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own declaration
    state: np.ndarray

    def __init__(
        self,
        dynamics: ArrayLike = DYNAMICS,
        control: ArrayLike = CONTROL,
        state_cost: ArrayLike = STATE_COST,
        action_cost: ArrayLike = ACTION_COST,
        noise: ArrayLike | None = None,
        discount: float = 0.95,
        bound: float = 1.0,
        start: float = 0.5,
    ):
        for name, size in (("bound", bound), ("start", start)):
            if not (np.isfinite(size) and size > 0):
                raise MaxEntError(f"{name} must be positive and finite, but is {size}.")
        self.world = LinearQuadratic(dynamics, control, state_cost, action_cost, discount, noise)
        self.bound, self.start = bound, start
        self.observation_space = spaces.Box(-LARGEST, LARGEST, (self.world.state_dim,), np.float32)
        self.action_space = spaces.Box(-bound, bound, (self.world.action_dim,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-self.start, self.start, self.world.state_dim)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(self.world.reward(self.state, action))
        mean = self.world.mean_after(self.state, action)
        self.state = self.np_random.multivariate_normal(mean, self.world.noise, method="eigh")
        return self._observe(), reward, False, False, {}

    def _observe(self) -> np.ndarray:
        return self.state.astype(np.float32)
