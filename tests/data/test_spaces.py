import numpy as np
import pytest
from gymnasium import spaces

from lightning_maxent import MaxEntError, ReplayDataModule
from lightning_maxent.data.spaces import make_env

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


def make(observation_space: spaces.Space = BOX, action_space: spaces.Space = BOX):
    return make_env("probe/WithSpaces-v0", {"observation_space": observation_space, "action_space": action_space})


@pytest.mark.parametrize(
    ("env_id", "near"),
    [("Pendlum-v1", "Pendulum-v1"), ("HalfCheetah-v55", "HalfCheetah-v5"), ("Hopper_v5", "Hopper-v5")],
)
def test_an_unknown_env_id_names_near_matches(env_id, near):
    with pytest.raises(MaxEntError, match=f"no environment '{env_id}'.*{near}"):
        make_env(env_id)


def test_a_module_that_cannot_be_imported_is_named():
    with pytest.raises(MaxEntError, match=r"module that cannot be imported: No module named 'no_such_module'"):
        make_env("no_such_module:Pendulum-v1")


def test_an_id_may_name_the_module_that_registers_it():
    assert make_env("probe_envs:probe/Counting-v0").observation_space.shape == (2,)


def test_env_kwargs_reach_the_environment_and_wrong_ones_are_named():
    assert make_env("probe/Counting-v0", {"length": 3}).unwrapped.length == 3
    with pytest.raises(MaxEntError, match=r"does not take env_kwargs.*lenght"):
        make_env("probe/Counting-v0", {"lenght": 3})


def test_observations_that_cannot_be_flattened_are_refused_also_within_a_dict():
    with pytest.raises(MaxEntError, match=r"only Box, Discrete"):
        make(observation_space=spaces.Text(4))
    with pytest.raises(MaxEntError, match=r"observation 'name'.*only Box, Discrete"):
        make(observation_space=spaces.Dict({"position": BOX, "name": spaces.Text(2)}))


@pytest.mark.parametrize(("space", "size"), [(spaces.Discrete(5, start=2), 5), (spaces.MultiDiscrete([2, 3]), 5)])
def test_finite_observations_become_one_hot_vectors(space, size):
    env = make(observation_space=space)
    obs, _ = env.reset(seed=0)
    assert env.observation_space.shape == obs.shape == (size,)
    assert obs.sum() == (1 if isinstance(space, spaces.Discrete) else 2)


def test_dict_observations_of_boxes_are_flattened_in_the_order_of_gymnasium():
    space = spaces.Dict({"b": spaces.Box(0, 1, (2, 2), np.float32), "a": spaces.Box(5, 6, (1,), np.float32)})
    env = make(observation_space=space)
    obs, _ = env.reset(seed=0)
    assert env.observation_space.shape == obs.shape == (5,)
    assert 5 <= obs[0] <= 6  # keys are sorted
    assert (obs[1:] <= 1).all()


def test_the_data_module_knows_the_sizes_before_anything_is_set_up():
    data = ReplayDataModule("probe/Counting-v0")
    assert (data.obs_dim, data.actions.dim) == (2, 2)


def test_the_humanoid_with_21_joints_plays_through_its_package(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")  # or it looks for a display
    data = ReplayDataModule("shimmy:dm_control/humanoid-stand-v0", warmup_steps=256)
    assert (data.obs_dim, data.actions.dim) == (67, 21)
    data.setup("fit")
    batch = data._next_round().batch
    assert batch.obs.shape == (0, 256, 67)  # none drawn yet
    assert len(data.buffer) == 1
    data.teardown("fit")
