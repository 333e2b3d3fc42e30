"""Tests that run over every kind of vectorization."""

import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.vector import VectorEnv

from lightning_maxent import OneProcess, WorkerProcesses
from lightning_maxent.data.action_codec import BoxCodec
from lightning_maxent.data.env_runner import EnvRunner
from lightning_maxent.data.spaces import make_env
from lightning_maxent.data.vectorization import VectorizationBuilder, make_vector_env


def pytest_collection_modifyitems(items) -> None:
    """Since Python 3.12, a fork of a process with threads warns; PyTorch has threads."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:.*use of fork"))


@pytest.fixture(params=[OneProcess, WorkerProcesses], ids=["one process", "workers"])
def vectorization(request) -> Iterator[VectorizationBuilder]:
    """Each kind of vectorization in turn; none may leave a process behind."""
    yield request.param
    assert not multiprocessing.active_children()


@pytest.fixture
def vector_env(vectorization) -> Iterator[Callable[..., VectorEnv]]:
    """Makes a vector environment of functions that make one copy each, and closes it after the test."""
    opened: list[VectorEnv] = []

    def make(*makers: Callable[[], gym.Env]) -> VectorEnv:
        opened.append(make_vector_env(makers, vectorization))
        return opened[-1]

    yield make
    for envs in opened:
        envs.close()


@pytest.fixture
def runner(vector_env) -> Callable[..., EnvRunner]:
    """Makes a runner with a copy of the environment for each dictionary of arguments."""

    def make(env_id: str, *of_copies: dict, name: str = "probe", env_steps: int | None = None) -> EnvRunner:
        makers = [partial(make_env, env_id, given, copy=copy) for copy, given in enumerate(of_copies)]
        envs = vector_env(*makers)
        return EnvRunner(envs, BoxCodec(envs.single_action_space), 0, name, env_steps)

    return make
