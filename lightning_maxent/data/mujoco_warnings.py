"""Keeps one warning of MuJoCo about Gymnasium's own model files from users, who cannot act on it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import gymnasium as gym

OUTDATED = "compiler attribute 'settotalmass' is deprecated"  # in half_cheetah.xml and others of Gymnasium 1.4


@contextmanager
def without_outdated_attribute(env_id: str) -> Iterator[None]:
    """Drop the warning ``OUTDATED`` while an environment of Gymnasium's is made; print all others.

    MuJoCo would print it for every copy, and write it to a file in the current folder.
    """
    if not _is_of_gymnasium(env_id):
        yield
        return
    mujoco: Any = import_module("mujoco")  # its stubs lack both functions
    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None if text.startswith(OUTDATED) else print(text, file=sys.stderr))
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(previous)


def _is_of_gymnasium(env_id: str) -> bool:
    """Whether an environment is one of Gymnasium's that need the package mujoco."""
    spec = gym.registry.get(env_id)
    return spec is not None and str(spec.entry_point).startswith("gymnasium.envs.mujoco.")
