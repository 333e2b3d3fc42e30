"""Steps environments, for training and for evaluation."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from lightning_maxent.data.action_codec import AbstractActionCodec
from lightning_maxent.errors import FOREIGN, ForeignError, MaxEntError, described
from lightning_maxent.transition import Episode, Transition


class AbstractRunner(ABC):
    """The source of transitions, of several parallel environments."""

    obs: Float[Tensor, "env obs_dim"]  # the observations before the next step

    @abstractmethod
    def step(self, action: Float[Tensor, "env action_dim"]) -> tuple[Transition, np.ndarray]:
        """The transitions ``[env]`` with the true next observations, and a mask ``[env]`` of episodes that ended."""

    @abstractmethod
    def drain_returns(self) -> list[tuple[float, int]]:
        """Return and length of the episodes that ended since the last call."""

    @abstractmethod
    def close(self) -> None:
        """Close the environments, if there are any."""


class EnvRunner(AbstractRunner):
    """Steps a SAME_STEP vector environment, converts the learner's actions, and returns transitions.

    Args:
        envs: environments with flat Box observations that reset in the step that ends an episode.
        codec: converts their actions.
        seed: the seed of their first reset.
        name: the name of the environment in error messages.
        env_steps: the environment steps at the start, for error messages; None in evaluation, which does not count
            them.
    """

    def __init__(
        self,
        envs: gym.vector.VectorEnv,
        codec: AbstractActionCodec,
        seed: int,
        name: str,
        env_steps: int | None = None,
    ):
        self.envs, self._codec = envs, codec
        self._name, self._env_steps, self.seed = name, env_steps, seed
        self._returns, self._lengths = np.zeros(envs.num_envs), np.zeros(envs.num_envs, dtype=np.int64)
        self._finished: list[tuple[float, int]] = []
        # Calls a method of every copy; not every vector environment has it.
        self._call: Any = getattr(envs, "call", None)
        with self._errors():
            obs, _ = envs.reset(seed=seed)
        self.obs = self._stored("observation", obs)

    def step(self, action: Float[Tensor, "env action_dim"]) -> tuple[Transition, np.ndarray]:
        """Take one step in every environment.

        Returns:
            The transitions ``[env]`` with the true next observations, and a mask ``[env]`` of episodes that ended.

        Raises:
            MaxEntError: if a reward or an observation is wrong or not finite, or an environment raises an error.
        """
        if self._env_steps is not None:
            self._env_steps += self.envs.num_envs
        native = self._codec.to_env(action)
        with self._errors():
            obs, reward, terminated, truncated, info = self.envs.step(native)
        done = terminated | truncated
        next_obs = obs
        if done.any():
            next_obs = obs.copy()
            for index in np.flatnonzero(done):
                next_obs[index] = info["final_obs"][index]
        after = self._stored("observation", obs)
        transition = Transition(
            self.obs,
            action,
            self._stored("reward", np.asarray(reward)),
            self._stored("observation", next_obs) if done.any() else after,
            torch.from_numpy(np.asarray(terminated)),
        )
        self.obs = after
        self._count(reward, done)
        return transition, done

    def drain_returns(self) -> list[tuple[float, int]]:
        """Return and length of the episodes that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Close the environments."""
        self.envs.close()

    def state_dict(self) -> dict[str, Any] | str:
        """The state of the current episodes of all copies, or what of it cannot be saved."""
        if self._call is None:
            return f"{type(self.envs).__name__} has no method call"
        with self._errors():
            copies = list(self._call("state_in_episode"))
        if reasons := [each for each in copies if isinstance(each, str)]:
            return reasons[0]
        numbers = {"returns": torch.from_numpy(self._returns.copy()), "lengths": torch.from_numpy(self._lengths.copy())}
        return {"copies": copies, "obs": self.obs.clone(), **numbers}

    def load_state_dict(self, state: dict[str, Any]) -> str:
        """Go on with saved episodes; returns why this is not possible, else an empty text.

        If it is not possible, all copies are in new episodes.
        """
        if self._call is None:
            return f"{type(self.envs).__name__} has no method call"
        with self._errors():
            if reasons := [each for each in self._call("continue_episode", state["copies"]) if each]:
                self.envs.reset()
                return reasons[0]
        self.obs = state["obs"].clone()
        self._returns, self._lengths = state["returns"].numpy().copy(), state["lengths"].numpy().copy()
        return ""

    def _count(self, reward: np.ndarray, done: np.ndarray) -> None:
        self._returns += reward
        self._lengths += 1
        if done.any():
            self._finished += zip(self._returns[done].tolist(), self._lengths[done].tolist())
            self._returns[done], self._lengths[done] = 0, 0

    def _stored(self, what: str, values: np.ndarray) -> Tensor:
        """Values ``[env, ...]`` as they are stored, in 32 bits; a copy, because the environments reuse their arrays.

        Raises:
            MaxEntError: for values that are not finite, or too large for 32 bits.
        """
        with np.errstate(over="ignore"):
            stored = values.astype(np.float32)
        if not np.isfinite(stored).all():
            copy = int(np.flatnonzero(~np.isfinite(stored.reshape(len(stored), -1)).all(axis=1))[0])
            why = "is too large for 32 bits" if np.isfinite(values[copy]).all() else "is not finite"
            raise MaxEntError(
                f"{self._when()}: copy {copy} gave {values[copy]} as {what}, which {why}: fix the environment, then resume "
                f"from the last checkpoint."
            )
        return torch.from_numpy(stored)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Add the environment and the step to the beginning of every error message."""
        try:
            yield
        except MaxEntError as error:
            error.args = (f"{self._when()}: {error}",)
            raise
        except SIGTERMException:  # the run is to stop
            raise
        except FOREIGN as error:
            raise ForeignError(f"{self._when()}: the environments raised {described(error)}.") from error

    def _when(self) -> str:
        return self._name if self._env_steps is None else f"{self._name} at environment step {self._env_steps}"


@torch.no_grad()
def play_episodes(runner: EnvRunner, act, episodes: int, deterministic: bool) -> Iterator[Episode]:
    """Play complete episodes, equally many in each environment, so that short episodes are not preferred.

    Args:
        runner: environments that have just been reset.
        act: ``(obs [env, obs_dim], deterministic) -> action [env, action_dim]``.
        episodes: total number of episodes.
        deterministic: whether actions are deterministic, in place of samples of the policy.
    """
    envs = runner.envs.num_envs
    owed = [episodes // envs + (index < episodes % envs) for index in range(envs)]
    steps: list[list[tuple[Tensor, ...]]] = [[] for _ in range(envs)]
    seeds: list[int | None] = [runner.seed + index for index in range(envs)]  # as Gymnasium gives them to the copies
    while any(owed):
        transition, done = runner.step(act(runner.obs, deterministic))
        for index in range(envs):
            if owed[index]:
                steps[index].append(tuple(field[index] for field in transition))
                if done[index]:
                    obs, action, reward, next_obs, terminated = zip(*steps[index])
                    owed[index], steps[index] = owed[index] - 1, []
                    yield Episode(
                        torch.stack((*obs, next_obs[-1])),
                        torch.stack(action),
                        torch.stack(reward),
                        torch.stack(reward),
                        bool(terminated[-1]),
                        deterministic,
                        seeds[index],
                    )
                    seeds[index] = None
