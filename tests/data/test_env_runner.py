"""A step of the copies of an environment; every test runs over every kind of vectorization."""

import itertools

import numpy as np
import pytest
import torch

from lightning_maxent import MaxEntError, OneProcess
from lightning_maxent.data.env_runner import play_episodes

COUNTING = "probe_envs:probe/Counting-v0"


def zeros(num_envs: int = 1) -> torch.Tensor:
    return torch.zeros(num_envs, 2)


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_the_last_observation_of_an_episode_is_stored_as_next_observation(runner, ends):
    runs = runner(COUNTING, *[{"length": 3, "ends": ends}] * 2)
    transitions = [runs.step(zeros(2)) for _ in range(4)]
    last, done = transitions[2]
    assert done.all()
    assert last.next_obs.tolist() == [[3.0, 0.0], [3.0, 0.0]]  # step 3 of episode 0
    assert last.terminated.tolist() == [ends == "terminated"] * 2
    first, _ = transitions[3]
    assert first.obs.tolist() == [[0.0, 1.0], [0.0, 1.0]]  # step 0 of episode 1


def test_consecutive_transitions_are_connected_within_an_episode(runner):
    runs = runner(COUNTING, {"length": 3})
    steps = [runs.step(zeros()) for _ in range(10)]
    for (before, done), (after, _) in itertools.pairwise(steps):
        assert done.all() or torch.equal(before.next_obs, after.obs)


def test_stored_observations_do_not_change_when_the_environment_steps_on(runner):
    runs = runner(COUNTING, {})
    transition, _ = runs.step(zeros())
    before = transition.next_obs.clone()
    runs.step(zeros())
    assert torch.equal(transition.next_obs, before)


@pytest.mark.parametrize("vectorization", [OneProcess])  # which shows its copies
def test_actions_in_minus_one_to_one_reach_the_environment_in_its_own_bounds(runner):
    runs = runner(COUNTING, {})
    for action in ([-1.0, -1.0], [1.0, 1.0], [0.0, 0.5]):
        runs.step(torch.tensor([action]))
    played = runs.envs.envs[0].unwrapped.actions
    assert np.array_equal(played, [[-2.0, 0.0], [2.0, 10.0], [0.0, 7.5]])


@pytest.mark.parametrize("vectorization", [OneProcess])  # which shows its copies
def test_an_action_that_rounds_beyond_its_bounds_is_clipped(runner):
    runs = runner(COUNTING, {})
    runs.step(torch.tensor([[1.0000001, -1.0000001]]))  # the probe environment refuses what is out of bounds
    assert np.array_equal(runs.envs.envs[0].unwrapped.actions, [[2.0, 0.0]])


def test_returns_and_lengths_of_training_episodes_are_their_sums(runner):
    runs = runner(COUNTING, *[{"length": 4}] * 2)
    for _ in range(9):
        runs.step(zeros(2))
    assert runs.drain_returns() == [(1 + 2 + 3 + 4, 4)] * 4
    assert runs.drain_returns() == []


def test_a_reward_that_is_too_large_for_the_buffer_is_reported_and_a_large_one_is_stored(runner):
    runs = runner(COUNTING, {"poison_reward": 2, "poison": 3e38}, {"poison_reward": 3, "poison": -1e300})
    runs.step(zeros(2))
    transition, _ = runs.step(zeros(2))
    assert transition.reward.tolist() == [torch.tensor(3e38).item(), 2.0]
    with pytest.raises(MaxEntError, match=r"copy 1 gave -1e\+300 as reward, which is too large for 32 bits: fix"):
        runs.step(zeros(2))


@pytest.mark.parametrize(("poison", "what"), [("poison_reward", "reward"), ("poison_obs", "observation")])
def test_non_finite_observations_and_rewards_are_reported_with_environment_and_step(runner, poison, what):
    runs = runner(COUNTING, {}, {poison: 3}, env_steps=100)
    runs.step(zeros(2))
    runs.step(zeros(2))
    with pytest.raises(MaxEntError, match=rf"probe at environment step 106: copy 1 gave .* as {what}, which is not"):
        runs.step(zeros(2))


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_evaluation_episodes_are_complete_and_evenly_distributed(runner, ends):
    def act(obs: torch.Tensor, deterministic: bool) -> torch.Tensor:
        return zeros(len(obs))

    runs = runner(COUNTING, *[{"length": 4, "ends": ends}] * 3)
    episodes = list(play_episodes(runs, act, 7, deterministic=True))
    assert len(episodes) == 7
    starts = sorted(int(episode.obs[0, 1]) for episode in episodes)
    assert starts == [0, 0, 0, 1, 1, 1, 2]  # the first environment plays three, the others two
    seeds = [episode.seed for episode in episodes if episode.obs[0, 1] == 0]
    assert sorted(seeds) == [runs.seed, runs.seed + 1, runs.seed + 2]
    assert {episode.seed for episode in episodes if episode.obs[0, 1] > 0} == {None}
    for episode in episodes:
        assert episode.obs[:, 0].tolist() == [0, 1, 2, 3, 4]
        assert episode.reward.tolist() == [1, 2, 3, 4]
        assert episode.terminated == (ends == "terminated")
