"""Environments that allow a limited number of open copies, and evaluation in the copies of training."""

import probe_envs
import pytest
import stub_trainer
import torch
from stub_trainer import StubTrainer, rounds

from lightning_maxent import MaxEntError, OneProcess, ReplayDataModule, VectorizationBuilder
from lightning_maxent.data.scaling import ReturnScaledRewards


@pytest.fixture(autouse=True)
def _none_open(monkeypatch):
    monkeypatch.setattr(probe_envs.OnlyOne, "open", 0)


class Still(StubTrainer):
    """Plays zero."""

    def act(self, obs: torch.Tensor, deterministic: bool) -> torch.Tensor:
        return torch.zeros(len(obs), 1)

    def explore(self, obs: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(obs), 1)


def started(**kwargs) -> ReplayDataModule:
    defaults = {"learning_starts": 4, "eval_interval": 10, "eval_episodes": 3}
    return stub_trainer.started("probe_envs:worlds/OnlyOne-v0", Still, **(defaults | kwargs))


def test_an_environment_that_allows_one_copy_is_refused_with_advice_that_works():
    data = started()
    rounds(data, 10)
    with pytest.raises(
        MaxEntError,
        match=r"raised RuntimeError: the port is taken .*probe_envs.*opens 3 further copies: .*eval_envs 0\.$",
    ):
        list(data.val_dataloader())
    data.teardown("fit")
    assert probe_envs.OnlyOne.open == 0
    data = started(eval_envs=0)
    rounds(data, 10)
    assert len(list(data.val_dataloader())) == 6
    rounds(data, 10)
    data.teardown("fit")
    assert probe_envs.OnlyOne.open == 0


def test_no_environment_copy_stays_open_if_one_cannot_be_made():
    data = started(env_kwargs={"limit": 3}, num_envs=5, steps_per_round=5)
    with pytest.raises(MaxEntError, match=r"the port is taken .*lower --data.num_envs\.$"):
        rounds(data, 1)
    assert probe_envs.OnlyOne.open == 0


@pytest.mark.parametrize(("eval_envs", "opened"), [(None, 3), (2, 2), (7, 3), (0, 0)])
def test_evaluation_opens_eval_envs_copies_but_at_most_one_per_episode(eval_envs, opened):
    data = started(env_kwargs={"limit": 99}, eval_envs=eval_envs, num_envs=2, steps_per_round=2)
    rounds(data, 5)
    assert probe_envs.OnlyOne.open == 2
    assert len(list(data.val_dataloader())) == 6
    assert probe_envs.OnlyOne.open == 2 + opened
    data.teardown("fit")
    with pytest.raises(MaxEntError, match="eval_envs must not be negative, but is"):
        started(eval_envs=-1)


def test_evaluation_in_the_training_environment_cuts_its_episode_and_a_new_one_begins(vectorization):
    """Episodes are of 6 steps; evaluation comes after 8, two steps into the second."""
    data = started(eval_envs=0, vectorization=vectorization)
    rounds(data, 8)
    episodes = [*data.val_dataloader()]
    assert [len(episode.reward) for episode in episodes] == [6] * 6  # whole ones
    rounds(data, 8)
    rows = data.buffer.storage[:16]
    assert rows["obs"][:, 1].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2, 3, 4, 5, 0, 1]
    assert rows["next_obs"][:, 1].tolist() == [1, 2, 3, 4, 5, 6, 1, 2, 1, 2, 3, 4, 5, 6, 1, 2]
    assert not rows["terminated"].any()
    assert data.metrics()["train/length_mean"] == 6  # whole ones too, also those from before the evaluation
    assert rows["obs"][0, 0] != rows["obs"][8, 0]  # another start
    data.teardown("fit")


def test_evaluation_plays_the_same_episodes_wherever_it_plays(vectorization):
    def played(eval_envs: int, vectorization: VectorizationBuilder) -> list:
        kwargs = {"env_kwargs": {"limit": 9}, "eval_episodes": 2}
        data = started(eval_envs=eval_envs, vectorization=vectorization, **kwargs)
        rounds(data, 10)
        episodes = [episode.obs.tolist() for episode in data.val_dataloader()]
        data.teardown("fit")
        return episodes

    assert played(0, vectorization) == played(1, OneProcess)


def test_reward_scaling_drops_returns_of_episodes_that_evaluation_cuts_off():
    data = started(eval_envs=0, reward_scaling=ReturnScaledRewards)
    rounds(data, 8)
    assert data.reward_scaling._returns[0] != 0
    list(data.val_dataloader())
    rounds(data, 1)
    assert data.reward_scaling._returns[0] == data.buffer.storage[8:9]["reward"].item()
    data.teardown("fit")
