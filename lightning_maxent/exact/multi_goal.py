"""Four goals around an origin: a continuous world whose soft optimum is computed by convolution.

The world of Haarnoja et al. 2017 (arXiv 1702.08165), section 5.1.  A point moves in a square by at most one on either
axis, ``s' = clip(s + clip(a))``; a step pays ``-c ||a||^2 - d min_g ||s' - g||^2`` and, where it ends nearer than a
threshold to a goal, a bonus, and the episode ends.

With the reward multiplied by ``scale`` and the temperature ``alpha``, what follows a step depends on ``s'`` alone::

    U(s')  = scale (bonus done(s') - d min_g ||s' - g||^2) + gamma (1 - done(s')) V(s')
    Q(s,a) = -scale c ||a||^2 + U(s')
    V(s)   = alpha log integral exp(Q(s,a) / alpha) da

and the integral over the box of actions is a convolution of ``exp(U / alpha)`` with a Gaussian cut off at the box, one
axis after the other.  Repeating it contracts to V* by ``gamma`` per sweep, in fact far faster, since episodes end.
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
EDGE = 7.0  # of the square, on either side
CHANGE = 1e-10  # between two sweeps, at which value iteration stops
LOG_RANGE = 600.0  # exp of more leaves float64
FLAT = 1e-9  # an actuation cost that makes no difference
ATTEMPTS = 1_000  # of a sample by rejection


@dataclass(frozen=True)
class MultiGoal:
    """The world itself: how a point moves and what that pays.

    Args:
        actuation_cost: ``c``, per squared length of the action.
        distance_cost: ``d``, per squared distance to the nearest goal, after the step.
        goal_reward: the bonus for reaching a goal.
        goal_threshold: how near is there.
        goals: their positions in the square.

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
        """``s' = clip(s + clip(a))`` of states and actions ``[*batch, 2]``."""
        return np.clip(np.asarray(state, np.float64) + np.clip(np.asarray(action, np.float64), -1, 1), -EDGE, EDGE)

    def goal_distance(self, state: ArrayLike) -> Float64[np.ndarray, "*batch goal"]:
        """Distances of states ``[*batch, 2]`` to every goal."""
        return np.linalg.norm(np.asarray(state, np.float64)[..., None, :] - np.array(self.goals), axis=-1)

    def there(self, state: ArrayLike) -> Bool[np.ndarray, "*batch"]:
        """Whether states ``[*batch, 2]`` are at a goal."""
        return np.asarray(self.goal_distance(state).min(-1) < self.goal_threshold)

    def pay(self, state: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """What arriving at states ``[*batch, 2]`` pays, apart from the cost of the action."""
        nearest = self.goal_distance(state).min(-1)
        return np.asarray(self.goal_reward * (nearest < self.goal_threshold) - self.distance_cost * nearest**2)

    def reward(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """The reward of actions ``[*batch, 2]`` in states ``[*batch, 2]``; lengths count after clipping to the box."""
        clipped = np.clip(np.asarray(action, np.float64), -1, 1)
        return np.asarray(self.pay(self.after(state, clipped)) - self.actuation_cost * (clipped**2).sum(-1))


class Density(NamedTuple):
    """``pi(.|s)`` of one state on a grid of actions, the same on both axes."""

    actions: Float64[np.ndarray, " side"]
    density: Float64[np.ndarray, "side side"]
    weights: Float64[np.ndarray, "side side"]
    """Of the trapezoid rule: ``(weights * density * f).sum()`` is the expectation of ``f``."""

    @property
    def entropy(self) -> float:
        """In nats; log 4 = 1.386 if uniform."""
        positive = self.density > 0
        return -float((self.weights * self.density)[positive] @ np.log(self.density[positive]))

    @property
    def squared_length(self) -> float:
        """``E ||a||^2``; 2/3 if uniform."""
        square = self.actions[:, None] ** 2 + self.actions[None, :] ** 2
        return float((self.weights * self.density * square).sum())

    def modes(self) -> Float64[np.ndarray, "mode 2"]:
        """Actions whose density is higher than that of all their neighbors on the grid."""
        neighbors = np.ones((3, 3), bool)
        neighbors[1, 1] = False
        higher = self.density > maximum_filter(self.density, footprint=neighbors, mode="constant", cval=-np.inf)
        return self.actions[np.argwhere(higher)]

    def draw(self, rng: np.random.Generator) -> Float64[np.ndarray, "2"]:
        """One action: a point of the grid, and uniform in its cell."""
        mass = (self.weights * self.density).ravel()
        chosen = self.actions[
            np.array(np.unravel_index(rng.choice(mass.size, p=mass / mass.sum()), self.density.shape))
        ]
        half = (self.actions[1] - self.actions[0]) / 2
        return rng.uniform(np.maximum(chosen - half, -1), np.minimum(chosen + half, 1))

    def cells(self, side: int) -> Float64[np.ndarray, "cell cell"]:
        """Probability of each of ``side x side`` equal cells of the box."""
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
    """Soft values and the best policy of objective (16), for one temperature, reward scale and discount.

    Values are in units of scaled reward; actions are vectors in ``[-1, 1]^2`` and entropies those of densities there.
    """

    def __init__(
        self, world: MultiGoal, alpha: float, reward_scale: float, discount: float, axis: np.ndarray, values: np.ndarray
    ):
        self.world, self.alpha, self.reward_scale, self.discount = world, alpha, reward_scale, discount
        self.axis, self.values = axis, values
        self._between = RegularGridInterpolator((axis, axis), values)

    def value(self, state: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """``V*(s)`` of states ``[*batch, 2]``, linear between points of the grid."""
        inside = np.clip(np.asarray(state, np.float64), -EDGE, EDGE)
        return self._between(inside).reshape(inside.shape[:-1])

    def q_value(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """``Q*(s,a)`` of states and actions ``[*batch, 2]``; it does not pay the entropy of its own action."""
        played = np.clip(np.asarray(action, np.float64), -1, 1)
        effort = self.reward_scale * self.world.actuation_cost * (played**2).sum(-1)
        return np.asarray(self._worth(self.world.after(state, played)) - effort)

    def log_prob(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"]:
        """``log pi*(a|s) = (Q*(s,a) - V*(s)) / alpha`` of states and actions ``[*batch, 2]``; none outside the box."""
        inside = (np.abs(action) <= 1).all(-1)
        return np.where(inside, (self.q_value(state, action) - self.value(state)) / self.alpha, -np.inf)

    def density(self, state: ArrayLike, side: int = 201) -> Density:
        """``pi*(.|s)`` of one state ``[2]`` on ``side x side`` actions."""
        actions, weights = _trapezoid(side)
        grid = np.stack(np.meshgrid(actions, actions, indexing="ij"), -1)
        log_prob = self.log_prob(np.broadcast_to(np.asarray(state, np.float64), grid.shape), grid)
        both = weights[:, None] * weights[None, :]
        density = np.exp(log_prob - log_prob.max())
        return Density(actions, density / (both * density).sum(), both)

    def sample(self, state: Float64[np.ndarray, "batch 2"], rng: np.random.Generator) -> Float64[np.ndarray, "batch 2"]:
        """One action of ``pi*`` for each state, by rejection: efforts propose, what follows disposes.

        At temperatures so low that ``ATTEMPTS`` proposals are all rejected, from a grid of actions.
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
        """``U(s')``: what arriving pays and what follows."""
        follows = np.where(self.world.there(after), 0.0, self.discount * self.value(after))
        return np.asarray(self.reward_scale * self.world.pay(after) + follows)

    @cached_property
    def _highest_within_reach(self) -> Float64[np.ndarray, "side side"]:
        """An upper bound of ``U`` over all next states of every point of the grid."""
        spacing = self.axis[1] - self.axis[0]
        grid = self._worth(np.stack(np.meshgrid(self.axis, self.axis, indexing="ij"), -1))
        around = maximum_filter(grid, size=2 * round(1 / spacing) + 5, mode="nearest")  # the edge of the bonus included
        return around + np.ptp(grid) * spacing / 10  # between points it curves


def solve_multi_goal(
    world: MultiGoal | None = None,
    alpha: float = 1.0,
    reward_scale: float = 0.1,
    discount: float = 0.99,
    spacing: float = 0.05,
) -> MultiGoalSolution:
    """Soft value iteration by separable convolution: half a second at the default spacing.

    The error is that of the grid, where it cuts the bonus's edge: with the default settings V* moves by .022 at the
    origin from a spacing of .1 to one of .05, and by .007 from there to .025.

    Args:
        world: costs and bonus; those of the paper if left out.
        alpha: the temperature, in units of scaled reward.
        reward_scale: what rewards are multiplied by; only ``alpha / reward_scale`` matters to the policy.
        discount: in [0, 1].
        spacing: between points of the grid; a whole number of them must make 1.

    Raises:
        MaxEntError: for a temperature or scale that is not positive, a discount outside [0, 1], a spacing that does
            not divide 1 or is too large for the goals, a temperature too low for the spacing or for float64, or a discount
            too high for it.
    """
    world = world or MultiGoal()
    check_alpha(alpha)
    if alpha == 0:
        raise MaxEntError("The temperature alpha must be positive, but is 0: the best policy has no density there.")
    if not 0 < reward_scale < np.inf:
        raise MaxEntError(f"reward_scale must be positive and finite, but is {reward_scale}.")
    if not 0 <= discount <= 1:
        raise MaxEntError(f"The discount must lie in [0, 1], but is {discount}.")
    steps = round(1 / spacing) if 0 < spacing <= 1 else 0
    if not steps or not np.isclose(steps * spacing, 1):
        raise MaxEntError(f"The spacing must be 1 divided by a whole number, but is {spacing}.")
    if world.goal_threshold < 2 * spacing:
        raise MaxEntError(
            f"A goal within {world.goal_threshold:g} lies between points {spacing:g} apart: give a spacing of at most half "
            f"the goal_threshold."
        )
    steepness = reward_scale * world.actuation_cost / alpha
    if steepness * spacing**2 > 1:  # the narrowest Gaussian that points this far apart still see
        raise MaxEntError(
            f"At this temperature actions are decided within {steepness**-0.5:.2g}, less than the spacing {spacing}: "
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
                f"the discount {discount} is too high for float64, so much is entropy worth"
                if highest > pay.max()
                else f"the temperature {alpha} is too low for float64"
            )
            raise MaxEntError(
                f"With these costs {why}: values lie {highest - rest.min():.3g} apart, and may be {LOG_RANGE:.0f} alpha "
                f"apart at most."
            )
        mass = np.exp((rest - highest) / alpha)
        for along in (0, 1):
            mass = convolve1d(mass, kernel, axis=along, mode="nearest")  # the edge repeated: s' is clipped
        before, values = values, alpha * np.log(mass) + highest
        if np.abs(values - before).max() < CHANGE:
            return MultiGoalSolution(world, alpha, reward_scale, discount, axis, values)
    raise MaxEntError("Soft values did not settle: with these costs the discount must be below 1.")


def _trapezoid(points: int) -> tuple[Float64[np.ndarray, " side"], Float64[np.ndarray, " side"]]:
    """Points on [-1, 1] and their weights."""
    weights = np.full(points, 2 / (points - 1))
    weights[[0, -1]] /= 2
    return np.linspace(-1, 1, points), weights
