"""The exact solution of the multi-goal world, against the equations that it must satisfy and against episodes."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import MultiGoal, solve_multi_goal
from lightning_maxent.exact.multi_goal import GOALS

PROBES = np.array([[0.0, 0.0], [-2.5, 0.0], [2.5, 2.5]])


@pytest.fixture(scope="module")
def solution():
    return solve_multi_goal()


def play(solution, episodes, rng, horizon=30, side=0):
    """First and last states, raw returns, lengths, goals (-1: none) of the best policy, and discounted soft returns.

    Soft returns add the entropy of the state by quadrature over ``side x side`` actions; none if that is zero.
    """
    states = 0.1 * rng.standard_normal((episodes, 2))
    returns, lengths, soft = np.zeros(episodes), np.zeros(episodes, int), np.zeros(episodes)
    first, alive = states.copy(), np.ones(episodes, bool)
    for step in range(horizon):
        now = np.flatnonzero(alive)
        actions = solution.sample(states[now], rng)
        reward = solution.world.reward(states[now], actions)
        entropy = np.array([solution.density(state, side).entropy if side else 0.0 for state in states[now]])
        soft[now] += solution.discount**step * (solution.reward_scale * reward + solution.alpha * entropy)
        returns[now] += reward
        lengths[now] += 1
        states[now] = solution.world.after(states[now], actions)
        alive[now] = ~solution.world.there(states[now])
    goals = np.where(alive, -1, solution.world.goal_distance(states).argmin(-1))
    return first, states, returns, lengths, goals, soft


def test_values_are_those_of_an_independent_computation_and_settle_as_the_grid_is_refined(solution):
    fine = solve_multi_goal(spacing=0.025)
    assert_allclose(fine.value(PROBES), [-12.23, -2.89, -5.70], atol=0.01)
    coarse = solve_multi_goal(spacing=0.1)
    assert np.abs(solution.value(PROBES) - fine.value(PROBES)).max() < 0.01
    assert (
        np.abs(coarse.value(PROBES) - fine.value(PROBES)) > np.abs(solution.value(PROBES) - fine.value(PROBES))
    ).all()


@pytest.mark.parametrize(
    ("coefficients", "alpha", "discount"),
    [
        ({"goal_reward": 60.0, "actuation_cost": 20.0, "distance_cost": 2.0}, 1.5, 0.9),
        ({"goal_threshold": 0.5, "goals": ((2.0, 1.0), (-5.0, 0.0))}, 0.5, 0.95),
    ],
)
def test_values_settle_for_other_coefficients_too(coefficients, alpha, discount):
    by_spacing = [
        solve_multi_goal(MultiGoal(**coefficients), alpha, discount=discount, spacing=spacing).value(PROBES)
        for spacing in (0.2, 0.05, 0.025)
    ]
    coarse, fine = (np.abs(values - by_spacing[-1]).max() for values in by_spacing[:2])
    assert fine < coarse
    assert fine < 0.03


@pytest.mark.parametrize("probe", PROBES.tolist())
def test_the_value_is_the_soft_maximum_of_q_by_monte_carlo(solution, probe):
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (400_000, 2))
    q = solution.q_value(np.broadcast_to(probe, actions.shape), actions)
    mean = 4 * np.exp((q - solution.value(probe)) / solution.alpha)  # one on average, were the value right
    assert mean.mean() == pytest.approx(1, abs=4 * mean.std() / math.sqrt(len(mean)) + 0.01)


@pytest.mark.parametrize("coefficients", [{}, {"goal_reward": 60.0, "actuation_cost": 20.0, "distance_cost": 2.0}])
@pytest.mark.parametrize(("alpha", "discount"), [(1.0, 0.99), (1.5, 0.9)])
def test_the_policy_earns_its_value(coefficients, alpha, discount):
    solution = solve_multi_goal(MultiGoal(**coefficients), alpha=alpha, discount=discount)
    first, last, _, _, goals, soft = play(solution, 100, np.random.default_rng(0), horizon=7, side=41)
    assert 0.02 < (goals < 0).mean() < 0.995
    rest = np.where(goals < 0, discount**7 * solution.value(last), 0.0)  # as truncated steps bootstrap
    missed = soft + rest - solution.value(first)
    error = missed.std() / math.sqrt(len(missed))
    assert 0.01 < error < 0.3
    assert abs(missed.mean()) < 4 * error + 0.02  # of which .02 is the grid's


def test_the_best_policy_keeps_all_four_goals(solution):
    _, _, returns, lengths, goals, _ = play(solution, 1500, np.random.default_rng(1))
    assert returns.mean() == pytest.approx(-192.6, abs=4)
    assert lengths.mean() == pytest.approx(10.1, abs=0.2)
    assert (np.bincount(goals[goals >= 0], minlength=4) / len(goals) > 0.2).all()


@pytest.mark.parametrize(
    ("probe", "entropy", "squared_length", "modes"),
    [
        ([0.0, 0.0], 1.285, 0.631, [[-0.9, 0.0], [0.0, -0.9], [0.0, 0.9], [0.9, 0.0]]),
        ([-2.5, 0.0], 0.619, 0.409, [[-0.475, 0.0]]),
        ([2.5, 2.5], 1.064, 0.525, [[-0.45, 0.45], [0.45, -0.45]]),
    ],
)
def test_density_has_the_entropy_spread_and_modes_of_an_independent_computation(
    solution, probe, entropy, squared_length, modes
):
    density = solution.density(probe)
    assert density.entropy == pytest.approx(entropy, abs=0.002)
    assert density.squared_length == pytest.approx(squared_length, abs=0.002)
    assert_allclose(density.modes(), modes, atol=0.03)
    assert density.cells(10).sum() == pytest.approx(1)


def test_samples_follow_the_density(solution):
    rng, count = np.random.default_rng(0), 20_000
    drawn = solution.sample(np.zeros((count, 2)), rng)
    assert np.abs(drawn).max() <= 1
    counted, *_ = np.histogram2d(*drawn.T, bins=8, range=[[-1, 1], [-1, 1]])
    expected = count * solution.density([0.0, 0.0]).cells(8)
    assert ((counted - expected) ** 2 / expected).sum() < 64 + 5 * math.sqrt(2 * 64)  # chi squared


def test_samples_come_and_follow_the_density_at_a_temperature_where_efforts_propose_next_to_none_of_them():
    cold = solve_multi_goal(alpha=0.2, spacing=0.1)
    drawn = cold.sample(np.zeros((100, 2)), np.random.default_rng(0))
    density = cold.density([0.0, 0.0])
    squared = (drawn**2).sum(-1)
    assert squared.mean() == pytest.approx(density.squared_length, abs=4 * squared.std() / 10)
    expected = 100 * density.cells(2)  # a quadrant each
    counted, *_ = np.histogram2d(*drawn.T, bins=2, range=[[-1, 1], [-1, 1]])
    assert ((counted - expected) ** 2 / expected).sum() < 16  # chi squared of three degrees: once in a thousand


def test_an_action_outside_the_box_has_the_q_of_the_clipped_one_and_no_density(solution):
    outside, played = np.array([2.0, 0.1]), np.array([1.0, 0.1])
    assert solution.q_value([1.0, 1.0], outside) == solution.q_value([1.0, 1.0], played)
    assert solution.log_prob([1.0, 1.0], outside) == -np.inf
    assert solution.log_prob([1.0, 1.0], played) > -20


def test_reward_scale_and_temperature_are_one_number_to_the_policy():
    scaled, hot = solve_multi_goal(spacing=0.1), solve_multi_goal(spacing=0.1, reward_scale=1.0, alpha=10.0)
    assert_allclose(hot.value(PROBES), 10 * scaled.value(PROBES), rtol=1e-6)
    assert_allclose(hot.density([0.0, 0.0]).density, scaled.density([0.0, 0.0]).density, atol=1e-6)


def test_with_one_goal_the_policy_has_one_mode_towards_it():
    solution = solve_multi_goal(MultiGoal(goals=((0.0, -5.0),)), spacing=0.1)
    (mode,) = solution.density([0.0, 0.0]).modes()
    assert_allclose(mode / np.linalg.norm(mode), [0.0, -1.0], atol=1e-9)


def test_without_rewards_the_policy_is_uniform_and_the_value_its_discounted_entropy():
    nothing = MultiGoal(actuation_cost=0.0, distance_cost=0.0, goal_reward=0.0, goals=((7.0, 7.0),))
    solution = solve_multi_goal(nothing, alpha=0.5, discount=0.9, spacing=0.5)
    far = [-4.0, -4.0]  # whence the one goal, where the episode would end, is out of reach for long
    assert solution.value(far) == pytest.approx(0.5 * math.log(4) / (1 - 0.9), rel=3e-3)
    assert solution.density(far).entropy == pytest.approx(math.log(4), abs=1e-4)


def test_a_step_clips_the_action_and_the_square_and_pays_for_what_was_played():
    world = MultiGoal()
    assert_allclose(world.after([6.5, 0.0], [3.0, -0.5]), [7.0, -0.5])
    assert world.reward([0.0, 0.0], [2.0, 0.0]) == pytest.approx(-30 - 16)
    assert world.reward([4.5, 0.0], [0.2, 0.0]) == pytest.approx(10 - 30 * 0.04 - 0.3**2)
    assert world.there(np.array(GOALS) + 0.5).all()
    assert not world.there([4.0, 0.0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"alpha": -1.0}, "alpha"),
        ({"reward_scale": 0.0}, "reward_scale must be positive"),
        ({"discount": 1.5}, "discount must lie in"),
        ({"spacing": 0.3}, "spacing must be 1 divided by a whole number"),
        ({"alpha": 0.001}, "less than the spacing"),
        ({"world": MultiGoal(actuation_cost=0.1, distance_cost=1000.0)}, "too low for float64"),
        (
            {"world": MultiGoal(goal_threshold=0.03)},
            "may lie between points of the grid, which are 0.05 apart: give a spacing of at most half",
        ),
        (
            {"world": MultiGoal(goal_reward=0.0, goal_threshold=0.03)},
            "may lie between points of the grid, which are 0.05 apart",
        ),
        ({"alpha": 50.0, "discount": 1.0}, "the discount 1.0 is too high for float64, because the later"),
    ],
)
def test_unsolvable_parameters_are_refused(arguments, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        solve_multi_goal(**arguments)


@pytest.mark.parametrize(
    "coefficients",
    [
        {"actuation_cost": -1.0},
        {"distance_cost": math.inf},
        {"goal_reward": math.nan},
        {"goal_threshold": 0.0},
        {"goals": ()},
        {"goals": ((8.0, 0.0),)},
        {"goals": ((math.nan, 0.0),)},
        {"goals": [[1.0, 2.0, 3.0]]},
        {"goals": [[1.0, 2.0], [3.0]]},
    ],
)
def test_invalid_coefficients_of_the_multi_goal_world_are_refused(coefficients):
    with pytest.raises(MaxEntError, match=next(iter(coefficients))):
        MultiGoal(**coefficients)
