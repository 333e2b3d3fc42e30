import io
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation, NormalizeObservation, NormalizeReward, TimeLimit
from helpers import same

from lightning_maxent import OneProcess, WorkerProcesses
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS
from lightning_maxent.data.data_module import EnvironmentDataModule
from lightning_maxent.data.env_runner import EnvRunner
from lightning_maxent.data.rollout import RolloutDataModule
from lightning_maxent.data.vectorization import make_vector_env

WORLDS = ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0"]
WORLDS += ["FrozenLake-v1", "Taxi-v4", "CliffWalking-v1", "Blackjack-v1"]
WORLDS += [f"{name}-v5" for name in ("HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid", "Swimmer", "Reacher")]
WORLDS += [f"{name}-v5" for name in ("Pusher", "InvertedPendulum", "InvertedDoublePendulum", "HumanoidStandup")]
WORLDS += [f"lightning_maxent/{name}-v0" for name in ("RandomMDP", "MatchingPennies", "AliasedGrid", "NarrowOrWide")]
WORLDS += [f"lightning_maxent/{name}-v0" for name in ("LinearQuadratic", "MultiGoal")]
COPIES = 2


def runner_of(data: EnvironmentDataModule, seed: int, vectorization=OneProcess) -> EnvRunner:
    makers = [partial(data._make["train_wrappers"], copy) for copy in range(COPIES)]
    return EnvRunner(make_vector_env(makers, vectorization), data.codec, seed, data.env_id)


def played(runner: EnvRunner, actions: torch.Tensor) -> list:
    return [(*transition, torch.from_numpy(done)) for transition, done in map(runner.step, actions)]


def stored(state):
    """What a checkpoint gives back, which is loaded without executing code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def goes_on(data: EnvironmentDataModule, before: int = 23, after: int = 40, vectorization=OneProcess) -> None:
    """Fail unless saved episodes go on in new environments as in the old ones, also into the next episodes."""
    torch.manual_seed(0)
    actions = torch.stack([data.codec.uniform(COPIES) for _ in range(before + after)])
    old, new = runner_of(data, 0, vectorization), runner_of(data, 1, vectorization)
    try:
        played(old, actions[:before])
        played(new, actions[:3])
        state = stored(old.state_dict())
        assert isinstance(state, dict), state
        assert new.load_state_dict(state) == ""
        old.drain_returns()
        new.drain_returns()
        same(played(old, actions[before:]), played(new, actions[before:]), data.env_id)
        assert old.drain_returns() == new.drain_returns()
    finally:
        old.close()
        new.close()


@pytest.mark.parametrize("env_id", WORLDS)
def test_a_saved_episode_goes_on_bit_for_bit(env_id):
    goes_on(RolloutDataModule(env_id))


def test_all_worlds_of_built_in_tasks_are_tested_above_but_those_that_cannot_be_saved():
    tasks = [path.read_text() for path in BUILT_IN_CONFIGS.glob("task/*.yaml")]
    named = {text.partition("env_id: ")[2].split()[0] for text in tasks}
    assert named - set(WORLDS) == {"LunarLander-v3"}


@pytest.mark.parametrize(
    "wrapper",
    [
        partial(TimeLimit, max_episode_steps=7),
        partial(FrameStackObservation, stack_size=3),
        NormalizeObservation,
        NormalizeReward,
    ],
)
def test_wrappers_of_gymnasium_go_on_with_their_own_state(wrapper):
    goes_on(RolloutDataModule("Pendulum-v1", wrappers=[wrapper]))


def test_episodes_in_worker_processes_go_on_too():
    goes_on(RolloutDataModule("Pendulum-v1"), 5, 5, WorkerProcesses)


class Counting(gym.Env):
    """A world of a user, whose state is hidden in an object that only it knows."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,))
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self):
        self.hidden = iter(range(10**6))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.float32([next(self.hidden)]), {}

    def step(self, action):
        return np.float32([next(self.hidden)]), float(action[0]), False, False, {}


class Saving(Counting):
    """The same world with the two methods that save its state."""

    def save_state(self):
        self.count = next(self.hidden)
        self.hidden = iter(range(self.count, 10**6))
        return {"count": self.count, "drawn": [np.float32(0.5), (1, None)]}

    def restore_state(self, state):
        assert state["drawn"] == [np.float32(0.5), (1, None)]
        assert type(state["drawn"][0]) is np.float32
        self.hidden = iter(range(state["count"], 10**6))


gym.register("test/Counting-v0", Counting)
gym.register("test/Saving-v0", Saving)


def test_a_world_with_methods_that_save_and_restore_goes_on():
    goes_on(RolloutDataModule("test/Saving-v0"))


@pytest.mark.parametrize(
    ("env_id", "reason"),
    [
        ("test/Counting-v0", "Counting has no methods save_state and restore_state"),
        ("LunarLander-v3", "LunarLander has no methods save_state and restore_state"),
    ],
)
def test_a_world_that_cannot_be_saved_says_why(env_id, reason):
    runner = runner_of(RolloutDataModule(env_id), 0)
    assert runner.state_dict() == reason
    runner.close()


def test_other_wrappers_than_those_of_the_saved_episode_begin_a_new_one():
    saved = runner_of(RolloutDataModule("Pendulum-v1"), 0)
    other = runner_of(RolloutDataModule("Pendulum-v1", wrappers=[partial(TimeLimit, max_episode_steps=5)]), 0)
    played(other, torch.zeros(3, COPIES, 1))
    assert other.load_state_dict(stored(saved.state_dict())) == "it had other wrappers"
    ends = [bool(done.any()) for *_, done in played(other, torch.zeros(5, COPIES, 1))]
    assert ends == [False] * 4 + [True]
    saved.close()
    other.close()


def test_in_the_middle_of_a_round_the_environments_are_not_saved(monkeypatch):
    """They are ahead of the buffer and the step count then."""
    data = RolloutDataModule("Pendulum-v1", num_envs=1, steps_per_round=4, eval_interval=4)
    data.runner = runner_of(data, 0)
    assert "episodes" in data.state_dict()
    monkeypatch.setattr(data, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data._next_round()
    assert "episodes" not in data.state_dict()
    data.runner.close()


def interrupted(*args):
    raise KeyboardInterrupt
