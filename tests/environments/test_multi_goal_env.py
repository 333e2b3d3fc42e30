import gymnasium as gym
import numpy as np
import pygame
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.testing import assert_allclose, assert_array_equal

import lightning_maxent.environments  # noqa: F401  registers it
from lightning_maxent.environments.multi_goal import MultiGoalEnv
from lightning_maxent.errors import MaxEntError


def make(**kwargs):
    return gym.make("lightning_maxent/MultiGoal-v0", **kwargs)


def test_the_multi_goal_environment_passes_the_checker_of_gymnasium():
    check_env(make(render_mode="rgb_array").unwrapped)


def test_rewards_and_termination_on_the_way_to_a_goal_equal_those_of_the_world():
    env = make(init_sigma=0.0)
    obs, _ = env.reset(seed=0)
    assert_allclose(obs, 0)
    rewards, terminated = [], False
    while not terminated:
        obs, reward, terminated, truncated, _ = env.step(np.array([0.9, 0.0], np.float32))
        rewards.append(reward)
        assert not truncated
    assert_allclose(obs, [4.5, 0.0], atol=1e-5)
    distances = 5 - 0.9 * np.arange(1, 6)
    assert_allclose(rewards, -30 * 0.81 - distances**2 + 10 * (distances < 1), rtol=1e-5)


def test_every_coefficient_reaches_the_reward():
    coefficients = {"actuation_cost": 2.0, "distance_cost": 3.0, "goal_reward": 5.0, "goal_threshold": 0.7}
    env = make(init_sigma=0.0, goals=[[1.0, 1.0], [-1.0, 1.0]], **coefficients)
    env.reset(seed=0)
    _, reward, terminated, *_ = env.step(np.array([0.5, 0.5], np.float32))
    assert (reward, terminated) == (pytest.approx(-2 * 0.5 - 3 * 0.5), False)
    _, reward, terminated, *_ = env.step(np.array([0.4, 0.0], np.float32))
    assert (reward, terminated) == (pytest.approx(-2 * 0.16 - 3 * 0.26 + 5), True)


def test_thirty_steps_without_a_goal_are_truncated():
    env = make()
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(30)]
    assert ends == [(False, False)] * 29 + [(False, True)]


def test_episodes_begin_around_the_origin():
    env = MultiGoalEnv(init_sigma=0.3)
    first = np.array([env.reset(seed=seed)[0] for seed in range(1000)])
    assert_allclose(first.mean(0), 0, atol=0.04)
    assert_allclose(first.std(0), 0.3, rtol=0.1)


def test_the_picture_shows_the_path():
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    for _ in range(3):
        env.step(np.array([1.0, 0.0], np.float32))
    after = env.render()
    assert before.shape == after.shape == (400, 400, 3)
    assert before.dtype == np.uint8
    moved = (before != after).any(-1)
    assert moved[190:210, 200:300].any()
    assert not moved[:150].any()
    assert MultiGoalEnv().render() is None


def test_a_window_shows_the_same_picture(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = make(render_mode="human")
    env.reset(seed=0)
    env.step(np.array([1.0, 0.0], np.float32))
    shown = env.unwrapped.window
    assert shown is not None
    picture = make(render_mode="rgb_array")
    picture.reset(seed=0)
    picture.step(np.array([1.0, 0.0], np.float32))
    assert_array_equal(pygame.surfarray.array3d(shown).swapaxes(0, 1), picture.render())
    env.close()
    assert env.unwrapped.window is None


@pytest.mark.parametrize("kwargs", [{"init_sigma": -0.1}, {"goal_threshold": 0.0}, {"actuation_cost": float("nan")}])
def test_invalid_parameters_of_the_multi_goal_environment_are_refused(kwargs):
    with pytest.raises(MaxEntError, match=next(iter(kwargs))):
        MultiGoalEnv(**kwargs)
