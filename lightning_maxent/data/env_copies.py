"""The open copies of an environment, for training and for evaluation."""

from collections.abc import Callable

import gymnasium as gym
from gymnasium.vector import VectorEnv

from lightning_maxent.data.spaces import make_vector_env

EVALUATION_STEPS = 10_000  # time limit of evaluation episodes if the environment has none


class EnvCopies:
    """Opens the copies at their first use.

    Args:
        make: makes one copy.
        num_envs: number of parallel copies for training.
        eval_envs: number of further copies for evaluation.  With 0, evaluation uses the copies of training, which then
            have a time limit.
    """

    def __init__(self, make: Callable[[], gym.Env], num_envs: int, eval_envs: int):
        self._make, self._num_envs, self._eval_envs = make, num_envs, eval_envs
        self.shared = eval_envs == 0
        self._training: VectorEnv | None = None
        self._evaluation: VectorEnv | None = None

    def training(self) -> VectorEnv:
        """The copies for training.

        Raises:
            MaxEntError: if a copy cannot be made.
        """
        if self._training is None:
            way_out = "if so many copies cannot be open at a time, lower --data.num_envs" if self._num_envs > 1 else ""
            make = self._make_ending if self.shared else self._make
            self._training = make_vector_env(make, self._num_envs, way_out)
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
            self._evaluation = make_vector_env(self._make_ending, self._eval_envs, way_out)
        return self._evaluation

    def close(self) -> None:
        """Close all open copies."""
        for envs in (self._training, self._evaluation):
            if envs is not None:
                envs.close()
        self._training = self._evaluation = None

    def _make_ending(self) -> gym.Env:
        env = self._make()
        if env.spec is not None and env.spec.max_episode_steps is not None:
            return env
        return gym.wrappers.TimeLimit(env, EVALUATION_STEPS)
