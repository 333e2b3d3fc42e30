"""The camera follows the robots of MuJoCo, unless the user chose one."""

import mujoco
import pytest

from lightning_maxent import ReplayDataModule


def renderer(env_id: str, **env_kwargs):
    env = ReplayDataModule(env_id, env_kwargs=env_kwargs).make_env("rgb_array")
    try:
        return env.unwrapped.mujoco_renderer
    finally:
        env.close()


@pytest.mark.parametrize(("env_id", "body"), [("HalfCheetah-v5", 1), ("Hopper-v5", 2)])  # Gymnasium's own body is kept
def test_a_robot_that_walks_stays_in_the_picture(env_id, body):
    found = renderer(env_id)
    assert found.camera_id is None
    assert found.default_cam_config["type"] == mujoco.mjtCamera.mjCAMERA_TRACKING
    assert found.default_cam_config["trackbodyid"] == body


def test_a_chosen_camera_is_kept():
    assert renderer("HalfCheetah-v5", camera_name="track").camera_id == 0


def test_a_robot_that_stays_in_its_place_keeps_its_camera():
    assert renderer("InvertedPendulum-v5").camera_id == -1


def test_a_world_without_mujoco_is_left_alone():
    assert ReplayDataModule("Pendulum-v1").make_env("rgb_array").unwrapped.spec.id == "Pendulum-v1"
