import re
import sys
from pathlib import Path

import numpy as np
import probe_envs
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
    with pytest.raises(MaxEntError, match=r"module that cannot be imported: No module named 'no_such_module'; check"):
        make_env("no_such_module:Pendulum-v1")
    with pytest.raises(
        MaxEntError, match=r"cannot be imported: No module named 'highway_env'; .* pip install 'highway-env'\.$"
    ):
        make_env("highway_env:highway-v0")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("from gymnasium import sapces\n", r"raised ImportError: cannot import name 'sapces' .*"),
        ("import no_such_package\n", r"raised ModuleNotFoundError: No module named 'no_such_package' "),
        ("raise SystemExit(3)\n", r"raised SystemExit: 3 "),
        ("x = spaces\n", r"raised NameError: name 'spaces' is not defined "),
        ("class E(object)\n", r"raised SyntaxError: expected ':' "),
    ],
)
def test_an_error_while_importing_an_environment_module_is_reported_with_its_line(
    tmp_path, monkeypatch, text, sentence
):
    name = f"broken_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(f"import gymnasium\n{text}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MaxEntError, match=rf"^Importing the module {name} .*{sentence}\({tmp_path}/{name}.py, line 2\)\.$"
    ):
        make_env(f"{name}:Pendulum-v1")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("TypeError", r"raised TypeError: unsupported operand type\(s\) for \+: 'NoneType' and 'int' \("),
        ("SystemExit", r"raised SystemExit: 3 \("),
        ("KeyError", r"raised KeyError: 'joint' \("),
        ("FileNotFoundError", r"raised FileNotFoundError: .*'/nowhere/robot.xml' \("),
        ("ImportError", r"raised ImportError: cannot import name 'no_such_thing' .* \("),
        ("ModuleNotFoundError", r"needs a package that is not installed, or .*No module named 'no_such_package' \("),
        ("DependencyNotInstalled", r"needs a package that is not installed, or .*run pip install pybullet \("),
        ("InvalidAction", r"raised InvalidAction: joint 3 is out of range \("),
        ("NameNotFound", r"raised NameNotFound: Environment `NoSuchWorld` doesn't exist.* \("),
        ("AssertionError", r"raised AssertionError"),
    ],
)
def test_an_error_in_an_environment_constructor_is_reported_with_its_line(how, sentence):
    with pytest.raises(MaxEntError, match=rf"'worlds/Breaks-v0' {sentence}.*probe_envs\.py, line \d+\)\.$"):
        make_env("worlds/Breaks-v0", {"how": how})


@pytest.mark.parametrize("namespace", ["worlds", "probe"])  # Gymnasium looks for spaces in the first alone
@pytest.mark.parametrize("lacks", ["observation_space", "action_space"])
def test_an_environment_without_a_space_is_reported_with_the_line_of_its_class(namespace, lacks):
    given = {name: BOX for name in ("observation_space", "action_space") if name != lacks}
    env_id, where = f"{namespace}/Spaceless-v0", r"see Spaceless \(.*probe_envs\.py, line (\d+)\)\.$"
    with pytest.raises(MaxEntError, match=rf"environment '{env_id}' must set {lacks} to one of .*: {where}") as raised:
        make_env(env_id, given)
    line = int(re.search(where, str(raised.value))[1])
    assert Path(probe_envs.__file__).read_text().splitlines()[line - 1].startswith("class Spaceless")
    with pytest.raises(MaxEntError, match=f"must set {lacks}"):
        make_env(env_id, given | {lacks: 3})


@pytest.mark.parametrize("env_kwargs", [{"how": "nothing", "sise": 3}, {"how": "nothing", "id": 3}])
def test_env_kwargs_that_an_environment_does_not_take_are_refused(env_kwargs):
    with pytest.raises(MaxEntError, match=r"'worlds/Breaks-v0' does not take env_kwargs {.*}: .*(sise|id)'\.$"):
        make_env("worlds/Breaks-v0", env_kwargs)


def test_missing_env_kwargs_are_named():
    with pytest.raises(
        MaxEntError, match=r"'worlds/Breaks-v0' needs more arguments .* --data.env_kwargs \"{how: 1}\"\.$"
    ):
        make_env("worlds/Breaks-v0")


def test_errors_of_nested_environments_are_not_blamed_on_env_kwargs():
    with pytest.raises(
        MaxEntError, match=r"^Making .*'worlds/Breaks-v0' raised TypeError: .*'foo' .*probe_envs\.py, line"
    ):
        make_env("worlds/Breaks-v0", {"how": "inner"})


def test_an_env_id_without_a_version_means_the_newest():
    with pytest.warns(UserWarning, match="latest versioned environment"):
        assert make_env("Pendulum").spec.id == "Pendulum-v1"


@pytest.mark.parametrize(
    ("env_id", "package", "whole"),
    [
        ("ALE/Pong-v5", "ale-py", "ale_py:ALE/Pong-v5"),
        ("MiniGrid-Empty-5x5-v0", "minigrid", "minigrid:MiniGrid-Empty-5x5-v0"),
        ("FetchReach-v4", "gymnasium-robotics", "gymnasium_robotics:FetchReach-v4"),
    ],
)
def test_unknown_ids_of_well_known_packages_are_refused_with_the_package_and_the_full_id(env_id, package, whole):
    with pytest.raises(MaxEntError, match=f"no environment '{env_id}'; pip install '{package}', .*: {whole}\\.$"):
        make_env(env_id)


def test_an_unknown_namespace_is_refused_with_advice_to_name_its_module():
    with pytest.raises(
        MaxEntError, match=r"no module that registers robots/\.\.\. was imported: .* a_module:robots/Arm-v0"
    ):
        make_env("robots/Arm-v0")


@pytest.mark.parametrize(
    ("shape", "beside", "sizes"),
    [((8, 8, 3), False, ["192"]), ((4, 8, 8, 3), True, ["768"]), ((8, 8), False, ["64"]), ((8,), True, [])],
)
def test_a_note_that_images_are_flattened_is_printed_once(caplog, shape, beside, sizes):
    with caplog.at_level("INFO"):
        data = ReplayDataModule("worlds/Pictures-v0", {"shape": shape, "beside": beside})
        assert data.obs_dim == np.prod(shape) + beside
        assert data.actions.dim == 1
    said = [record.message for record in caplog.records if "has images" in record.message]
    assert [line.split("flattened to ")[1].split()[0] for line in said] == sizes
    assert all("this package has no convolutional network" in line for line in said)


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


def test_the_data_module_has_obs_dim_and_actions_before_setup():
    data = ReplayDataModule("probe/Counting-v0")
    assert (data.obs_dim, data.actions.dim) == (2, 2)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="dm_control needs labmaze, which has no wheel for Python 3.13")
def test_the_humanoid_with_21_joints_plays_through_its_package(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")  # or it looks for a display
    data = ReplayDataModule("shimmy:dm_control/humanoid-stand-v0", learning_starts=256)
    assert (data.obs_dim, data.actions.dim) == (67, 21)
    data.setup("fit")
    batch = data._next_round().batch
    assert batch.obs.shape == (0, 256, 67)  # none drawn yet
    assert len(data.buffer) == 1
    data.teardown("fit")
