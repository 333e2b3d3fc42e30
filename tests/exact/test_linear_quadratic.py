import dataclasses
import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import (
    FiniteMDP,
    LinearGaussianPolicy,
    LinearQuadratic,
    evaluate_linear_policy,
    linear_quadratic,
    soft_value_iteration,
    solve_linear_quadratic,
)

SEEDS = range(3)
ALPHAS = [0.05, 0.5, 3.0]
SIZES = [(1, 1), (2, 1), (1, 2), (3, 2)]


def positive(rng, size):
    root = rng.standard_normal((size, size))
    return root @ root.T + 0.2 * np.eye(size)


def random_world(seed, states=2, actions=1, discount=0.9):
    """A random world; some of its states grow faster than the discount shrinks them."""
    rng = np.random.default_rng(seed)
    return LinearQuadratic(
        dynamics=rng.standard_normal((states, states)),
        control=rng.standard_normal((states, actions)),
        state_cost=positive(rng, states),
        action_cost=positive(rng, actions),
        discount=discount,
        noise=0.1 * positive(rng, states),
    )


def random_policy(world, seed, size=1.0):
    """A random policy whose mean is near that of the optimal one, so that values are finite."""
    rng = np.random.default_rng(seed)
    gain = solve_linear_quadratic(world, 1.0).policy.gain
    near = gain + size * rng.standard_normal(gain.shape)
    return LinearGaussianPolicy(near, positive(rng, world.action_dim))


def has_value(world, policy):
    loop = world.dynamics - world.control @ policy.gain
    return world.discount * np.abs(np.linalg.eigvals(loop)).max() ** 2 < 0.98


def gaussian_nodes(covariance, points):
    """Nodes ``[node, axis]`` and weights whose sums are expectations over ``N(0, covariance)`` (Gauss-Hermite)."""
    axis, weight = np.polynomial.hermite_e.hermegauss(points)
    size = len(covariance)
    nodes = np.array(list(itertools.product(axis, repeat=size))) @ np.linalg.cholesky(covariance).T
    weights = np.array(list(itertools.product(weight / weight.sum(), repeat=size))).prod(-1)
    return nodes, weights


def grid_around(center, deviation, points=81, reach=9.0):
    """Actions ``[node, action]`` of a grid, and its cells' volume."""
    axes = [np.linspace(c - reach * d, c + reach * d, points) for c, d in zip(center, deviation)]
    volume = math.prod(axis[1] - axis[0] for axis in axes)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(center)), volume


def soft_return_by_hand(world, policy, alpha, state, steps):
    """Follows mean and covariance of the state, and sums the discounted rewards and entropies."""
    entropy = sum(math.log(2 * math.pi * math.e * part) / 2 for part in np.linalg.eigvalsh(policy.covariance))
    loop = world.dynamics - world.control @ policy.gain
    cost = world.state_cost + policy.gain.T @ world.action_cost @ policy.gain
    mean, spread, total = np.array(state), np.zeros_like(world.noise), 0.0
    for t in range(steps):
        reward = -mean @ cost @ mean - np.trace(cost @ spread) - np.trace(world.action_cost @ policy.covariance)
        total += world.discount**t * (reward + alpha * entropy)
        mean = loop @ mean
        spread = loop @ spread @ loop.T + world.noise + world.control @ policy.covariance @ world.control.T
    return total


# The optimum


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_value_is_the_soft_maximum_of_the_action_values_eq_18(seed, alpha, sizes):
    world = random_world(seed, *sizes)
    solution = solve_linear_quadratic(world, alpha)
    state = np.random.default_rng(seed).standard_normal(sizes[0])
    deviation = np.sqrt(np.diag(solution.policy.covariance))
    actions, volume = grid_around(solution.policy.mean(state), deviation)
    q = solution.q_value(np.broadcast_to(state, (len(actions), sizes[0])), actions)
    assert_allclose(alpha * (logsumexp(q / alpha) + math.log(volume)), solution.value(state), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_action_value_is_the_reward_and_the_discounted_value_of_what_follows_eq_17(seed, sizes):
    world = random_world(seed, *sizes)
    solution = solve_linear_quadratic(world, 0.3)
    rng = np.random.default_rng(seed)
    state, action = rng.standard_normal(sizes[0]), rng.standard_normal(sizes[1])
    noise, weight = gaussian_nodes(world.noise, 3)
    following = world.dynamics @ state + world.control @ action + noise
    reward = -(state @ world.state_cost @ state + action @ world.action_cost @ action)
    expected = reward + world.discount * weight @ solution.value(following)
    assert_allclose(solution.q_value(state, action), expected)
    assert_allclose(world.reward(state, action), reward)
    assert_allclose(world.mean_after(state, action), weight @ following)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("sizes", SIZES)
def test_the_policy_is_the_exponential_of_the_advantage(seed, alpha, sizes):
    world = random_world(seed, *sizes)
    solution = solve_linear_quadratic(world, alpha)
    rng = np.random.default_rng(seed)
    states, actions = rng.standard_normal((50, sizes[0])), rng.standard_normal((50, sizes[1]))
    advantage = solution.q_value(states, actions) - solution.value(states)
    assert_allclose(solution.policy.log_prob(states, actions), advantage / alpha, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("sizes", SIZES)
def test_that_exponential_is_a_density_with_the_stated_mean_covariance_and_entropy(seed, alpha, sizes):
    world = random_world(seed, *sizes)
    solution = solve_linear_quadratic(world, alpha)
    state = np.random.default_rng(seed).standard_normal(sizes[0])
    mean, covariance = solution.policy.mean(state), solution.policy.covariance
    actions, volume = grid_around(mean, np.sqrt(np.diag(covariance)))
    q = solution.q_value(np.broadcast_to(state, (len(actions), sizes[0])), actions)
    density = np.exp((q - solution.value(state)) / alpha)
    assert_allclose(density.sum() * volume, 1, rtol=1e-7)
    assert_allclose(volume * density @ actions, mean, rtol=1e-7, atol=1e-7)
    away = actions - mean
    assert_allclose(volume * (away.T * density) @ away, covariance, rtol=1e-7, atol=1e-9 * np.trace(covariance))
    assert solution.policy.entropy == pytest.approx(-volume * density @ ((q - solution.value(state)) / alpha))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("discount", [0.3, 0.99])
def test_the_riccati_equation_and_the_lyapunov_equation_of_its_own_policy_agree(seed, alpha, sizes, discount):
    world = random_world(seed, *sizes, discount)
    solution = solve_linear_quadratic(world, alpha)
    evaluated = evaluate_linear_policy(world, solution.policy, alpha)
    assert_allclose(evaluated.curvature, solution.curvature, rtol=1e-7, atol=1e-7)
    assert evaluated.constant == pytest.approx(solution.constant, rel=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("sizes", SIZES)
def test_no_other_linear_gaussian_policy_is_better_in_any_state(seed, alpha, sizes):
    world = random_world(seed, *sizes)
    solution = solve_linear_quadratic(world, alpha)
    states = 3 * np.random.default_rng(seed).standard_normal((30, sizes[0]))
    best, compared = solution.value(states), 0
    for number, size in itertools.product(range(8), (0.0, 0.01, 0.3)):
        other = random_policy(world, number, size)
        if has_value(world, other):
            compared += 1
            assert (evaluate_linear_policy(world, other, alpha).value(states) < best).all()
    assert compared >= 16


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_more_and_less_spread_than_the_best_are_worse(seed, factor):
    world = random_world(seed, 3, 2)
    solution = solve_linear_quadratic(world, 0.5)
    spread = solution.policy._replace(covariance=factor * solution.policy.covariance)
    assert evaluate_linear_policy(world, spread, 0.5).constant < solution.constant


@pytest.mark.parametrize("seed", SEEDS)
def test_the_temperature_moves_the_spread_alone(seed):
    world = random_world(seed, 3, 2)
    cold, hot = solve_linear_quadratic(world, 0.1), solve_linear_quadratic(world, 0.4)
    assert_allclose(hot.policy.gain, cold.policy.gain)
    assert_allclose(hot.curvature, cold.curvature)
    assert_allclose(hot.policy.covariance, 4 * cold.policy.covariance)
    assert hot.policy.entropy - cold.policy.entropy == pytest.approx(2 * math.log(4) / 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_at_temperature_zero_the_policy_is_the_linear_quadratic_regulator(seed):
    world = random_world(seed, 2, 2)
    curvature = np.zeros((2, 2))
    for _ in range(3000):  # value iteration
        ahead = world.discount * world.control.T @ curvature
        gain = np.linalg.solve(world.action_cost + ahead @ world.control, ahead @ world.dynamics)
        loop = world.dynamics - world.control @ gain
        cost = world.state_cost + gain.T @ world.action_cost @ gain
        curvature = cost + world.discount * loop.T @ curvature @ loop
    solution = solve_linear_quadratic(world, 1e-9)
    assert_allclose(solution.policy.gain, gain, rtol=1e-7, atol=1e-9)
    assert_allclose(solution.curvature, curvature, rtol=1e-7)
    noise = -world.discount * np.trace(curvature @ world.noise) / (1 - world.discount)
    assert solution.constant == pytest.approx(noise, abs=1e-5)
    regulator = evaluate_linear_policy(world, LinearGaussianPolicy(gain, np.zeros((2, 2))))
    assert regulator.constant == pytest.approx(noise)
    assert_allclose(regulator.curvature, curvature, rtol=1e-7)


def test_one_dimension_by_hand():
    # P = 1 + P/2 - (P/2)^2 / (1 + P/2) has the root P = sqrt(2), with A = B = Q = R = 1 and gamma = 1/2.
    world = LinearQuadratic([[1.0]], [[1.0]], [[1.0]], [[1.0]], 0.5, [[0.3]])
    solution = solve_linear_quadratic(world, 0.8)
    p, m = math.sqrt(2), 1 + math.sqrt(2) / 2
    assert_allclose(solution.curvature, [[p]])
    assert_allclose(solution.policy.gain, [[math.sqrt(2) - 1]])
    assert_allclose(solution.policy.covariance, [[0.4 / m]])
    assert solution.constant == pytest.approx(2 * (0.4 * math.log(0.8 * math.pi / m) - 0.15 * p))
    assert solution.value([2.0]) == pytest.approx(-4 * p + solution.constant)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bound", [0.2, 3.0])
def test_rescaling_actions_by_a_bound_rescales_the_policy_and_shifts_its_entropy(seed, bound):
    world = random_world(seed, 3, 2)
    own = solve_linear_quadratic(world, 0.4)
    scaled = solve_linear_quadratic(world.rescaled(bound), 0.4)
    assert_allclose(scaled.policy.gain * bound, own.policy.gain)
    assert_allclose(scaled.policy.covariance * bound**2, own.policy.covariance)
    assert scaled.policy.entropy == pytest.approx(own.policy.entropy - 2 * math.log(bound))
    states = np.random.default_rng(seed).standard_normal((5, 3))
    paid = 0.4 * 2 * math.log(bound) / (1 - world.discount)
    assert_allclose(scaled.value(states), own.value(states) - paid)
    actions = np.random.default_rng(seed).standard_normal((5, 2))
    assert_allclose(scaled.q_value(states, actions / bound), own.q_value(states, actions) - world.discount * paid)


# Against the tabular solution


def on_a_grid(world, alpha, cell, reach=4.0, action_cell=0.1):
    """The world with one state and one action, in cells: values of the cells' centers ``[state]``, and the centers.

    Sums over actions take the place of integrals, so every step's soft value lacks ``alpha log(action_cell)``.
    """
    states = np.arange(-round(reach / cell), round(reach / cell) + 1) * cell
    actions = np.arange(-25, 26) * action_cell
    mean = world.mean_after(states[:, None, None], actions[None, :, None])
    edges = np.concatenate(([-np.inf], (states[1:] + states[:-1]) / 2, [np.inf]))
    transition = np.diff(norm.cdf(edges, mean, math.sqrt(world.noise.item())), axis=-1)
    reward = world.reward(states[:, None, None], actions[None, :, None])
    solution = soft_value_iteration(FiniteMDP(transition, reward, world.discount), alpha)
    return solution.value + alpha * math.log(action_cell) / (1 - world.discount), states


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_soft_value_iteration_on_a_grid_comes_as_near_as_the_cells_let_it(alpha):
    world = LinearQuadratic([[0.9]], [[0.5]], [[1.0]], [[1.0]], 0.8, [[0.09]])
    solution = solve_linear_quadratic(world, alpha)
    errors = []
    for cell in (0.4, 0.2):
        value, states = on_a_grid(world, alpha, cell)
        inside = np.abs(states) <= 1
        errors.append(value[inside] - solution.value(states[inside, None]))
        # Rounding to centers adds the variance of a cell, cell^2 / 12, to every next state.
        rounding = -0.8 * solution.curvature.item() * cell**2 / 12 / (1 - 0.8)
        assert_allclose(errors[-1], rounding, rtol=0.05)
    assert np.abs(errors[1]).max() < 0.27 * np.abs(errors[0]).max() < 0.03


# Any policy


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_value_of_a_policy_is_its_soft_return_summed_step_by_step(seed, alpha, sizes):
    world = random_world(seed, *sizes)
    policy = random_policy(world, seed, size=0.1)
    assert has_value(world, policy)
    state = np.random.default_rng(seed).standard_normal(sizes[0])
    solution = evaluate_linear_policy(world, policy, alpha)
    assert solution.value(state) == pytest.approx(soft_return_by_hand(world, policy, alpha, state, 2000))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_of_a_policy_is_what_its_own_action_values_and_entropy_amount_to(seed):
    world = random_world(seed, 3, 2)
    policy = random_policy(world, seed, size=0.1)
    solution = evaluate_linear_policy(world, policy, 0.5)
    state = np.random.default_rng(seed).standard_normal(3)
    away, weight = gaussian_nodes(policy.covariance, 3)
    q = solution.q_value(np.broadcast_to(state, (len(away), 3)), policy.mean(state) + away)
    assert weight @ q + 0.5 * policy.entropy == pytest.approx(solution.value(state))


@pytest.mark.parametrize("seed", SEEDS)
def test_densities_and_entropies_are_those_of_the_normal_distribution(seed):
    rng = np.random.default_rng(seed)
    policy = LinearGaussianPolicy(rng.standard_normal((2, 3)), positive(rng, 2))
    state, action = rng.standard_normal(3), rng.standard_normal(2)
    normal = multivariate_normal(-policy.gain @ state, policy.covariance)
    assert policy.log_prob(state, action) == pytest.approx(normal.logpdf(action))
    assert policy.entropy == pytest.approx(normal.entropy())


def test_a_deterministic_policy_has_an_entropy_of_minus_infinity_and_a_value_without_temperature():
    world = random_world(0, 2, 1)
    regulator = solve_linear_quadratic(world, 1.0).policy._replace(covariance=np.zeros((1, 1)))
    assert regulator.entropy == -math.inf
    assert math.isfinite(evaluate_linear_policy(world, regulator).constant)
    with pytest.raises(
        MaxEntError, match="The policy's covariance must be positive definite, but has the eigenvalue 0"
    ):
        evaluate_linear_policy(world, regulator, 0.1)


@pytest.mark.parametrize("batch", [(), (5,), (4, 5), (0,)])
def test_values_keep_the_shape_of_the_batch(batch):
    world = random_world(0, 3, 2)
    solution = solve_linear_quadratic(world, 0.2)
    rng = np.random.default_rng(0)
    states, actions = rng.standard_normal((*batch, 3)), rng.standard_normal((*batch, 2))
    assert solution.value(states).shape == batch
    assert solution.q_value(states, actions).shape == batch
    assert solution.policy.mean(states).shape == (*batch, 2)
    assert solution.policy.log_prob(states, actions).shape == batch
    for index in np.ndindex(batch):
        assert solution.q_value(states, actions)[index] == pytest.approx(
            solution.q_value(states[index], actions[index])
        )


# What cannot be solved


def world_with(**changed):
    given = {
        "dynamics": [[0.9, 0.1], [0.0, 0.8]],
        "control": [[0.0], [1.0]],
        "state_cost": np.eye(2),
        "action_cost": [[1.0]],
        "discount": 0.9,
    }
    return LinearQuadratic(**given | changed)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"control": [0.0, 1.0]},
            r"control must be a matrix \[state, action\] of finite numbers, but has the shape \(2,",
        ),
        ({"control": np.zeros((2, 0))}, r"control must be a matrix .* but has the shape \(2, 0\)"),
        ({"control": [[math.nan], [1.0]]}, "and 1 entries that are not finite"),
        ({"dynamics": np.eye(3)}, r"dynamics must be a matrix of the shape \(2, 2\) .* but has the shape \(3, 3\)"),
        ({"dynamics": [[math.inf, 0], [0, 0]]}, "dynamics .* and 1 entries that are not finite"),
        ({"state_cost": [[1, 0.5], [0, 1]]}, "state_cost must be symmetric; give half the sum of it and its transpose"),
        ({"state_cost": [[1, 2], [2, 1]]}, "state_cost must be positive semi-definite, but has the eigenvalue -1"),
        ({"action_cost": np.eye(2)}, r"action_cost must be a matrix of the shape \(1, 1\)"),
        ({"action_cost": [[0.0]]}, "action_cost must be positive definite, but has the eigenvalue 0"),
        ({"action_cost": [[-2.0]]}, "action_cost must be positive definite, but has the eigenvalue -2"),
        ({"noise": -np.eye(2)}, "noise must be positive semi-definite, but has the eigenvalue -1"),
        ({"discount": 1.0}, "The discount must lie between 0 and 1, both excluded, but is 1.0"),
        ({"discount": 0.0}, "both excluded, but is 0.0"),
        ({"discount": math.nan}, "both excluded, but is nan"),
        ({"dynamics": [[1.1, 0], [0, 0.8]]}, "not stabilizable: .* faster than the discount 0.9 .* no action stops it"),
        ({"control": np.zeros((2, 1)), "dynamics": 1.1 * np.eye(2)}, "not stabilizable"),
        ({"dynamics": [[1.1, 1], [0, 1]], "state_cost": np.diag([0, 1])}, "not detectable: .* has no cost"),
    ],
)
def test_invalid_parameters_of_a_linear_quadratic_world_are_refused(changed, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        world_with(**changed)


def test_discounted_growth_below_one_needs_neither_control_nor_cost():
    edge = 1 / math.sqrt(0.9)
    grows = world_with(dynamics=np.diag([0.99 * edge, 0.8]), state_cost=np.diag([1.0, 0.0]))
    assert solve_linear_quadratic(grows, 0.1).curvature[0, 0] == pytest.approx(1 / (1 - 0.99**2))
    unseen = world_with(dynamics=np.diag([0.99 * edge, 0.8]), state_cost=np.zeros((2, 2)))
    assert_allclose(solve_linear_quadratic(unseen, 0.1).policy.gain, 0, atol=1e-12)
    with pytest.raises(MaxEntError, match="not stabilizable"):
        world_with(dynamics=np.diag([1.01 * edge, 0.8]))


@pytest.mark.parametrize("alpha", [-0.1, 0.0, math.nan, math.inf])
def test_an_alpha_that_is_not_positive_is_refused(alpha):
    with pytest.raises(MaxEntError, match="The temperature alpha must be"):
        solve_linear_quadratic(world_with(), alpha)


def test_numbers_too_far_apart_for_float64_are_refused(monkeypatch):
    with pytest.raises(MaxEntError, match="The Riccati equation cannot be solved in float64"):
        solve_linear_quadratic(
            world_with(dynamics=1.2 * np.eye(2), control=1e-9 * np.eye(2), action_cost=np.eye(2)), 1.0
        )

    def fails(*_):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(linear_quadratic.linalg, "solve_discrete_are", fails)
    with pytest.raises(MaxEntError, match="The Riccati equation cannot be solved in float64"):
        solve_linear_quadratic(world_with(), 1.0)


def test_a_policy_that_does_not_fit_or_lets_the_state_run_away_is_refused():
    world = world_with()
    for gain, covariance, sentence in [
        ([[1.0]], [[1.0]], r"The policy's gain must be a matrix of the shape \(1, 2\)"),
        ([[0.0, 0.0]], np.eye(2), r"The policy's covariance must be a matrix of the shape \(1, 1\)"),
        ([[0.0, 0.0]], [[-1.0]], "The policy's covariance must be positive semi-definite"),
        ([[0.0, 9.8]], [[1.0]], "the state, after discounting, grows by the factor 8.538 a step"),
    ]:
        with pytest.raises(MaxEntError, match=sentence):
            evaluate_linear_policy(world, LinearGaussianPolicy(np.array(gain), np.array(covariance)))
    with pytest.raises(MaxEntError, match="The temperature alpha must be finite and not negative, but is -1"):
        evaluate_linear_policy(world, solve_linear_quadratic(world, 1.0).policy, -1.0)


def test_states_and_actions_of_another_size_are_refused():
    solution = solve_linear_quadratic(random_world(0, 1, 2), 1.0)
    with pytest.raises(MaxEntError, match=r"state must have 1 numbers on its last axis, but has the shape \(7,\)"):
        solution.value(np.zeros(7))
    with pytest.raises(MaxEntError, match=r"action must have 2 numbers on its last axis, but has the shape \(7, 1\)"):
        solution.q_value(np.zeros((7, 1)), np.zeros((7, 1)))


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_not_positive_is_refused(bound):
    with pytest.raises(MaxEntError, match="The bound must be positive and finite, but is"):
        world_with().rescaled(bound)


def test_a_world_copies_its_arrays_is_read_only_and_can_be_replaced_in_part():
    dynamics = np.array([[0.9, 0.1], [0.0, 0.8]])
    world = world_with(dynamics=dynamics)
    dynamics[:] = 5
    assert world.dynamics[0, 0] == 0.9
    for field in ("dynamics", "control", "state_cost", "action_cost", "noise"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(world, field)[:] = 0
    assert not world.noise.any()
    longer = dataclasses.replace(world, discount=0.95)
    assert (longer.discount, world.discount) == (0.95, 0.9)
    assert_allclose(longer.dynamics, world.dynamics)
