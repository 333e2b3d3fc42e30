"""The camera of MuJoCo's robots, which follows them."""

from importlib import import_module
from typing import Any

import gymnasium as gym


def follow_robot(env: gym.Env) -> None:
    """Let the camera follow a robot that walks: Gymnasium's own stands still, so the robot leaves the picture.

    This concerns worlds of MuJoCo whose model has a camera ``track``, if no camera was chosen by ``camera_id`` or
    ``camera_name``.  Call it before the first picture.
    """
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is None or getattr(renderer, "camera_id", None) != -1:
        return
    mujoco: Any = import_module("mujoco")  # its stubs lack these names
    if mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track") == -1:
        return
    following = {"type": mujoco.mjtCamera.mjCAMERA_TRACKING, "trackbodyid": 1}  # body 1 is the first one of the robot
    renderer.default_cam_config = following | (renderer.default_cam_config or {})
    renderer.camera_id = None  # so that every picture keeps the camera of this configuration
