"""Wrappers by configuration: the copies that they are around, and the error messages for one that cannot be used."""

import sys
from types import ModuleType

import gymnasium as gym
import numpy as np
import probe_envs  # noqa: F401
import pytest
import stub_trainer
import torch
from stub_trainer import StubTrainer, rounds

from lightning_maxent import MaxEntError, ReplayDataModule, TrainedPolicy

LINE = "probe_envs:worlds/Line-v0"


class Acts(StubTrainer):
    def act(self, obs: torch.Tensor, deterministic: bool) -> torch.Tensor:
        return torch.zeros(len(obs), 1)

    explore = lambda self, obs: self.act(obs, False)  # noqa: E731


def started(env_id: str = LINE, **kwargs) -> ReplayDataModule:
    defaults = {"learning_starts": 4, "eval_interval": 12, "num_envs": 2, "steps_per_round": 2}
    torch.manual_seed(0)
    return stub_trainer.started(env_id, Acts, **(defaults | kwargs))


class Plus(gym.RewardWrapper):
    """Adds to rewards."""

    def __init__(self, env: gym.Env, amount: float = 100.0):
        super().__init__(env)
        self.amount = amount

    def reward(self, reward):
        return reward + self.amount


def ten_times(env: gym.Env) -> gym.Env:
    return gym.wrappers.TransformReward(env, lambda reward: 10 * reward)


class OnlyTime(gym.ObservationWrapper):
    """Shows the second number alone."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def observation(self, observation):
        return observation[1:]


class Wide(gym.ActionWrapper):
    """Takes actions in a wider box."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.action_space = gym.spaces.Box(-5, 5, (1,), np.float32)

    def action(self, action):
        return action / 5


def rewards(data: ReplayDataModule) -> tuple[float, float]:
    """Mean rewards of training and of evaluation; the world's own lie in [-2, 0]."""
    rounds(data, 6)
    trained = data.buffer.storage[: len(data.buffer)]["reward"].mean().item()
    evaluated = torch.cat([episode.reward for episode in data.val_dataloader()]).mean().item()
    data.teardown("fit")
    return trained, evaluated


@pytest.mark.parametrize(
    ("option", "plus"), [("wrappers", (100, 100)), ("train_wrappers", (100, 0)), ("eval_wrappers", (0, 100))]
)
def test_each_option_says_around_which_copies_its_wrappers_are(vectorization, option, plus):
    bare = rewards(started(vectorization=vectorization))
    assert rewards(started(vectorization=vectorization, **{option: [Plus]})) == pytest.approx(
        [one + more for one, more in zip(bare, plus)], abs=1e-3
    )


def test_the_last_wrapper_is_the_outermost_and_those_of_some_copies_are_around_those_of_all():
    bare, _ = rewards(started())
    for options, expected in [
        ({"wrappers": [Plus, ten_times]}, 10 * (bare + 100)),
        ({"wrappers": [ten_times, Plus]}, 10 * bare + 100),
        ({"wrappers": [ten_times], "train_wrappers": [Plus]}, 10 * bare + 100),
    ]:
        assert rewards(started(**options))[0] == pytest.approx(expected, abs=1e-3)


def test_every_copy_gets_a_wrapper_of_its_own_and_its_name():
    made = []

    def wrapper(env: gym.Env) -> gym.Env:
        made.append((env.get_wrapper_attr("copy_name"), gym.Wrapper(env)))
        return made[-1][1]

    data = started(wrappers=[wrapper], num_envs=3, steps_per_round=3, eval_envs=2)
    rounds(data, 2)
    list(data.val_dataloader())
    names = [name for name, _ in made[1:]]  # the first tells the spaces
    assert names == ["train-0", "train-1", "train-2", "eval-0", "eval-1"]
    assert len({id(each) for _, each in made}) == len(made)
    data.teardown("fit")


def test_wrappers_of_all_copies_say_what_the_learner_sees_and_what_it_does():
    data = ReplayDataModule(LINE, wrappers=[OnlyTime, Wide])
    assert data.obs_dim == 1
    assert data.observation_space.shape == (1,)
    assert data.codec.to_env(torch.tensor([[1.0]])) == 5


class AsSeen(torch.nn.Module):
    """The action is the observation."""

    def act(self, obs: torch.Tensor, deterministic: bool) -> torch.Tensor:
        return obs / 10


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_trained_policy_takes_what_the_wrapped_environment_shows_and_gives_what_it_takes():
    policy = TrainedPolicy(AsSeen(), ReplayDataModule(LINE, wrappers=[OnlyTime, Wide], eval_wrappers=[Plus]))
    assert policy(np.array([4.0], np.float32)) == pytest.approx(2.0)  # 4 / 10 of the box up to 5
    with pytest.raises(MaxEntError, match="neither an observation"):
        policy(np.zeros(2, np.float32))


@pytest.mark.parametrize("option", ["train_wrappers", "eval_wrappers"])
@pytest.mark.parametrize(("wrapper", "kind"), [(OnlyTime, "observation"), (Wide, "action")])
def test_wrappers_of_some_copies_keep_the_spaces(option, wrapper, kind):
    with pytest.raises(
        MaxEntError,
        match=rf"^data\.{option} change the {kind} space from Box.* to Box.*: give the .* data\.wrappers\.$",
    ):
        started(**{option: [wrapper]})


def test_copies_of_training_that_evaluate_too_cannot_have_wrappers_for_one_of_the_two():
    with pytest.raises(MaxEntError, match="eval_envs 0 evaluates in the copies of training, which cannot have other"):
        started(eval_envs=0, eval_wrappers=[Plus])
    data = started(eval_envs=0, wrappers=[Plus])
    assert min(rewards(data)) > 90


def breaks(env: gym.Env) -> gym.Env:
    raise ValueError("no camera")


@pytest.mark.parametrize(
    ("wrapper", "sentence"),
    [
        (breaks, r"raised ValueError: no camera \(.*test_wrapping\.py, line \d+\)\.$"),
        (lambda env: None, r"returned None, but it must return a gymnasium\.Env\.$"),
        (lambda env: 3, r"returned an object of the class int, but it must return a gymnasium\.Env\.$"),
        (gym.wrappers.TimeLimit, r"raised TypeError: .*'max_episode_steps'"),
    ],
)
@pytest.mark.parametrize("option", ["wrappers", "train_wrappers", "eval_wrappers"])
def test_a_wrapper_that_cannot_be_used_is_told_before_training_with_its_option_and_place(option, wrapper, sentence):
    with pytest.raises(MaxEntError, match=rf"^Wrapper 2 of data\.{option} {sentence}"):
        started(**{option: [Plus, wrapper]}).obs_dim  # noqa: B018


def test_a_wrapper_whose_observations_do_not_fit_the_learner_is_told_with_the_environment():
    def text(env: gym.Env) -> gym.Env:
        return gym.wrappers.TransformObservation(env, str, gym.spaces.Text(4))

    with pytest.raises(MaxEntError, match=r"only Box, Discrete"):
        started(wrappers=[text]).obs_dim  # noqa: B018


def test_videos_that_several_copies_would_overwrite_are_refused(tmp_path, monkeypatch):
    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # which Gymnasium's wrapper imports
    monkeypatch.setattr(sys.modules["moviepy.video.io.ImageSequenceClip"], "ImageSequenceClip", None, raising=False)

    def videos(env: gym.Env) -> gym.Env:
        return gym.wrappers.RecordVideo(env, str(tmp_path / "new"))

    with pytest.raises(
        MaxEntError, match=r"several copies would write the same files: use the callback lightning_maxe"
    ):
        started("probe_envs:worlds/Filmed-v0", env_kwargs={"render_mode": "rgb_array"}, train_wrappers=[videos])
