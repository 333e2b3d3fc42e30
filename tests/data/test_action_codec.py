"""Conversion of the actions of every space in both directions."""

import itertools
import json
import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lightning_maxent import MaxEntError, ReplayDataModule
from lightning_maxent.data.action_codec import BoxCodec, FiniteCodec, action_codec, bounded
from lightning_maxent.data.env_runner import EnvRunner
from lightning_maxent.data.vectorization import make_vector_env


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(-128, 127, np.int8), (0, 3, np.int64), (-3e38, 3e38, np.float32), (2, 5, np.float64)]
)
def test_actions_map_minus_one_zero_and_one_to_the_bounds_and_the_middle_of_a_box(low, high, dtype):
    box = spaces.Box(low, high, (1,), dtype)
    codec = BoxCodec(box)
    played = [codec.to_env(torch.tensor([[action]])) for action in (-1.0, -0.999, 0.0, 0.999, 1.0)]
    assert all(each.dtype == dtype and box.contains(each[0]) for each in played)
    bottom, near_bottom, middle, near_top, top = (float(each[0, 0]) for each in played)
    assert (bottom, top) == (float(box.low[0]), float(box.high[0]))
    if np.issubdtype(dtype, np.integer) and high == 3:
        assert (near_bottom, near_top) == (bottom, top)  # an equal share for each, not the bound alone
    assert middle == pytest.approx((low + high) / 2, abs=0.5 if np.issubdtype(dtype, np.integer) else 1e-9)


I64, U64 = np.iinfo(np.int64), np.iinfo(np.uint64)


@pytest.mark.parametrize("shape", [(), (1,), (2, 2)], ids=str)
@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 3, np.int64),
        (-1, 1, np.int8),
        (250, 255, np.uint8),
        (-128, 127, np.int8),
        (7, 7, np.int32),
        (0, 1, np.bool_),
    ],
)
def test_uniform_actions_of_an_integer_box_are_uniform(low, high, dtype, shape):
    codec = BoxCodec(spaces.Box(low, high, shape, dtype))
    played = codec.to_env(codec.uniform(40_000)).astype(np.int64)
    assert played.shape == (40_000, *shape)
    choices = high - low + 1
    shares = np.stack([(played == low + choice).mean(0) for choice in range(choices)])
    assert np.abs(shares - 1 / choices).max() < 5 * (1 / choices / 40_000) ** 0.5
    assert (played.min(), played.max()) == (low, high)


def test_every_dimension_of_an_integer_box_has_its_own_range():
    box = spaces.Box(np.array([0, -5, 3]), np.array([1, 4, 3]), dtype=np.int64)
    codec = BoxCodec(box)
    played = codec.to_env(torch.linspace(-1, 1, 2_001).unsqueeze(-1).expand(-1, 3))
    assert all(box.contains(each) for each in played)
    assert [np.unique(column).tolist() for column in played.T] == [[0, 1], list(range(-5, 5)), [3]]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(I64.min, I64.max, np.int64), (0, U64.max, np.uint64), (I64.max - 2, I64.max, np.int64), (0, I64.max, np.int64)],
)
def test_actions_reach_the_largest_integers_and_stay_within_the_bounds(low, high, dtype):
    box = spaces.Box(np.array([low], dtype), np.array([high], dtype), dtype=dtype)
    played = BoxCodec(box).to_env(torch.tensor([[-1.5], [-1.0], [0.0], [1.0 - 2**-24], [1.0], [1.5]]))
    assert all(box.contains(each) for each in played)
    bottom, first, middle, near_top, top, last = (int(each[0]) for each in played)
    assert (bottom, first, top, last) == (low, low, high, high)
    assert middle == (low + high + 1) // 2
    assert high - (high - low) // 2**23 - 1 <= near_top <= high


FINITE = [
    spaces.Discrete(4),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiDiscrete([2, 3], start=[5, -1]),
    spaces.MultiDiscrete([[2, 3], [2, 2]]),
    spaces.MultiBinary(3),
    spaces.MultiBinary((2, 2)),
]


def elements(space):
    """Every action of a finite space, by Gymnasium's own membership test."""
    if isinstance(space, spaces.Discrete):
        return {(i,) for i in range(-10, 10) if space.contains(i)}
    shape, dtype = space.shape, space.dtype
    size = int(np.prod(shape))
    grid = itertools.product(range(-1, 8), repeat=size)
    return {each for each in grid if space.contains(np.array(each, dtype=dtype).reshape(shape))}


@pytest.mark.parametrize("space", FINITE, ids=str)
@pytest.mark.parametrize("max_joint", [1, 1000])
def test_one_hot_vectors_map_one_to_one_to_finite_actions(space, max_joint):
    codec = FiniteCodec(space, max_joint)
    eyes = [torch.eye(count) for count in codec.actions.counts]
    vectors = torch.stack([torch.cat(rows) for rows in itertools.product(*eyes)])
    native = codec.to_env(vectors)
    assert native.dtype == space.dtype
    assert all(space.contains(each) for each in native)
    named = [tuple(np.ravel(each).tolist()) for each in native]
    assert len(set(named)) == len(named)
    if np.size(native[0]) < 5:
        assert set(named) == elements(space)


@pytest.mark.parametrize(
    ("space", "max_joint", "counts"),
    [
        (spaces.Discrete(4), 1, (4,)),
        (spaces.MultiDiscrete([2, 3]), 6, (6,)),
        (spaces.MultiDiscrete([2, 3]), 5, (2, 3)),
        (spaces.MultiBinary(3), 5, (2, 2, 2)),
        (spaces.MultiDiscrete([10] * 30), 1000, (10,) * 30),
    ],
)
def test_multidiscrete_actions_are_joint_up_to_the_limit_and_factors_beyond(space, max_joint, counts):
    assert FiniteCodec(space, max_joint).actions.counts == counts


@pytest.mark.parametrize("space", FINITE, ids=str)
def test_a_vector_environment_accepts_what_the_codec_gives(space):
    box = spaces.Box(-1, 1, (2,), np.float32)
    make = lambda: gym.make("probe/WithSpaces-v0", observation_space=box, action_space=space)  # noqa: E731
    envs = gym.vector.SyncVectorEnv([make] * 3)
    codec = FiniteCodec(space, 1)
    native = codec.to_env(codec.uniform(3))
    assert envs.action_space.contains(native)


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([2, 3])], ids=str)
def test_uniform_finite_actions_are_uniform(space):
    torch.manual_seed(0)
    codec = FiniteCodec(space, 1)
    drawn = codec.uniform(20_000)
    for factor, count in zip(drawn.split(codec.actions.counts, -1), codec.actions.counts):
        assert (factor.sum(-1) == 1).all()
        assert (factor.mean(0) - 1 / count).abs().max() < 4 * (0.25 / 20_000) ** 0.5


INF = np.inf
INFINITE = [
    ([0.0], [INF], [0.0], [1.0]),
    ([-INF], [INF], [-1.0], [1.0]),
    ([-INF], [0.0], [-1.0], [0.0]),
    ([-2.0, -INF], [INF, 3.0], [-2.0, -1.0], [1.0, 3.0]),
    ([5.0], [INF], [5.0], [6.0]),
    ([-INF], [-5.0], [-6.0], [-5.0]),
]


@pytest.mark.parametrize(("low", "high", "to_low", "to_high"), INFINITE)
def test_the_advice_for_infinite_bounds_works(low, high, to_low, to_high):
    kwargs = {"env_kwargs": {"low": low, "high": high}, "batch_size": 4, "learning_starts": 4}
    with pytest.raises(MaxEntError, match=r"have infinite bounds .*action_bounds \"\[.*\]\"") as raised:
        _ = ReplayDataModule("worlds/Unbounded-v0", **kwargs).actions
    advised = [float(bound) for bound in json.loads(re.search(r'action_bounds "(.*)"', str(raised.value))[1])]
    data = ReplayDataModule("worlds/Unbounded-v0", action_bounds=tuple(advised), **kwargs)
    data.setup("fit")
    data.runner = EnvRunner(make_vector_env([data.make_env]), data.codec, 0, "probe")
    for action in (-1.0, 1.0):
        data.runner.step(torch.full((1, len(low)), action))  # the world refuses what is out of its bounds
    assert data.runner.envs.envs[0].unwrapped.played == [to_low, to_high]
    data.teardown("fit")


@pytest.mark.parametrize(
    ("box", "bounds", "sentence"),
    [
        (spaces.Box(-1, 1, (1,)), [-2.0, 2.0], r"have no infinite bound .*leave out action_bounds"),
        (spaces.Discrete(2), [-2.0, 2.0], r"have no infinite bound .*leave out action_bounds"),
        (spaces.Box(5, INF, (1,)), [-1.0, 1.0], r"and \[-1.0, 1.0\] cannot replace them: .*\[-1, 6\]"),
        (spaces.Box(-INF, INF, (1,)), [1.0, -1.0], r"must be a low and a high above it, but is \[1.0, -1.0\]"),
        (spaces.Box(0, INF, (1,)), [5.0, 1.0], r"must be a low and a high above it, but is \[5.0, 1.0\]"),
        (spaces.Box(-INF, INF, (1,)), [-1.0, INF], r"cannot replace them"),
        (spaces.Box(-INF, INF, (1,), np.int64), None, r"have infinite bounds"),
    ],
)
def test_bounds_that_cannot_be_used_are_refused(box, bounds, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        bounded("probe", box, bounds)


def test_actions_of_other_spaces_are_refused():
    with pytest.raises(MaxEntError, match=r"probe has the action space .*only Box, Discrete"):
        action_codec("probe", spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))), 1000)


BOXES = [
    spaces.Box(np.float32([-2, 0]), np.float32([3, 10])),
    spaces.Box(-2, 5, (2, 2), np.float64),
    spaces.Box(-3e38, 3e38, (), np.float32),
    spaces.Box(250, 255, (2,), np.uint8),
    spaces.Box(-(2**40), 2**40, (1,), np.int64),
    spaces.Box(7, 7, (1,), np.int32),
    spaces.Box(0, 1, (3,), np.bool_),
]


@pytest.mark.parametrize("max_joint", [1, 1000])
@pytest.mark.parametrize("space", [*BOXES, *FINITE], ids=str)
def test_the_actions_computed_by_torch_alone_are_those_of_the_environment(space, max_joint):
    codec = action_codec("probe", space, max_joint)
    actions = codec.uniform(200)
    if isinstance(space, spaces.Box):
        actions = torch.cat((1.2 * actions, torch.tensor([[-1.0], [0.0], [1.0]]).expand(3, codec.actions.dim)))
    expected, found = codec.to_env(actions), codec.to_env_tensor(actions).numpy()
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


def test_integers_that_float64_cannot_hold_are_refused_by_torch():
    with pytest.raises(MaxEntError, match=r"integers beyond 2\^52, which float64 cannot hold exactly"):
        BoxCodec(spaces.Box(0, 2**60, (1,), np.int64)).to_env_tensor(torch.zeros(1, 1))
