"""The off-policy DataModule: environments, replay buffer, and the stream of rounds that they feed."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from gymnasium.spaces import flatdim
from gymnasium.vector import VectorEnv
from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.data.replay_buffers.samplers import RandomSampler
from torchrl.data.replay_buffers.storages import Storage
from torchrl.data.replay_buffers.writers import RoundRobinWriter

from lightning_maxent.actions import AbstractActions
from lightning_maxent.data.action_codec import AbstractActionCodec, action_codec
from lightning_maxent.data.env_runner import EnvRunner, play_episodes
from lightning_maxent.data.scaling import (
    AbstractObservationScaling,
    AbstractRewardScaling,
    ObservationScalingBuilder,
    RawObservations,
    RawRewards,
    RewardScalingBuilder,
)
from lightning_maxent.data.spaces import env_maker, make_vector_env
from lightning_maxent.errors import MaxEntError
from lightning_maxent.transition import Episode, Round, Transition

EVALUATION_ENVS = 16  # at the most, side by side; more episodes than that are played one after another


class ReplayStream:
    """One epoch of rounds: as many as lie between two evaluations.

    Sized, so that Lightning does not fetch a round ahead, which would step environments before the update.
    """

    def __init__(self, next_round: Callable[[], Round], length: int):
        self._next_round, self._length = next_round, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Round]:
        for _ in range(self._length):
            yield self._next_round()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what a stream goes on from is the state of its DataModule, saved there."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore; that this method exists tells Lightning that an epoch may be resumed half-way."""


class EpisodeStream:
    """One evaluation: so many deterministic episodes, then as many sampled ones."""

    def __init__(self, play: Callable[[bool], Iterator[Episode]], episodes: int):
        self._play, self._episodes = play, episodes

    def __len__(self) -> int:
        return 2 * self._episodes

    def __iter__(self) -> Iterator[Episode]:
        yield from self._play(True)
        yield from self._play(False)


class ReplayDataModule(pl.LightningDataModule):
    """Environments, a TorchRL replay buffer and evaluation; the Trainer's module plays through ``explore`` and ``act``.

    A round is: ``steps_per_round`` environment steps, then one training step with ``updates_per_round`` batches drawn
    afresh.  During the first ``warmup_steps``, actions are uniform and rounds carry no update.  The state saved is
    the buffer and the clock; environments start a new episode on resume.

    Args:
        env_id: a Gymnasium id, or ``module:Id``.
        env_kwargs: the environment's keyword arguments.
        num_envs: copies stepped side by side.
        capacity: transitions that the buffer holds before it overwrites the oldest.
        batch_size: transitions of one update.
        warmup_steps: environment steps with uniform actions before the first update.
        steps_per_round: environment steps, over all copies, between two rounds of updates.
        updates_per_round: updates in a round.
        storage: builds the buffer's storage from its capacity: ``torchrl.data.LazyTensorStorage`` (with ``device``)
            or ``torchrl.data.LazyMemmapStorage`` (with ``scratch_dir``, on disk).
        eval_interval: environment steps from one evaluation to the next.
        eval_episodes: episodes of one evaluation with the policy's mode, and again as many with its samples.
        max_joint_actions: a MultiDiscrete action of up to so many combinations is presented as one choice among them
            all; one of more, as independent factors.
        observation_scaling: builds, from ``obs_dim``, how the learner sees observations.
        reward_scaling: builds, from ``num_envs``, how the learner sees rewards.

    Raises:
        MaxEntError: for numbers that cannot work together.
    """

    def __init__(
        self,
        env_id: str,
        env_kwargs: dict[str, Any] | None = None,
        num_envs: int = 1,
        capacity: int = 1_000_000,
        batch_size: int = 256,
        warmup_steps: int = 1_000,
        steps_per_round: int = 1,
        updates_per_round: int = 1,
        storage: Callable[[int], Storage] = LazyTensorStorage,
        eval_interval: int = 1_000,
        eval_episodes: int = 10,
        max_joint_actions: int = 1_000,
        observation_scaling: ObservationScalingBuilder = RawObservations,
        reward_scaling: RewardScalingBuilder = RawRewards,
    ):
        super().__init__()
        for name in ("num_envs", "capacity", "batch_size", "steps_per_round", "eval_interval", "eval_episodes"):
            if locals()[name] < 1:
                raise MaxEntError(f"{name} must be at least 1, but is {locals()[name]}.")
        if updates_per_round < 0:
            raise MaxEntError(f"updates_per_round must not be negative, but is {updates_per_round}.")
        if batch_size > capacity:
            raise MaxEntError(
                f"A batch of {batch_size} does not fit in a buffer of {capacity}: raise capacity or lower batch_size."
            )
        if warmup_steps < batch_size:
            raise MaxEntError(
                f"warmup_steps {warmup_steps} is shorter than a batch of {batch_size}: set it to {batch_size} or more."
            )
        if steps_per_round % num_envs:
            raise MaxEntError(
                f"steps_per_round {steps_per_round} must be a multiple of num_envs {num_envs}, since all copies step "
                f"together: try {num_envs * max(1, round(steps_per_round / num_envs))}."
            )
        if eval_interval % steps_per_round:
            raise MaxEntError(
                f"eval_interval {eval_interval} must be a multiple of steps_per_round {steps_per_round}: try "
                f"{steps_per_round * max(1, round(eval_interval / steps_per_round))}."
            )
        self.make_env = env_maker(env_id, env_kwargs)
        self.env_id, self.num_envs, self.capacity, self.batch_size = env_id, num_envs, capacity, batch_size
        self.warmup_steps, self.steps_per_round, self.updates_per_round = (
            warmup_steps,
            steps_per_round,
            updates_per_round,
        )
        self.make_storage = storage
        self.eval_interval, self.eval_episodes = eval_interval, eval_episodes
        self.max_joint_actions = max_joint_actions
        self._build_observation_scaling = observation_scaling
        self.reward_scaling = reward_scaling(num_envs)
        self.env_steps = 0
        self.buffer: ReplayBuffer | None = None
        self.runner: EnvRunner | None = None
        self._eval_envs: VectorEnv | None = None

    @cached_property
    def _spaces(self) -> tuple[int, AbstractActionCodec]:
        env = self.make_env()
        try:
            return flatdim(env.observation_space), action_codec(self.env_id, env.action_space, self.max_joint_actions)
        finally:
            env.close()

    @property
    def obs_dim(self) -> int:
        """Size of the flattened observation; makes the environment once to look."""
        return self._spaces[0]

    @property
    def actions(self) -> AbstractActions:
        """The action space; makes the environment once to look."""
        return self._codec.actions

    @property
    def _codec(self) -> AbstractActionCodec:
        return self._spaces[1]

    @cached_property
    def observation_scaling(self) -> AbstractObservationScaling:
        """How the learner sees observations; a part of the state saved."""
        return self._build_observation_scaling(self.obs_dim)

    @property
    def _scalings(self) -> dict[str, AbstractObservationScaling | AbstractRewardScaling]:
        return {"observation_scaling": self.observation_scaling, "reward_scaling": self.reward_scaling}

    # ---- training ---------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.env_steps = 0
            self.buffer = ReplayBuffer(
                storage=self.make_storage(self.capacity), sampler=RandomSampler(), writer=RoundRobinWriter()
            )

    def train_dataloader(self) -> ReplayStream:
        return ReplayStream(self._next_round, self.eval_interval // self.steps_per_round)

    def _next_round(self) -> Round:
        assert self.buffer is not None
        if self.runner is None:
            self._check_resumed()
            envs = make_vector_env(self.make_env, self.num_envs)
            self.runner = EnvRunner(envs, self._codec, self._seed("train"), self.env_id, self.env_steps)
        steps, ended = [], []
        for passed in range(0, self.steps_per_round, self.num_envs):
            warm = self.env_steps + passed >= self.warmup_steps
            obs = self.observation_scaling(self.runner.obs)
            action = self._algorithm.explore(obs) if warm else self._codec.uniform(self.num_envs)
            transition, done = self.runner.step(action)
            steps.append(transition)
            ended.append(done)
        # Stored whole or not at all: a round that an error cuts short leaves buffer and clock at the same moment.
        rows = {name: torch.cat(values) for name, values in zip(Transition._fields, zip(*steps))}
        self.buffer.extend(TensorDict(rows, batch_size=self.steps_per_round))
        for transition, done in zip(steps, ended):
            self.observation_scaling.update(transition.obs)
            self.reward_scaling.update(transition.reward, done)
        self.env_steps += self.steps_per_round
        updates = self.updates_per_round if self.env_steps > self.warmup_steps else 0
        return Round(self._sample(updates), self.env_steps)

    @property
    def _algorithm(self) -> Any:
        """The Trainer's module: all that data knows of it is ``explore`` and ``act``."""
        return self.trainer.lightning_module if self.trainer else None

    def _sample(self, updates: int) -> Transition:
        """Fresh batches ``[updates, batch]`` as the learner sees them; of no update, empty ones."""
        assert self.buffer is not None
        rows = self.buffer.sample(updates * self.batch_size) if updates else self.buffer.storage[:0]
        batch = Transition(
            *(rows[name].reshape(updates, self.batch_size, *rows[name].shape[1:]) for name in Transition._fields)
        )
        return batch._replace(
            obs=self.observation_scaling(batch.obs),
            reward=batch.reward * self.reward_scaling.scale(),
            next_obs=self.observation_scaling(batch.next_obs),
        )

    def _seed(self, purpose: str) -> int:
        """A seed that follows from the run's seed, the clock and what it is for; needs no state to be saved."""
        entropy = [torch.initial_seed(), self.env_steps, *purpose.encode()]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def metrics(self) -> dict[str, float]:
        """Mean return and length of the training episodes that ended since the last call, where any did."""
        finished = self.runner.drain_returns() if self.runner else []
        if not finished:
            return {}
        returns, lengths = zip(*finished)
        return {"train/return_mean": float(np.mean(returns)), "train/length_mean": float(np.mean(lengths))}

    # ---- evaluation -------------------------------------------------------------------------------------------------

    def val_dataloader(self) -> EpisodeStream:
        return EpisodeStream(self._play, self.eval_episodes)

    def test_dataloader(self) -> EpisodeStream:
        return self.val_dataloader()

    def _play(self, deterministic: bool) -> Iterator[Episode]:
        if self._eval_envs is None:
            self._eval_envs = make_vector_env(self.make_env, min(self.eval_episodes, EVALUATION_ENVS))
        seed = self._seed("mode" if deterministic else "sample")
        runner = EnvRunner(self._eval_envs, self._codec, seed, self.env_id)
        for episode in play_episodes(runner, self._act, self.eval_episodes, deterministic):
            yield episode._replace(
                obs=self.observation_scaling(episode.obs),
                learner_reward=episode.reward * self.reward_scaling.scale(),
            )

    def _act(self, obs: Float[Tensor, "env obs_dim"], deterministic: bool) -> Float[Tensor, "env action_dim"]:
        return self._algorithm.act(self.observation_scaling(obs), deterministic)

    def teardown(self, stage: str) -> None:
        if self.runner is not None:
            self.runner.envs.close()
            self.runner = None
        if self._eval_envs is not None:
            self._eval_envs.close()
            self._eval_envs = None

    # ---- saving -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "env_steps": self.env_steps,
        } | {name: _saved(scaling) for name, scaling in self._scalings.items()}
        if self.buffer is not None and len(self.buffer):
            rows = self.buffer.storage[: len(self.buffer)]
            state["replay"] = {name: rows[name] for name in Transition._fields}
            state["writer"] = dict(self.buffer.writer.state_dict())
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.env_steps = state_dict["env_steps"]
        for name, scaling in self._scalings.items():
            _restore(name, scaling, state_dict.get(name, {}))
        if self.buffer is None:  # evaluating, not training
            return
        rows = state_dict.get("replay")
        if rows is None:
            raise MaxEntError(
                "The checkpoint holds no replay buffer, so training cannot go on from it: resume from one that does "
                "(last.ckpt), with its folder last.ckpt.replay beside it."
            )
        size = len(rows["reward"])
        if size > self.capacity:
            raise MaxEntError(
                f"The checkpoint's buffer holds {size} transitions, more than the capacity of {self.capacity}: resume "
                f"with a capacity of at least {size}."
            )
        self.buffer.extend(TensorDict(rows, batch_size=size))
        self.buffer.writer.load_state_dict(state_dict["writer"])

    def _check_resumed(self) -> None:
        """Lightning keys this state by class name and is silent where it finds none."""
        if self.trainer is not None and self.trainer.global_step and not self.env_steps:
            raise MaxEntError(
                f"The clock stands at {self.trainer.global_step} environment steps, but the replay buffer is empty: the "
                f"checkpoint was made with another DataModule than {type(self).__name__}; resume with the "
                f"configuration that made it."
            )


def _saved(scaling: AbstractObservationScaling | AbstractRewardScaling) -> dict[str, Any]:
    return {"kind": type(scaling).__name__, "state": scaling.state_dict()}


def _restore(name: str, scaling: AbstractObservationScaling | AbstractRewardScaling, saved: dict[str, Any]) -> None:
    """Networks that learnt from observations or rewards of one scale mean nothing on another."""
    if saved.get("kind") != type(scaling).__name__:
        raise MaxEntError(
            f"The checkpoint was made with {name} {saved.get('kind', 'unknown')}, but it is {type(scaling).__name__} "
            f"here: resume with the configuration that made it."
        )
    scaling.load_state_dict(saved["state"])
