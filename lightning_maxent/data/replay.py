"""The off-policy DataModule: a replay buffer beside the environments."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning.utilities import rank_zero_info
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, ReplayBuffer
from torchrl.data.replay_buffers.samplers import PrioritizedSampler, RandomSampler, Sampler
from torchrl.data.replay_buffers.writers import RoundRobinWriter
from torchrl.envs.transforms import Transform

from lightning_maxent.data.environment import EnvironmentDataModule
from lightning_maxent.data.recording import Recording
from lightning_maxent.data.scaling import ObservationScalingBuilder, RawObservations, RawRewards, RewardScalingBuilder
from lightning_maxent.data.storage_space import check_space
from lightning_maxent.errors import MaxEntError, check_positive, errors_of
from lightning_maxent.transition import Rollout, Transition

FLOAT = 4  # bytes
ROWS_AT_ONCE = 10_000  # of a saved buffer, so that taking it in needs little memory beside it

# "Initialized LazyTensorStorage with torch.Size([…]) shape" on standard output tells nobody anything.
logging.getLogger("torchrl").addFilter(lambda record: not record.getMessage().startswith("Initialized Lazy"))


class ReplayDataModule(EnvironmentDataModule):
    """Environments, a TorchRL replay buffer and evaluation; the Trainer's module plays through ``explore`` and ``act``.

    A round is: ``steps_per_round`` environment steps, then one training step with ``updates_per_round`` batches drawn
    afresh.  During the first ``learning_starts``, actions are uniform and rounds carry no update.  The state saved is
    the buffer and the clock; environments start a new episode on resume.  A run may go on with another capacity: a larger
    buffer holds all that was saved, a smaller one the newest of it.

    Args:
        env_id: a Gymnasium id, or ``module:Id``.
        env_kwargs: the environment's keyword arguments.
        num_envs: copies stepped side by side.
        capacity: transitions that the buffer holds before it overwrites the oldest.
        batch_size: transitions of one update.
        learning_starts: environment steps with uniform actions before the first update.
        steps_per_round: environment steps, over all copies, between two rounds of updates.
        updates_per_round: updates in a round.
        storage: builds the buffer's storage from its capacity: ``torchrl.data.LazyTensorStorage`` (with ``device``)
            or ``torchrl.data.LazyMemmapStorage`` (with ``scratch_dir``, on disk; a folder of each run's own).
        sampler: builds how transitions are drawn, one of ``torchrl.data.replay_buffers.samplers``, such as
            ``SamplerWithoutReplacement``.
        transform: builds what each drawn batch of transitions goes through, one of ``torchrl.envs.transforms``, such as
            ``RewardClipping``; none if null.  Its fields are those of ``Transition``.
        eval_interval: environment steps from one evaluation to the next.
        eval_episodes: episodes of one evaluation with the policy's mode, and again as many with its samples.
        eval_envs: copies of the environment that evaluation opens beside those of training, at most one per episode; if
            null, up to 16.  With 0, evaluation plays in the copies of training: it cuts their episodes, and new ones
            begin after it; without a time limit of their own, they get one of 10,000 steps.
        max_joint_actions: a MultiDiscrete action of up to so many combinations is presented as one choice among them
            all; one of more, as independent factors.
        action_bounds: [low, high] in place of each infinite bound of a Box of actions; its finite bounds stay.
        observation_scaling: builds, from ``obs_dim``, how the learner sees observations.
        reward_scaling: builds, from ``num_envs``, how the learner sees rewards.

    Raises:
        MaxEntError: for numbers that cannot work together; by ``setup``, for a buffer that memory or disk cannot hold.
    """

    def __init__(
        self,
        env_id: str,
        env_kwargs: dict[str, Any] | None = None,
        num_envs: int = 1,
        capacity: int = 1_000_000,
        batch_size: int = 256,
        learning_starts: int = 1_000,
        steps_per_round: int = 1,
        updates_per_round: int = 1,
        storage: Callable[[int], LazyTensorStorage] = LazyTensorStorage,
        sampler: Callable[[], Sampler] = RandomSampler,
        transform: Callable[[], Transform] | None = None,
        eval_interval: int = 5_000,
        eval_episodes: int = 10,
        eval_envs: int | None = None,
        max_joint_actions: int = 1_000,
        action_bounds: tuple[float, float] | None = None,
        observation_scaling: ObservationScalingBuilder = RawObservations,
        reward_scaling: RewardScalingBuilder = RawRewards,
    ):
        super().__init__(
            env_id,
            env_kwargs,
            num_envs,
            steps_per_round,
            eval_interval,
            eval_episodes,
            eval_envs,
            max_joint_actions,
            action_bounds,
            observation_scaling,
            reward_scaling,
        )
        check_positive(capacity=capacity, batch_size=batch_size)
        if updates_per_round < 0:
            raise MaxEntError(f"updates_per_round must not be negative, but is {updates_per_round}.")
        if batch_size > capacity:
            raise MaxEntError(
                f"A batch of {batch_size} does not fit in a buffer of {capacity}: raise capacity or lower batch_size."
            )
        if learning_starts < batch_size:
            raise MaxEntError(
                f"learning_starts {learning_starts} is shorter than a batch of {batch_size}: set it to {batch_size} or more."
            )
        self.capacity, self.batch_size = capacity, batch_size
        self.learning_starts, self.updates_per_round = learning_starts, updates_per_round
        self.make_storage, self.make_sampler, self.make_transform = storage, sampler, transform
        self.buffer: ReplayBuffer | None = None

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            storage = self.make_storage(self.capacity)
            if not isinstance(storage, LazyTensorStorage):  # others give lists, or cannot be sliced
                raise MaxEntError(
                    f"The storage {type(storage).__name__} does not serve as a replay buffer: choose LazyTensorStorage or "
                    f"LazyMemmapStorage of torchrl.data, or a subclass of one of them."
                )
            check_space(storage, self._rows_to_come, self._row_bytes, FLOAT * self.obs_dim, self.batch_size)
            self.buffer = ReplayBuffer(
                storage=storage,
                sampler=self._sampler(),
                writer=RoundRobinWriter(),
                transform=self.make_transform() if self.make_transform else None,
            )

    def _sampler(self) -> Sampler:
        with errors_of("Building the sampler"):
            sampler = self.make_sampler()
        if isinstance(sampler, PrioritizedSampler):
            raise MaxEntError(
                f"The sampler {type(sampler).__name__} needs a priority of every transition, which no algorithm here gives: "
                f"choose RandomSampler or SamplerWithoutReplacement of torchrl.data.replay_buffers.samplers."
            )
        return sampler

    @property
    def saved_bytes(self) -> int:
        """Of the buffer, which a checkpoint keeps beside itself, once it holds as much as it ever will."""
        return self._rows_to_come * self._row_bytes

    @property
    def _rows_to_come(self) -> int:
        steps = self.trainer.max_steps if self.trainer else -1
        return self.capacity if steps < 0 else min(self.capacity, steps)

    @property
    def _row_bytes(self) -> int:
        """Of two observations, an action, a reward and ``terminated``."""
        return FLOAT * (2 * self.obs_dim + self.actions.dim + 1) + 1

    def replace_environment_by(self, rows: Transition) -> None:
        """From here on, meet what another run has met, ``[time x env]`` from its start, in place of environments."""
        self._check_resumed()
        self.runner = Recording(rows, self.num_envs, self.env_steps)

    def _choose(self, obs: Float[Tensor, "env obs_dim"], env_steps: int) -> Float[Tensor, "env action_dim"]:
        return self._algorithm.explore(obs) if env_steps >= self.learning_starts else self.codec.uniform(self.num_envs)

    def _store(self, rollout: Rollout) -> None:
        self._extend({name: getattr(rollout, name).flatten(0, 1) for name in Transition._fields}, self.steps_per_round)

    def _extend(self, rows: dict[str, Tensor], size: int) -> None:
        assert self.buffer is not None
        try:
            self.buffer.extend(TensorDict(rows, batch_size=size))
        except (RuntimeError, OSError) as error:  # the storage is made when it gets its first rows
            raise MaxEntError(
                f"The replay buffer of {self.capacity:,} transitions cannot be stored ({' '.join(str(error).split())}): "
                f"choose a capacity that fits, or another storage."
            ) from error

    def _batch(self) -> Transition:
        """Fresh batches ``[updates, batch]``, observations and rewards scaled as is right by now; at first, none."""
        assert self.buffer is not None
        updates = self.updates_per_round if self.env_steps > self.learning_starts else 0
        rows = self._draw(updates * self.batch_size) if updates else self.buffer.storage[:0]
        batch = Transition(
            *(rows[name].reshape(updates, self.batch_size, *rows[name].shape[1:]) for name in Transition._fields)
        )
        return batch._replace(
            obs=self.observation_scaling(batch.obs),
            reward=batch.reward * self.reward_scaling.scale(),
            next_obs=self.observation_scaling(batch.next_obs),
        )

    def _draw(self, count: int) -> TensorDict:
        """So many transitions; a sampler that ends a pass over the buffer may give fewer at a time."""
        assert self.buffer is not None
        rows: Any = self.buffer.sample(count)
        while len(rows) < count:
            rows = torch.cat([rows, self.buffer.sample(count - len(rows))])
        return rows

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if self.buffer is not None and len(self.buffer):
            rows = self.buffer.storage[: len(self.buffer)]
            state["replay"] = {name: rows[name] for name in Transition._fields}
            state["writer"] = dict(self.buffer.writer.state_dict())
            state["sampler"] = dict(self.buffer.sampler.state_dict())
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if self.buffer is None:  # evaluating, not training
            return
        rows = state_dict.get("replay")
        if rows is None:
            raise MaxEntError(
                "The checkpoint holds no replay buffer, so training cannot go on from it: resume from one that does "
                "(last.ckpt), with its folder last.ckpt.replay beside it."
            )
        if lost := [name for name in Transition._fields if name not in rows]:
            raise MaxEntError(
                f"The replay buffer of the checkpoint lacks {' and '.join(lost)}: a file of its .replay folder was lost."
            )
        if isinstance(self.buffer.storage, LazyMemmapStorage):
            self.buffer.storage.existsok = True  # files of the run so far, whose rows all come from the checkpoint
        self._take(rows, state_dict["writer"]["_cursor"])
        if len(rows["reward"]) == len(self.buffer):
            self.buffer.sampler.load_state_dict(state_dict.get("sampler", self.buffer.sampler.state_dict()))

    def _take(self, rows: dict[str, Tensor], cursor: int) -> None:
        """Fill the empty buffer with saved rows, of which the one at ``cursor`` is the oldest.

        With the capacity that they were saved with, each lies where it lay, so that the run draws what it would have drawn;
        with another one they lie in the order in which they were met, and the newest that fit are kept.
        """
        assert self.buffer is not None
        size = len(rows["reward"])
        as_it_was = size == self.capacity
        kept = torch.arange(size) if as_it_was else torch.arange(size).roll(-cursor)[-self.capacity :]
        for part in kept.split(ROWS_AT_ONCE):
            self._extend({name: rows[name][part] for name in Transition._fields}, len(part))
        if as_it_was:
            self.buffer.writer.load_state_dict({"_cursor": cursor % self.capacity})
        if len(kept) < size:
            rank_zero_info(
                f"The checkpoint's buffer holds {size:,} transitions, of which the newest {len(kept):,} are kept: as many as "
                f"the capacity is here."
            )
