"""What holds for every registered environment, also for one that is added later."""

from collections import Counter, defaultdict

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import lightning_maxent.environments  # noqa: F401  registers them

IDS = sorted(env_id for env_id in gym.registry if env_id.startswith("lightning_maxent/"))
TABULAR = [env_id for env_id in IDS if hasattr(gym.make(env_id).unwrapped, "P")]
RANDOM = [env_id for env_id in IDS if env_id != "lightning_maxent/NarrowOrWide-v0"]  # where chance plays a part


def trajectory(env, seed, steps=200):
    """Observations, rewards and ends of ``steps`` steps of a random policy, across episodes."""
    env.action_space.seed(0)
    seen = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        seen += [obs, reward, terminated, truncated]
        if terminated or truncated:
            seen.append(env.reset()[0])
    return [np.asarray(part).tolist() for part in seen]


def test_the_package_registers_environments():
    assert len(IDS) >= 4
    assert len(TABULAR) >= 3


@pytest.mark.parametrize("env_id", IDS)
def test_registered_environments_pass_the_checker_of_gymnasium(env_id):
    check_env(gym.make(env_id).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_the_same_seed_gives_the_same_episode_in_a_used_environment(env_id):
    env = gym.make(env_id)
    first = trajectory(env, seed=3)
    assert trajectory(env, seed=3) == first
    assert trajectory(gym.make(env_id), seed=3) == first


@pytest.mark.parametrize("env_id", RANDOM)
def test_another_seed_gives_another_episode(env_id):
    assert trajectory(gym.make(env_id), seed=3) != trajectory(gym.make(env_id), seed=4)


@pytest.mark.parametrize("env_id", IDS)
def test_every_episode_ends(env_id):
    env = gym.make(env_id)
    env.action_space.seed(0)
    env.reset(seed=0)
    assert any(True in env.step(env.action_space.sample())[2:4] for _ in range(200))


@pytest.mark.parametrize("env_id", TABULAR)
def test_the_transition_table_equals_the_steps_of_the_environment(env_id):
    env = gym.make(env_id).unwrapped
    env.action_space.seed(0)
    starts, played = Counter(), defaultdict(Counter)
    terminated = True
    for number in range(20_000):
        if terminated:
            env.reset(seed=0 if number == 0 else None)
            starts[env.state] += 1
        state, action = env.state, int(env.action_space.sample())
        _, reward, terminated, _, _ = env.step(action)
        played[state, action][env.state, reward, terminated] += 1
    assert_frequencies(starts, dict(enumerate(env.initial_state_distrib)))
    for (state, action), outcomes in played.items():
        assert_frequencies(outcomes, {tuple(outcome): p for p, *outcome in env.P[state][action]})


def assert_frequencies(counts, probabilities):
    total = sum(counts.values())
    assert set(counts) <= {outcome for outcome, probability in probabilities.items() if probability > 0}
    for outcome, probability in probabilities.items():
        deviation = np.sqrt(total * probability * (1 - probability))
        assert abs(counts[outcome] - total * probability) <= 4.5 * deviation + 1e-9


@pytest.mark.parametrize("env_id", TABULAR)
def test_rows_of_the_transition_table_are_probabilities_and_terminal_states_absorb(env_id):
    table = gym.make(env_id).unwrapped.P
    for row in table.values():
        for outcomes in row.values():
            assert sum(outcome[0] for outcome in outcomes) == pytest.approx(1)
    ends = {after for row in table.values() for outcomes in row.values() for _, after, _, ended in outcomes if ended}
    assert ends
    for end in ends:
        assert all(outcomes == [(1.0, end, 0.0, True)] for outcomes in table[end].values())
