"""An environment with linear dynamics and quadratic costs, whose soft optimum is known in closed form."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import LinearQuadratic

DYNAMICS = [[1.0, 0.2], [0.0, 0.8]]  # a position, and a velocity with friction
CONTROL = [[0.0], [0.5]]
STATE_COST = [[1.0, 0.0], [0.0, 1.0]]
ACTION_COST = [[8.0]]
LARGEST = np.finfo(np.float32).max  # Gymnasium's checker warns of infinite bounds


class LinearQuadraticEnv(gym.Env[Any, Any]):
    """Continuous actions and a known soft optimum, with which the learned V, Q, policy and entropy can be compared.

    By default, the task is to bring a mass on a line to rest at the origin.
    ``lightning_maxent.exact.solve_linear_quadratic`` solves ``env.unwrapped.world``, which has unbounded actions.  The
    action space here is a box, but actions outside it are executed unchanged.  With the default matrices, temperatures
    up to 0.5 and discounts up to 0.99, the edge of the box is more than four standard deviations from the mean of the
    best policy in all initial states.  So neither the box nor a squashing function changes the soft optimum much.

    A learner's actions and entropies are in units of ``bound``, and its values are those of ``world.rescaled(bound)``;
    for the default bound of 1 this is ``world``.  The exact values are those of endless episodes, as are the values of
    a learner that bootstraps from truncated steps.

    ======== ==========================================================================================
    obs      the state: Box over all of float32
    actions  Box, from ``-bound`` to ``bound``
    reward   ``-(s'Qs + a'Ra)`` of the state and the action before the step
    ends     never; the time limit truncates after 50 steps (``max_episode_steps`` of ``gymnasium.make``)
    ======== ==========================================================================================

    Args:
        dynamics: ``A`` of the next state's mean ``As + Ba``, ``[state, state]``.
        control: ``B``, ``[state, action]``.
        state_cost: ``Q``, ``[state, state]``.
        action_cost: ``R``, ``[action, action]``.
        noise: covariance of the next state, ``[state, state]``; zero by default.
        discount: the discount of ``world``; it does not influence the environment itself.
        bound: the largest action.
        start: initial states are uniform in ``[-start, start]`` along every axis.

    Raises:
        MaxEntError: if ``LinearQuadratic`` refuses the matrices or the discount, or if the bound or start is not
            positive and finite.
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
