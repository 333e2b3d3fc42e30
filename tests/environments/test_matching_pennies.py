from collections import deque

import gymnasium as gym
import numpy as np
import pytest

import lightning_maxent.environments  # noqa: F401  registers them
from lightning_maxent.environments.matching_pennies import MatchingPennies
from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import exploitability

HEADS, TAILS = 0, 1


def rewards(env, actions):
    """What a sequence of plays earns ``[play]``."""
    return np.array([env.step(action)[1] for action in actions])


def winnings(heads, plays=20_000, memory=50):
    """What a policy that shows heads with this probability earns a play, against an opponent who does not know it yet."""
    env = MatchingPennies(memory)
    env.reset(seed=0)
    return rewards(env, np.random.default_rng(1).random(plays) >= heads).mean()


@pytest.mark.parametrize("heads", [0.0, 0.25, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("memory", [10, 100])
def test_a_fixed_policy_loses_the_square_of_its_bias(heads, memory):
    assert winnings(heads, memory=memory) == pytest.approx(-((2 * heads - 1) ** 2), abs=0.03)


@pytest.mark.parametrize("side", [HEADS, TAILS])
def test_a_deterministic_policy_loses_from_the_second_play_on(side):
    env = MatchingPennies()
    env.reset(seed=0)
    assert set(rewards(env, [side] * 101)[1:]) == {-1.0}


def test_the_first_guess_of_the_opponent_is_uniform():
    env = MatchingPennies()
    first = []
    for seed in range(400):
        env.reset(seed=seed)
        first.append(env.step(HEADS)[1])
    assert abs(np.mean(first)) < 0.2


def test_an_opponent_with_a_memory_of_one_play_guesses_the_last_one():
    env = MatchingPennies(memory=1)
    env.reset(seed=0)
    plays = np.random.default_rng(1).integers(2, size=100)
    expected = np.where(plays[1:] == plays[:-1], -1.0, 1.0)
    np.testing.assert_array_equal(rewards(env, plays)[1:], expected)


def test_the_memory_of_the_opponent_decays_by_one_over_its_length_per_play():
    env = MatchingPennies(memory=4)
    guessed_heads = []
    for seed in range(4000):
        env.reset(seed=seed)
        rewards(env, [HEADS, TAILS, TAILS])
        guessed_heads.append(env.step(HEADS)[1] == -1)
    recalled = 0.75**2 / (1 + 0.75 + 0.75**2)
    assert np.mean(guessed_heads) == pytest.approx(recalled, abs=0.03)


def test_the_memory_of_the_opponent_is_kept_between_episodes_and_cleared_by_a_seed():
    env = gym.make("lightning_maxent/MatchingPennies-v0")
    env.reset(seed=0)
    rewards(env, [HEADS] * 20)

    def first_play(seed):
        env.reset(seed=seed)
        return env.step(HEADS)[1]

    assert {first_play(None) for _ in range(20)} == {-1.0}
    assert {first_play(seed) for seed in range(20)} == {-1.0, 1.0}


def test_matching_pennies_has_constant_observations_and_is_truncated():
    env = gym.make("lightning_maxent/MatchingPennies-v0")
    assert env.reset(seed=0) == (0, {})
    steps = [env.step(HEADS) for _ in range(20)]
    assert {(obs, terminated) for obs, _, terminated, _, _ in steps} == {(0, False)}
    assert [truncated for *_, truncated, _ in steps] == [False] * 19 + [True]


@pytest.mark.parametrize("memory", [0, -1])
def test_a_memory_below_one_play_is_refused(memory):
    with pytest.raises(MaxEntError, match="at least 1 action"):
        MatchingPennies(memory)


def learn(alpha, exploration, seed, plays=30_000, window=5_000):
    """Tabular Q-learning for one state at discount 0: the mean reward of each action over a window of plays.

    Returns:
        The probability of heads before each play, and what the play earned.
    """
    env, rng = MatchingPennies(), np.random.default_rng(seed + 100)  # not the env's own draws
    env.reset(seed=seed)
    total, count, replay = np.zeros(2), np.zeros(2), deque()
    heads, earned = np.zeros(plays), np.zeros(plays)
    for play in range(plays):
        advantage = np.subtract(*(total / np.maximum(count, 1)))
        heads[play] = 1 / (1 + np.exp(-advantage / alpha)) if alpha else float(advantage > 0)
        greedy_or_sampled = int(rng.random() >= heads[play])
        action = int(rng.integers(2)) if rng.random() < exploration else greedy_or_sampled
        earned[play] = env.step(action)[1]
        replay.append((action, earned[play]))
        total[action] += earned[play]
        count[action] += 1
        if len(replay) > window:
            old, reward = replay.popleft()
            total[old] -= reward
            count[old] -= 1
    return heads, earned


def exploitability_of(heads):
    return exploitability(MatchingPennies.payoff, [heads, 1 - heads])


def test_exploitability_is_twice_the_distance_from_the_uniform_policy():
    assert [exploitability_of(heads) for heads in (0.0, 0.4, 0.5, 1.0)] == pytest.approx([1, 0.2, 0, 1])


@pytest.mark.parametrize("seed", range(3))
def test_soft_q_learning_converges_to_the_uniform_policy_with_return_zero(seed):
    heads, earned = learn(alpha=1.0, exploration=0.0, seed=seed)
    late = slice(len(heads) // 2, None)
    assert np.abs(heads[late] - 0.5).max() < 0.025
    assert exploitability_of(heads[-1]) < 0.05
    assert abs(earned[late].mean()) < 0.03
    assert abs(winnings(heads[-1])) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_hard_q_learning_stays_deterministic_and_loses(seed):
    heads, earned = learn(alpha=0.0, exploration=0.05, seed=seed)
    late = slice(len(heads) // 2, None)
    assert set(heads) == {0.0, 1.0}
    assert exploitability_of(heads[-1]) == 1
    assert earned[late].mean() < -0.3
    assert winnings(heads[-1]) < -0.99
