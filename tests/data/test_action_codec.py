"""Actions of every space there and back."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lightning_maxent import MaxEntError
from lightning_maxent.data.action_codec import BoxCodec, FiniteCodec, action_codec


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(-128, 127, np.int8), (0, 3, np.int64), (-3e38, 3e38, np.float32), (2, 5, np.float64)]
)
def test_bounds_are_reached_and_the_middle_is_the_middle_for_every_type_of_box(low, high, dtype):
    box = spaces.Box(low, high, (1,), dtype)
    codec = BoxCodec(box)
    played = [codec.native(torch.tensor([[action]])) for action in (-1.0, -0.999, 0.0, 0.999, 1.0)]
    assert all(each.dtype == dtype and box.contains(each[0]) for each in played)
    bottom, near_bottom, middle, near_top, top = (float(each[0, 0]) for each in played)
    assert (bottom, top) == (float(box.low[0]), float(box.high[0]))
    if np.issubdtype(dtype, np.integer) and high == 3:
        assert (near_bottom, near_top) == (bottom, top)  # rounded to the nearest, not cut off
    assert middle == pytest.approx((low + high) / 2, abs=0.5 if np.issubdtype(dtype, np.integer) else 1e-9)


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
def test_one_hot_vectors_name_every_action_of_a_finite_space_once(space, max_joint):
    codec = FiniteCodec(space, max_joint)
    eyes = [torch.eye(count) for count in codec.actions.counts]
    vectors = torch.stack([torch.cat(rows) for rows in itertools.product(*eyes)])
    native = codec.native(vectors)
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
def test_combinations_are_counted_up_to_the_limit_and_stay_factors_beyond(space, max_joint, counts):
    assert FiniteCodec(space, max_joint).actions.counts == counts


@pytest.mark.parametrize("space", FINITE, ids=str)
def test_a_vector_environment_accepts_what_the_codec_gives(space):
    box = spaces.Box(-1, 1, (2,), np.float32)
    make = lambda: gym.make("probe/WithSpaces-v0", observation_space=box, action_space=space)  # noqa: E731
    envs = gym.vector.SyncVectorEnv([make] * 3)
    codec = FiniteCodec(space, 1)
    native = codec.native(codec.uniform(3))
    assert envs.action_space.contains(native)


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([2, 3])], ids=str)
def test_uniform_finite_actions_are_uniform(space):
    torch.manual_seed(0)
    codec = FiniteCodec(space, 1)
    drawn = codec.uniform(20_000)
    for factor, count in zip(drawn.split(codec.actions.counts, -1), codec.actions.counts):
        assert (factor.sum(-1) == 1).all()
        assert (factor.mean(0) - 1 / count).abs().max() < 4 * (0.25 / 20_000) ** 0.5


def test_unbounded_actions_are_refused():
    with pytest.raises(MaxEntError, match=r"unbounded actions.*RescaleAction"):
        action_codec("probe", spaces.Box(-np.inf, np.inf, (2,), np.float32), 1000)


def test_actions_of_other_spaces_are_refused():
    with pytest.raises(MaxEntError, match=r"probe has the action space .*only a Box with finite bounds, Discrete"):
        action_codec("probe", spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))), 1000)
