"""The answers that an environment may give, and the error messages for any other answer."""

from collections.abc import Callable
from functools import partial

import gymnasium as gym
import numpy as np
import probe_envs
import pytest
import torch
from gymnasium import spaces

from lightning_maxent import MaxEntError, Transition
from lightning_maxent.data.action_codec import BoxCodec
from lightning_maxent.data.checked_env import CheckedEnv
from lightning_maxent.data.env_runner import EnvRunner
from lightning_maxent.data.spaces import make_env
from lightning_maxent.data.vectorization import make_vector_env

FILE = r".*probe_envs\.py, line \d+"


@pytest.fixture
def world(runner):
    """Makes a runner with a copy of a world of ``probe_envs`` for each dictionary of arguments."""

    def make(name: str, *of_copies: dict) -> EnvRunner:
        return runner(f"probe_envs:worlds/{name}-v0", *of_copies, name=name, env_steps=100)

    return make


def play(runs: EnvRunner, steps: int) -> list:
    return [runs.step(torch.zeros(runs.envs.num_envs, 1)) for _ in range(steps)]


@pytest.fixture
def met(vector_env):
    """The transitions of three copies of a world whose episodes have different lengths."""

    def play(world: Callable[[int], gym.Env], steps: int = 14) -> list[Transition]:
        envs = vector_env(*(partial(lambda length: CheckedEnv(world(length)), length) for length in (4, 5, 6)))
        runs = EnvRunner(envs, BoxCodec(envs.single_action_space), 0, "probe")
        return [runs.step(torch.full((3, 1), 0.5))[0] for _ in range(steps)]

    return play


def same(left: list[Transition], right: list[Transition]) -> bool:
    return all(torch.equal(*pair) for rows in zip(left, right) for pair in zip(*rows))


@pytest.mark.parametrize("kind", probe_envs.INFOS)
def test_infos_of_any_kind_do_not_change_the_transitions(met, kind):
    assert same(met(lambda length: probe_envs.Talkative(kind, length)), met(probe_envs.Line))


@pytest.mark.filterwarnings(
    "ignore:.*The obs returned", "ignore:.*The reward returned", "ignore:.*Expects `terminated`"
)
@pytest.mark.parametrize(
    ("how", "value", "sentence"),
    [
        ("obs", np.zeros(3, np.float64), r"gave an array of shape \(3,\) and dtype float64 as observation, but its space is Box\(.*\(2,\), float32\)"),
        ("obs", np.zeros(1, np.float32), r"gave an array of shape \(1,\) and dtype float32 as observation"),
        ("obs", np.zeros((2, 1), np.float32), r"gave an array of shape \(2, 1\) and dtype float32 as observation"),
        ("obs", None, r"gave None as observation"),
        ("obs", "far", r"gave 'far' of type str as observation"),
        ("reward", np.ones(1), r"gave an array of shape \(1,\) and dtype float64 as reward, but a reward is one number"),
        ("reward", torch.ones(1), r"gave tensor\(\[1.\]\) of type Tensor as reward, but a reward is one number"),
        ("reward", None, r"gave None as reward"),
        ("reward", "much", r"gave 'much' of type str as reward"),
        ("terminated", None, r"gave None as terminated and False of type bool as"),
        ("terminated", np.array([False]), r"gave an array of shape \(1,\) and dtype bool as terminated and"),
        ("reward", "1.0", r"gave '1.0' of type str as reward, but a reward is one number"),
        ("terminated", np.array([True, False]), r"gave an array of shape \(2,\) and dtype bool as terminated and False of type bool as"),
        ("four", None, r"returned a tuple of 4, but step must return \(observation, reward, terminated, truncated, info\)"),
        ("raises", None, r"raised IndexError: Cannot choose from an empty sequence \("),
        ("exits", None, r"raised SystemExit: the window was closed \("),
    ],
)  # fmt: skip
def test_an_invalid_step_result_is_reported_with_copy_step_and_line(world, how, value, sentence):
    runs = world("Mistaken", {"how": "obs", "value": np.zeros(2, np.float32)}, {"how": how, "value": value})
    play(runs, 2)
    when = r"^Mistaken at environment step 106: copy 1, in step 3 of its episode, "
    where = rf"{FILE}\)\.$" if how in ("raises", "exits") else rf".* see Mistaken\.step \({FILE}\)\.$"
    with pytest.raises(MaxEntError, match=when + sentence + where):
        play(runs, 1)


@pytest.mark.filterwarnings("ignore:.*reset")
@pytest.mark.parametrize(
    ("name", "kwargs", "sentence"),
    [
        ("Mistaken", {"how": "reset_without_info"}, r"returned an array of shape \(2,\) and dtype float32, but reset must .*see Mistaken\.reset"),
        ("Mistaken", {"how": "reset_obs", "value": np.zeros(5)}, r"gave an array of shape \(5,\) and dtype float64 as observation.*see Mistaken\.reset"),
        ("Mistaken", {"how": "exits_in_reset"}, r"raised SystemExit: 3 \(.*probe_envs\.py, line \d+\)\.$"),
        ("Seedless", {}, r"unexpected keyword argument 'seed': reset must take seed and options.*see Seedless\.reset"),
    ],
)  # fmt: skip
def test_an_invalid_reset_result_is_reported_with_its_line(world, name, kwargs, sentence):
    where = "" if sentence.endswith("$") else rf" \({FILE}\)"
    with pytest.raises(MaxEntError, match=rf"^{name} at environment step 100: copy 0, in reset, .*{sentence}{where}"):
        world(name, kwargs)


@pytest.mark.filterwarnings("ignore:.*Core environment is written in old step API")
def test_a_step_of_four_values_is_reported_although_gymnasium_fails_first(world):
    with pytest.raises(MaxEntError, match=rf"got 4\): step must return .*; see OldStep\.step \({FILE}\)\.$"):
        play(world("OldStep", {}), 1)


@pytest.mark.filterwarnings("ignore:.*The obs returned")
def test_an_invalid_part_of_a_nested_observation_is_reported_by_name(world):
    part = r"gave an array of shape \(2, 3\) and dtype float32 as observation\['camera'\], but its space is Box\(.*\(2, 2\)"
    with pytest.raises(MaxEntError, match=part):
        play(world("Parts", {}), 1)


@pytest.mark.parametrize("reward", [np.float32(2), np.array(2.0), 2, True, np.int64(2), torch.tensor(2.0)])
@pytest.mark.filterwarnings("ignore:.*The reward returned")
def test_any_single_number_is_a_valid_reward(world, reward):
    runs = world("Mistaken", {"how": "reward", "value": reward})
    assert play(runs, 3)[-1][0].reward.item() == float(reward)


@pytest.mark.parametrize("raised", [OSError, SystemExit])
def test_an_error_in_close_is_reported_with_line_and_env_id(raised):
    class Stuck(probe_envs.Line):
        def close(self):
            raise raised("the arm is stuck")

    said = rf"in close, raised {raised.__name__}: the arm is stuck \(.*test_checked_env\.py, line"
    with pytest.raises(MaxEntError, match=rf"^Stuck: copy 0, {said}"):
        CheckedEnv(Stuck()).close()
    gym.register("worlds/Stuck-v0", Stuck)
    try:
        envs = make_vector_env([partial(make_env, "worlds/Stuck-v0")])
        with pytest.raises(MaxEntError, match=rf"^worlds/Stuck-v0: copy 0, {said}"):
            envs.close()
    finally:
        del gym.registry["worlds/Stuck-v0"]


@pytest.mark.parametrize(
    ("space", "right", "wrong"),
    [
        (spaces.Box(-1, 1, (2,)), np.zeros(2), [np.zeros((2, 1)), np.zeros((1, 2)), np.zeros(3), None]),
        (spaces.Box(-1, 1, (1,)), [0.5], [0.5, np.zeros(()), [[0.5]]]),
        (spaces.Box(-1, 1, (2, 3)), np.zeros((2, 3)), [np.zeros((3, 2)), np.zeros(6)]),
        (spaces.Discrete(3, start=1), np.int64(3), [np.array([1, 2]), np.array([1]), 0, 4, None]),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 2]), [np.array([2, 0]), np.array([0, -1]), np.array([[1], [2]])]),
        (spaces.MultiBinary(4), np.ones(4), [np.ones((2, 2)), np.ones(1)]),
        (spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.Discrete(2)]), (np.zeros(2), 1), [(np.zeros((2, 1)), 1), (np.zeros(2), -1), (np.zeros(2), 1, 0)]),
        (spaces.Dict(a=spaces.Box(-1, 1, (2,))), {"a": np.zeros(2), "more": 1}, [{"a": np.zeros((1, 2))}, {"b": np.zeros(2)}]),
    ],
)  # fmt: skip
def test_an_observation_outside_its_space_is_refused(space, right, wrong):
    class Shows(probe_envs.WithSpaces):
        def reset(self, *, seed=None, options=None):
            return self.shown, {}

    env = Shows(space, spaces.Box(-1, 1, (1,)))
    env.shown = right
    assert CheckedEnv(env).reset()[0].shape == (spaces.flatdim(space),)
    for env.shown in wrong:
        with pytest.raises(MaxEntError, match="as observation"):
            CheckedEnv(env).reset()


class Slides(gym.ObservationWrapper):
    """A user's own wrapper that keeps its space and not its shape."""

    def observation(self, observation):
        return observation[:1]


def test_an_error_in_a_wrapper_is_reported_with_the_wrapper():
    env = CheckedEnv(Slides(probe_envs.Line()))
    with pytest.raises(MaxEntError, match=r"as observation, .*see Slides\.observation \(.*test_checked_env\.py, line"):
        env.reset(seed=0)


class InOneArray(probe_envs.Line):
    """Writes every observation into one array, and over the action that it is given."""

    array = np.zeros(2, np.float32)

    def obs(self):
        self.array[:] = [self.x, self.t]
        return self.array

    def step(self, action):
        answer = super().step(action)
        action *= 0
        return answer


def test_an_environment_that_reuses_its_arrays_gives_the_same_transitions(met):
    assert same(met(InOneArray), met(probe_envs.Line))
