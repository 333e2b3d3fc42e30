"""The open copies of an environment, for training and for evaluation."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import gymnasium as gym
from gymnasium.vector import VectorEnv

from lightning_maxent.data.vectorization import VectorizationBuilder, make_vector_env

EVALUATION_STEPS = 10_000  # time limit of evaluation episodes if the environment has none


class EnvCopies:
    """Opens the copies at their first use.

    Args:
        train: makes the copy of this number for training.
        evaluate: makes the copy of this number for evaluation.
        num_envs: number of parallel copies for training.
        eval_envs: number of further copies for evaluation.  With 0, evaluation uses the copies of training, which then
            have a time limit.
        vectorization: builds a vector environment of the copies.
    """

    def __init__(
        self,
        train: Callable[[int], gym.Env],
        evaluate: Callable[[int], gym.Env],
        num_envs: int,
        eval_envs: int,
        vectorization: VectorizationBuilder,
    ):
        self._num_envs, self._eval_envs, self._vectorization = num_envs, eval_envs, vectorization
        self.shared = eval_envs == 0
        self._train = partial(_ending, train) if self.shared else train
        self._evaluate = partial(_ending, evaluate)
        self._training: VectorEnv | None = None
        self._evaluation: VectorEnv | None = None

    def training(self) -> VectorEnv:
        """The copies for training.

        Raises:
            MaxEntError: if a copy cannot be made.
        """
        if self._training is None:
            way_out = "if so many copies cannot be open at a time, lower --data.num_envs" if self._num_envs > 1 else ""
            self._training = self._made(self._train, self._num_envs, way_out)
        return self._training

    def evaluation(self) -> VectorEnv:
        """The copies for evaluation, which have a time limit.

        Raises:
            MaxEntError: if a copy cannot be made.
        """
        if self.shared:
            return self.training()
        if self._evaluation is None:
            way_out = (
                f"evaluation opens {self._eval_envs} further copies: if so many cannot be open at a time, let it use "
                f"the copies of training with --data.eval_envs 0"
            )
            self._evaluation = self._made(self._evaluate, self._eval_envs, way_out)
        return self._evaluation

    def close(self) -> None:
        """Close all open copies, also if closing some of them raises an error."""
        opened = [envs for envs in (self._evaluation, self._training) if envs is not None]
        self._training = self._evaluation = None
        with ExitStack() as stack:
            for envs in opened:
                stack.callback(envs.close)

    def _made(self, make: Callable[[int], gym.Env], count: int, way_out: str) -> VectorEnv:
        return make_vector_env([partial(make, copy) for copy in range(count)], self._vectorization, way_out)


def _ending(make: Callable[[int], gym.Env], copy: int) -> gym.Env:
    """A copy whose episodes end: without a time limit of its own, it gets one."""
    env = make(copy)
    if env.spec is not None and env.spec.max_episode_steps is not None:
        return env
    return gym.wrappers.TimeLimit(env, EVALUATION_STEPS)
