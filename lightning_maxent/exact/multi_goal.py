"""The multi-goal world: four goals around the origin.  Its soft optimum is computed by convolution.

The world of Haarnoja et al. 2017 (arXiv 1702.08165), section 5.1.  A point moves in a square by at most one along each
axis, ``s' = clip(s + clip(a))``.  The reward of a step is ``-c ||a||^2 - d min_g ||s' - g||^2``.  If ``s'`` is nearer
to a goal than a threshold, the reward includes a bonus and the episode terminates.

With the reward multiplied by ``scale`` and the temperature ``alpha``, the value after a step depends on ``s'`` alone::

    U(s')  = scale (bonus done(s') - d min_g ||s' - g||^2) + gamma (1 - done(s')) V(s')
    Q(s,a) = -scale c ||a||^2 + U(s')
    V(s)   = alpha log integral exp(Q(s,a) / alpha) da

The integral over the box of actions is a convolution of ``exp(U / alpha)`` with a Gaussian truncated to the box, one
axis after the other.  Each sweep shrinks the distance to V* by the factor ``gamma`` or, because episodes terminate, by
far more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import convolve1d, maximum_filter
from scipy.stats import truncnorm

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact.checks import check_alpha

GOALS = ((5.0, 0.0), (-5.0, 0.0), (0.0, 5.0), (0.0, -5.0))
EDGE = 7.0  # the square is [-EDGE, EDGE]^2
CHANGE = 1e-10  # value iteration stops below this change of a sweep
LOG_RANGE = 600.0  # exp of a larger range does not fit into float64
FLAT = 1e-9  # replaces an actuation cost of zero, with no visible effect
ATTEMPTS = 1_000  # rejections after which a sample is drawn from a grid


@dataclass(frozen=True)
class MultiGoal:
    """The dynamics and the reward of the multi-goal world.

    Args:
        actuation_cost: ``c``, the cost per squared length of the action.
        distance_cost: ``d``, the cost per squared distance between the next state and the nearest goal.
        goal_reward: the bonus for reaching a goal.
        goal_threshold: a goal is reached at a smaller distance than this.
        goals: the positions of the goals in the square.

    Raises:
        MaxEntError: for numbers that are not finite, a negative cost, a threshold that is not positive, or no goal.
    """

    actuation_cost: float = 30.0
    distance_cost: float = 1.0
    goal_reward: float = 10.0
    goal_threshold: float = 1.0
    goals: Sequence[Sequence[float]] = GOALS

    def __post_init__(self) -> None:
        for name in ("actuation_cost", "distance_cost"):
            if not 0 <= getattr(self, name) < np.inf:
                raise MaxEntError(f"{name} must be finite and not negative, but is {getattr(self, name)}.")
        if not np.isfinite(self.goal_reward):
            raise MaxEntError(f"goal_reward must be finite, but is {self.goal_reward}.")
        if not 0 < self.goal_threshold < np.inf:
            raise MaxEntError(f"goal_threshold must be positive and finite, but is {self.goal_threshold}.")
        try:
            places = np.array(self.goals, np.float64)
        except (TypeError, ValueError):  # ragged, or no numbers
            places = np.empty((0, 0))
        if places.ndim != 2 or places.shape[1] != 2 or not len(places) or not (np.abs(places) <= EDGE).all():
            raise MaxEntError(f"goals must be one or more positions within {EDGE:g} of 0, but are {self.goals}.")

    def after(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch 2"]:
        """The next states ``s' = clip(s + clip(a))`` of states and actions ``[*batch, 2]``."""
        return np.clip(np.asarray(state, np.float64) + np.clip(np.asarray(action, np.float64), -1, 1), -EDGE, EDGE)

    def goal_distance(self, state: ArrayLike) -> Float64[np.ndarray, "*batch goal"]:
        """Distances of states ``[*batch, 2]`` to every goal."""
        return np.linalg.norm(np.asarray(state, np.float64)[..., None, :] - np.array(self.goals), axis=-1)

    def there(self, state: ArrayLike) -> Bool[np.ndarray, "*batch"]:
        """Whether states ``[*batch, 2]`` are at a goal, where episodes terminate."""
        return np.asarray(self.goal_distance(state).min(-1) < self.goal_threshold)

    def pay(self, state: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """The reward of next states ``[*batch, 2]``, without the cost of the action."""
        nearest = self.goal_distance(state).min(-1)
        return np.asarray(self.goal_reward * (nearest < self.goal_threshold) - self.distance_cost * nearest**2)

    def reward(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """The reward of actions ``[*batch, 2]`` in states ``[*batch, 2]``; the cost is that of the clipped action."""
        clipped = np.clip(np.asarray(action, np.float64), -1, 1)
        return np.asarray(self.pay(self.after(state, clipped)) - self.actuation_cost * (clipped**2).sum(-1))


class Density(NamedTuple):
    """The density ``pi(.|s)`` in one state on a grid of actions with the same points along both axes."""

    actions: Float64[np.ndarray, " side"]
    density: Float64[np.ndarray, "side side"]
    weights: Float64[np.ndarray, "side side"]
    """The weights of the trapezoidal rule: ``(weights * density * f).sum()`` is the expectation of ``f``."""

    @property
    def entropy(self) -> float:
        """The entropy in nats; log 4 = 1.386 for the uniform density."""
        positive = self.density > 0
        return -float((self.weights * self.density)[positive] @ np.log(self.density[positive]))

    @property
    def squared_length(self) -> float:
        """``E ||a||^2``; 2/3 for the uniform density."""
        square = self.actions[:, None] ** 2 + self.actions[None, :] ** 2
        return float((self.weights * self.density * square).sum())

    def modes(self) -> Float64[np.ndarray, "mode 2"]:
        """Actions with a higher density than all their neighbors on the grid."""
        neighbors = np.ones((3, 3), bool)
        neighbors[1, 1] = False
        higher = self.density > maximum_filter(self.density, footprint=neighbors, mode="constant", cval=-np.inf)
        return self.actions[np.argwhere(higher)]

    def draw(self, rng: np.random.Generator) -> Float64[np.ndarray, "2"]:
        """One action: a random point of the grid, and then uniform in the cell around it."""
        mass = (self.weights * self.density).ravel()
        chosen = self.actions[
            np.array(np.unravel_index(rng.choice(mass.size, p=mass / mass.sum()), self.density.shape))
        ]
        half = (self.actions[1] - self.actions[0]) / 2
        return rng.uniform(np.maximum(chosen - half, -1), np.minimum(chosen + half, 1))

    def cells(self, side: int) -> Float64[np.ndarray, "cell cell"]:
        """Probabilities of ``side x side`` equal cells of the box of actions."""
        cumulative = np.zeros((len(self.actions), len(self.actions)))
        step = self.actions[1] - self.actions[0]
        along = (self.density[1:] + self.density[:-1]) * step / 2
        cumulative[1:, 1:] = ((along[:, 1:] + along[:, :-1]) * step / 2).cumsum(0).cumsum(1)
        edges = np.linspace(-1, 1, side + 1)
        corners = RegularGridInterpolator((self.actions, self.actions), cumulative)(
            np.stack(np.meshgrid(edges, edges, indexing="ij"), -1)
        )
        mass = np.diff(np.diff(corners, axis=0), axis=1)
        return mass / mass.sum()


class MultiGoalSolution:
    """The policy that maximizes ``E[sum_t gamma^t (scale r_t + alpha H(pi(.|s_t)))]``, and its soft values.

    Values are in units of scaled reward.  Actions are vectors in ``[-1, 1]^2``, and densities and entropies refer to
    this box.
    """

    def __init__(
        self, world: MultiGoal, alpha: float, reward_scale: float, discount: float, axis: np.ndarray, values: np.ndarray
    ):
        self.world, self.alpha, self.reward_scale, self.discount = world, alpha, reward_scale, discount
        self.axis, self.values = axis, values
        self._between = RegularGridInterpolator((axis, axis), values)

    def value(self, state: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """``V*(s)`` of states ``[*batch, 2]``, interpolated linearly between the points of the grid."""
        inside = np.clip(np.asarray(state, np.float64), -EDGE, EDGE)
        return self._between(inside).reshape(inside.shape[:-1])

    def q_value(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """``Q*(s,a)`` of states and actions ``[*batch, 2]``; it does not include the entropy of the policy in ``s``."""
        played = np.clip(np.asarray(action, np.float64), -1, 1)
        effort = self.reward_scale * self.world.actuation_cost * (played**2).sum(-1)
        return np.asarray(self._worth(self.world.after(state, played)) - effort)

    def log_prob(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """``log pi*(a|s) = (Q*(s,a) - V*(s)) / alpha`` of states and actions ``[*batch, 2]``; -inf outside the box."""
        inside = (np.abs(action) <= 1).all(-1)
        return np.where(inside, (self.q_value(state, action) - self.value(state)) / self.alpha, -np.inf)

    def density(self, state: ArrayLike, side: int = 201) -> Density:
        """``pi*(.|s)`` in one state ``[2]``, on a grid of ``side x side`` actions."""
        actions, weights = _trapezoid(side)
        grid = np.stack(np.meshgrid(actions, actions, indexing="ij"), -1)
        log_prob = self.log_prob(np.broadcast_to(np.asarray(state, np.float64), grid.shape), grid)
        both = weights[:, None] * weights[None, :]
        density = np.exp(log_prob - log_prob.max())
        return Density(actions, density / (both * density).sum(), both)

    def sample(self, state: Float64[np.ndarray, "batch 2"], rng: np.random.Generator) -> Float64[np.ndarray, "batch 2"]:
        """One action of ``pi*`` for each state, by rejection sampling.

        Actions are proposed with density proportional to ``exp(-scale c ||a||^2 / alpha)`` and accepted with
        probability ``exp((U(s') - bound) / alpha)``.  At low temperatures all ``ATTEMPTS`` proposals may be rejected;
        then the action is drawn from the density on a grid.
        """
        state, action = np.asarray(state, np.float64), np.empty(np.shape(state))
        row, column = np.rint((np.clip(state, -EDGE, EDGE) + EDGE) / (self.axis[1] - self.axis[0])).astype(int).T
        bound = self._highest_within_reach[row, column]
        spread = np.sqrt(self.alpha / (2 * self.reward_scale * max(self.world.actuation_cost, FLAT)))
        left = np.arange(len(state))
        for _ in range(ATTEMPTS):
            if not len(left):
                break
            proposed = np.asarray(
                truncnorm.rvs(-1 / spread, 1 / spread, scale=spread, size=(len(left), 2), random_state=rng)
            )
            worth = self._worth(self.world.after(state[left], proposed))
            accepted = np.log(rng.random(len(left))) < (worth - bound[left]) / self.alpha
            action[left[accepted]] = proposed[accepted]
            left = left[~accepted]
        for index in left:
            action[index] = self.density(state[index]).draw(rng)
        return action

    def _worth(self, after: Float64[np.ndarray, "*batch 2"]) -> Float64[np.ndarray, "*batch"]:
        """``U(s')``: the reward of the next state and the discounted value after it."""
        follows = np.where(self.world.there(after), 0.0, self.discount * self.value(after))
        return np.asarray(self.reward_scale * self.world.pay(after) + follows)

    @cached_property
    def _highest_within_reach(self) -> Float64[np.ndarray, "side side"]:
        """An upper bound of ``U`` over all next states of every point of the grid."""
        spacing = self.axis[1] - self.axis[0]
        grid = self._worth(np.stack(np.meshgrid(self.axis, self.axis, indexing="ij"), -1))
        around = maximum_filter(grid, size=2 * round(1 / spacing) + 5, mode="nearest")  # two points wider than actions
        return around + np.ptp(grid) * spacing / 10  # U may be higher between the points of the grid


def solve_multi_goal(
    world: MultiGoal | None = None,
    alpha: float = 1.0,
    reward_scale: float = 0.1,
    discount: float = 0.99,
    spacing: float = 0.05,
) -> MultiGoalSolution:
    """Soft value iteration by separable convolution.  It takes half a second at the default spacing.

    The error comes from the grid at the edge of the bonus.  With the default settings, V* at the origin changes by .022
    from a spacing of .1 to .05, and by .007 from .05 to .025.

    Args:
        world: the costs, the bonus and the goals; by default those of the paper.
        alpha: the temperature, in units of scaled reward per nat.
        reward_scale: the factor of the rewards; the policy depends only on ``alpha / reward_scale``.
        discount: in [0, 1].
        spacing: the distance between points of the grid; 1 divided by a whole number.

    Raises:
        MaxEntError: for a temperature or scale that is not positive, a discount outside [0, 1], a spacing that does
            not divide 1 or is too large for the goals, a temperature too low for the spacing or for float64, or a
            discount too high for float64.
    """
    world = world or MultiGoal()
    check_alpha(alpha)
    if alpha == 0:
        raise MaxEntError("The temperature alpha must be positive, but is 0: the best policy then has no density.")
    if not 0 < reward_scale < np.inf:
        raise MaxEntError(f"reward_scale must be positive and finite, but is {reward_scale}.")
    if not 0 <= discount <= 1:
        raise MaxEntError(f"The discount must lie in [0, 1], but is {discount}.")
    steps = round(1 / spacing) if 0 < spacing <= 1 else 0
    if not steps or not np.isclose(steps * spacing, 1):
        raise MaxEntError(f"The spacing must be 1 divided by a whole number, but is {spacing}.")
    if world.goal_threshold < 2 * spacing:
        raise MaxEntError(
            f"With the goal_threshold {world.goal_threshold:g}, a goal may lie between points of the grid, which are "
            f"{spacing:g} apart: give a spacing of at most half the goal_threshold."
        )
    steepness = reward_scale * world.actuation_cost / alpha
    if steepness * spacing**2 > 1:  # the grid does not resolve a narrower Gaussian
        raise MaxEntError(
            f"At this temperature the policy's width is about {steepness**-0.5:.2g}, less than the spacing {spacing}: "
            f"give a smaller spacing or a higher alpha."
        )
    axis = np.linspace(-EDGE, EDGE, 2 * round(EDGE * steps) + 1)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    pay, goes_on = reward_scale * world.pay(points), ~world.there(points)
    actions, weights = _trapezoid(2 * steps + 1)
    kernel = weights * np.exp(-steepness * actions**2)
    values = np.zeros_like(pay)
    for _ in range(100_000):
        rest = pay + discount * goes_on * values
        highest = rest.max()
        if (highest - rest.min()) / alpha > LOG_RANGE:
            why = (
                f"the discount {discount} is too high for float64, because the later entropies add up to too much"
                if highest > pay.max()
                else f"the temperature {alpha} is too low for float64"
            )
            raise MaxEntError(
                f"With these costs {why}: values differ by {highest - rest.min():.3g}, and may differ by "
                f"{LOG_RANGE:.0f} alpha at most."
            )
        mass = np.exp((rest - highest) / alpha)
        for along in (0, 1):
            mass = convolve1d(mass, kernel, axis=along, mode="nearest")  # repeats the edge, because s' is clipped
        before, values = values, alpha * np.log(mass) + highest
        if np.abs(values - before).max() < CHANGE:
            return MultiGoalSolution(world, alpha, reward_scale, discount, axis, values)
    raise MaxEntError("Soft values did not converge: with these costs the discount must be below 1.")


def _trapezoid(points: int) -> tuple[Float64[np.ndarray, " side"], Float64[np.ndarray, " side"]]:
    """Equidistant points on [-1, 1] and their weights in the trapezoidal rule."""
    weights = np.full(points, 2 / (points - 1))
    weights[[0, -1]] /= 2
    return np.linspace(-1, 1, points), weights
