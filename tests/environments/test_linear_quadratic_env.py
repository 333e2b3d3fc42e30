import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lightning_maxent.environments  # noqa: F401  registers them
from lightning_maxent.environments.linear_quadratic import LinearQuadraticEnv
from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import evaluate_linear_policy, solve_linear_quadratic

NOISE = [[0.02, 0.01], [0.01, 0.03]]
ONE_AXIS = {"dynamics": [[0.9]], "control": [[0.5]], "state_cost": [[1.0]], "action_cost": [[5.0]]}


def make(**kwargs):
    return gym.make("lightning_maxent/LinearQuadratic-v0", **kwargs)


def play(env, policy, seed):
    """States ``[step + 1, state]``, actions ``[step, action]`` and rewards ``[step]`` of one episode of a policy."""
    rng, root = np.random.default_rng(seed), np.linalg.cholesky(policy.covariance)
    env.reset(seed=seed)
    states, actions, rewards, truncated = [env.unwrapped.state], [], [], False
    while not truncated:
        actions.append(policy.mean(states[-1]) + root @ rng.standard_normal(len(root)))
        _, reward, terminated, truncated, _ = env.step(actions[-1])
        assert not terminated
        states.append(env.unwrapped.state)
        rewards.append(reward)
    return np.array(states), np.array(actions), np.array(rewards)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("best", [True, False])
def test_the_soft_returns_of_a_policy_are_its_value_on_average(best):
    env, alpha = make(noise=NOISE), 0.5
    world = env.unwrapped.world
    policy = solve_linear_quadratic(world, alpha).policy
    if not best:
        policy = policy._replace(gain=0.5 * policy.gain, covariance=2 * policy.covariance)
    solution, missed = evaluate_linear_policy(world, policy, alpha), []
    for seed in range(60):
        states, _, rewards = play(env, policy, seed)
        weight = world.discount ** np.arange(len(rewards))
        soft_return = weight @ (rewards + alpha * policy.entropy)
        soft_return += world.discount ** len(rewards) * solution.value(states[-1])  # as truncated steps bootstrap
        missed.append(soft_return - solution.value(states[0]))
    error = np.std(missed) / math.sqrt(len(missed))
    assert error < 0.07 * abs(solution.constant)
    assert abs(np.mean(missed)) < 4 * error


@pytest.mark.parametrize("alpha", [0.1, 0.5])
@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_the_best_policy_stays_four_deviations_away_from_the_edge_of_the_box(alpha, discount):
    env = make(discount=discount)
    policy = solve_linear_quadratic(env.unwrapped.world, alpha).policy
    corners = env.unwrapped.start * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    visited = np.concatenate([corners, *(play(env, policy, seed)[0] for seed in range(20))])
    room = env.unwrapped.bound - np.abs(policy.mean(visited))
    assert (room / np.sqrt(np.diag(policy.covariance))).min() > 4


def test_the_costs_of_the_state_matter_as_much_as_those_of_the_action():
    # Otherwise a learner that sees only one of them would come near to the exact values.
    env = make()
    best = solve_linear_quadratic(env.unwrapped.world, 0.2)
    idle = best.policy._replace(gain=np.zeros((1, 2)))
    corner = np.full(2, env.unwrapped.start)
    assert evaluate_linear_policy(env.unwrapped.world, idle, 0.2).value(corner) < best.value(corner) - 0.5


def test_a_step_pays_for_the_state_before_it_and_moves_as_the_matrices_say():
    env = LinearQuadraticEnv()
    seen, _ = env.reset(seed=0)
    state, action = env.state, np.array([0.7])
    obs, reward, terminated, truncated, info = env.step(action)
    assert_allclose(seen, state, rtol=1e-6)
    assert reward == pytest.approx(-(state @ state) - 8 * 0.7**2)
    assert_allclose(env.state, [state[0] + 0.2 * state[1], 0.8 * state[1] + 0.35], atol=1e-12)
    assert_allclose(obs, env.state, rtol=1e-6)
    assert obs.dtype == np.float32
    assert (terminated, truncated, info) == (False, False, {})


def test_the_noise_has_the_given_covariance():
    env = LinearQuadraticEnv(noise=NOISE)
    env.reset(seed=0)
    away = []
    for _ in range(2000):
        env.state = np.zeros(2)
        env.step(np.zeros(1))
        away.append(env.state)
    assert_allclose(np.mean(away, 0), 0, atol=0.015)
    assert_allclose(np.cov(np.transpose(away)), NOISE, atol=0.004)


def test_episodes_begin_everywhere_in_the_box_of_the_start():
    env = LinearQuadraticEnv(start=0.2)
    first = np.array([env.reset(seed=seed)[0] for seed in range(1000)])
    assert np.abs(first).max() <= 0.2
    assert_allclose(first.mean(0), 0, atol=0.02)
    assert_allclose(first.var(0), 0.2**2 / 3, rtol=0.1)


def test_episodes_are_truncated_and_never_end():
    env = make(dynamics=1.05 * np.eye(2), control=np.eye(2), action_cost=np.eye(2))
    env.reset(seed=0)
    ends = [env.step(np.ones(2, dtype=np.float32))[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]
    assert make(max_episode_steps=7).spec.max_episode_steps == 7


def test_a_linear_quadratic_environment_may_have_one_state_and_one_action():
    env = make(**ONE_AXIS)
    assert env.observation_space.shape == env.action_space.shape == (1,)
    states, actions, rewards = play(env, solve_linear_quadratic(env.unwrapped.world, 0.2).policy, seed=0)
    assert_allclose(states[1:], 0.9 * states[:-1] + 0.5 * actions)
    assert_allclose(rewards, -(states[:-1, 0] ** 2) - 5 * actions[:, 0] ** 2)


def test_actions_in_minus_one_to_one_are_scaled_by_the_bound_of_the_world():
    env = LinearQuadraticEnv(bound=2.5)
    assert_array_equal(env.action_space.high, [2.5])
    assert_array_equal(env.action_space.low, [-2.5])
    learned = env.world.rescaled(env.bound)
    env.reset(seed=0)
    state, part = env.state, np.array([-0.3])
    _, reward, *_ = env.step(2.5 * part)
    assert reward == pytest.approx(learned.reward(state, part))
    assert_allclose(env.state, learned.mean_after(state, part))


def test_the_discount_is_that_of_the_world_and_may_be_replaced():
    env = LinearQuadraticEnv(discount=0.8)
    assert env.world.discount == 0.8
    assert dataclasses.replace(env.world, discount=0.9).discount == 0.9


@pytest.mark.parametrize("name", ["bound", "start"])
@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_a_box_of_nonpositive_size_is_refused(name, size):
    with pytest.raises(MaxEntError, match=f"{name} must be positive and finite, but is"):
        LinearQuadraticEnv(**{name: size})


def test_invalid_parameters_of_a_linear_quadratic_world_are_refused():
    with pytest.raises(MaxEntError, match="action_cost must be positive definite"):
        LinearQuadraticEnv(action_cost=[[-1.0]])
