"""The off-policy DataModule: environments and a replay buffer."""

import logging
import uuid
from collections.abc import Callable, Sequence
from math import ceil
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

from lightning_maxent.data.data_module import EnvironmentDataModule
from lightning_maxent.data.recorded_transitions import Recording
from lightning_maxent.data.scaling import ObservationScalingBuilder, RawObservations, RawRewards, RewardScalingBuilder
from lightning_maxent.data.storage_space import check_space
from lightning_maxent.data.vectorization import OneProcess, VectorizationBuilder
from lightning_maxent.data.wrapping import WrapperBuilder
from lightning_maxent.distributed import processes, rank
from lightning_maxent.errors import MaxEntError, check_positive, errors_of
from lightning_maxent.run_data import BufferRows, buffer_rows
from lightning_maxent.transition import Rollout, Transition

FLOAT = 4  # bytes
ROWS_AT_ONCE = 10_000  # copied at a time from a saved buffer, which saves memory

# Drop "Initialized LazyTensorStorage with torch.Size([…]) shape" from standard output.
logging.getLogger("torchrl").addFilter(lambda record: not record.getMessage().startswith("Initialized Lazy"))


class ReplayDataModule(EnvironmentDataModule):
    """Steps environments with the actions of the Trainer's module and stores transitions in a TorchRL replay buffer.

    A round is ``steps_per_round`` environment steps, followed by one training step with ``updates_per_round`` new
    batches.  During the first ``learning_starts`` environment steps, actions are uniform and there are no updates.

    A checkpoint holds the buffer, the number of environment steps and the environments, if their state can be saved (see
    ``data.env_states``).  A run can resume with another capacity: a smaller buffer keeps the newest transitions.

    If several processes train the model, each has its own buffer: ``capacity``, ``batch_size`` and
    ``updates_per_round`` are those of one process.  ``learning_starts`` counts the environment steps of all processes.

    Args:
        env_id: Gymnasium id of the environment, or ``module:Id``.
        env_kwargs: keyword arguments of the environment.
        num_envs: number of parallel copies of the environment.
        capacity: number of transitions in the full replay buffer; new ones then overwrite the oldest.
        batch_size: number of transitions per update.
        learning_starts: number of environment steps with uniform actions before the first update.
        steps_per_round: number of environment steps per round, summed over all copies.
        updates_per_round: number of updates per round.
        storage: builds the storage of the buffer from ``capacity``: ``torchrl.data.LazyTensorStorage`` (option
            ``device``), or ``torchrl.data.LazyMemmapStorage`` on disk (option ``scratch_dir``, a folder that no other
            run uses).
        sampler: builds the sampler of transitions, a class of ``torchrl.data.replay_buffers.samplers``, such as
            ``SamplerWithoutReplacement``.
        transform: builds the transform of sampled batches, a class of ``torchrl.envs.transforms``, such as
            ``RewardClipping``, which gets the fields of ``Transition``; null for none.
        eval_interval: number of environment steps between two evaluations.
        eval_episodes: number of episodes per evaluation with deterministic actions, and again with sampled actions.
        eval_envs: number of environments for evaluation, at most one per episode; null for up to 16.  With 0, the
            training environments are used: their episodes are cut off and start anew after the evaluation, and an
            environment without a time limit gets one of 10,000 steps.
        max_joint_actions: largest number of combinations for which a MultiDiscrete action becomes one Discrete action;
            beyond it, the parts of the action become independent factors.
        action_bounds: [low, high], which replace the infinite bounds of a Box action space; finite bounds stay.
        observation_scaling: builds the scaling of observations from ``obs_dim``.
        reward_scaling: builds the scaling of rewards from ``num_envs``.
        wrappers: builders of wrappers around every copy of the environment, in this order, such as one that changes
            observations.
        train_wrappers: further wrappers, around the copies for training only, such as one that shapes rewards; they keep
            the spaces.
        eval_wrappers: further wrappers, around the copies for evaluation only; they keep the spaces.
        vectorization: how the copies run, in training and in evaluation: ``lightning_maxent.OneProcess``,
            ``lightning_maxent.WorkerProcesses``, or another builder of a Gymnasium ``VectorEnv``.

    Raises:
        MaxEntError: for a number out of range, or numbers that contradict each other; in ``setup``, for a buffer that
            does not fit in memory or on the disk, or a wrapper that cannot be built or that changes the spaces of only
            some copies.
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
        wrappers: list[WrapperBuilder] | None = None,
        train_wrappers: list[WrapperBuilder] | None = None,
        eval_wrappers: list[WrapperBuilder] | None = None,
        vectorization: VectorizationBuilder = OneProcess,
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
            wrappers,
            train_wrappers,
            eval_wrappers,
            vectorization,
        )
        check_positive(capacity=capacity, batch_size=batch_size)
        if updates_per_round < 0:
            raise MaxEntError(f"updates_per_round must not be negative, but is {updates_per_round}.")
        if batch_size > capacity:
            raise MaxEntError(
                f"A batch of {batch_size} does not fit in a buffer of {capacity}: raise capacity or lower batch_size."
            )
        _check_start(learning_starts, batch_size, 1)
        self.capacity, self.batch_size = capacity, batch_size
        self.learning_starts, self.updates_per_round = learning_starts, updates_per_round
        self.make_storage, self.make_sampler, self.make_transform = storage, sampler, transform
        self.buffer: ReplayBuffer | None = None
        self._stream, self._stored = "", 0  # see BufferRows

    def check_processes(self, count: int) -> None:
        super().check_processes(count)
        _check_start(self.learning_starts, self.batch_size, count)

    def _updates_per_round(self) -> int:
        return self.updates_per_round

    def _said_of_updates(self, count: int) -> list[str]:
        return [f"{self.batch_size * count:,} transitions per update"]

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            storage = self.make_storage(self.capacity)
            if not isinstance(storage, LazyTensorStorage):  # other storages return lists, or have no slices
                raise MaxEntError(
                    f"The storage {type(storage).__name__} is not supported: choose LazyTensorStorage or LazyMemmapStorage of "
                    f"torchrl.data, or a subclass of one of them."
                )
            if isinstance(storage, LazyMemmapStorage) and storage.scratch_dir and processes() > 1:
                storage.scratch_dir = f"{storage.scratch_dir}process-{rank()}/"
            check_space(storage, self._rows_to_come, self._row_bytes, FLOAT * self.obs_dim, self.batch_size)
            self._stream, self._stored = uuid.uuid4().hex, 0
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
                f"The sampler {type(sampler).__name__} needs priorities, which no algorithm here computes: choose "
                f"RandomSampler or SamplerWithoutReplacement of torchrl.data.replay_buffers.samplers."
            )
        return sampler

    @property
    def saved_bytes(self) -> int:
        """Size of the buffers of all processes at the end of the run; a checkpoint saves them in separate files."""
        return self._rows_to_come * self._row_bytes * processes()

    @property
    def _rows_to_come(self) -> int:
        steps = self.trainer.max_steps if self.trainer else -1
        return self.capacity if steps < 0 else min(self.capacity, ceil(steps / processes()))

    @property
    def _row_bytes(self) -> int:
        """Size of one transition: two observations, an action, a reward and ``terminated``."""
        return FLOAT * (2 * self.obs_dim + self.actions.dim + 1) + 1

    def replace_environment_by(self, rows: Transition) -> None:
        """Replace the environments by the transitions ``[time x env]`` of another run, from its first step on."""
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
        except (RuntimeError, OSError) as error:  # the first rows allocate the storage
            raise MaxEntError(
                f"The replay buffer of {self.capacity:,} transitions cannot be stored ({' '.join(str(error).split())}): "
                f"choose a capacity that fits, or another storage."
            ) from error
        self._stored += size

    def _batch(self) -> Transition:
        """New batches ``[updates, batch]``, scaled with the current statistics; no batch before ``learning_starts``."""
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
        """``count`` transitions; a sampler without replacement may return fewer at the end of the buffer."""
        assert self.buffer is not None
        with errors_of("Sampling from the replay buffer with its sampler and transform"):
            rows: Any = self.buffer.sample(count)
            while len(rows) < count:
                rows = torch.cat([rows, self.buffer.sample(count - len(rows))])
        return rows

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if self.buffer is not None and len(self.buffer):
            state["replay"] = BufferRows(self._stream, self._stored - len(self.buffer), self._stored, self._read)
            state["writer"] = dict(self.buffer.writer.state_dict())
            state["sampler"] = dict(self.buffer.sampler.state_dict())
        return state

    def _read(self, start: int, stop: int) -> dict[str, Tensor]:
        """The rows of these numbers on the CPU; see ``BufferRows``."""
        assert self.buffer is not None
        cursor = self.buffer.writer.state_dict()[
            "_cursor"
        ]  # the position of the next row, which has number self._stored
        rows = self.buffer.storage[(cursor - self._stored + torch.arange(start, stop)) % len(self.buffer)]
        return {name: rows[name].cpu() for name in Transition._fields}

    def _restore(self, state_dict: dict[str, Any]) -> None:
        super()._restore(state_dict)
        if self.buffer is None:  # evaluating, not training
            return
        if "replay" not in state_dict:
            raise MaxEntError(
                "The checkpoint holds no replay buffer, so training cannot resume from it: resume from last.ckpt, with the "
                "folder last.ckpt.replay beside it."
            )
        if isinstance(self.buffer.storage, LazyMemmapStorage):
            self.buffer.storage.existsok = True  # the rows in these files are overwritten
        if further := state_dict.get("further", []):  # of other processes, if there were more of them
            self._take(_merged([buffer_rows(each["replay"]) for each in (state_dict, *further)]))
            return
        rows = buffer_rows(state_dict["replay"])
        writer = state_dict["writer"] | {"_cursor": state_dict["writer"]["_cursor"] % self.capacity}
        if full := len(rows) == self.capacity:  # rows keep their positions, so that the run draws the same batches
            self.buffer.writer.load_state_dict(writer)
        self._take(rows)
        if full:
            self.buffer.writer.load_state_dict(writer)  # its number of writes
        self._stream, self._stored = rows.stream, rows.stop
        if len(rows) == len(self.buffer):
            self.buffer.sampler.load_state_dict(state_dict.get("sampler", self.buffer.sampler.state_dict()))

    def _take(self, rows: BufferRows) -> None:
        """Store saved rows in the empty buffer, from the oldest to the newest; if not all fit, the newest are kept."""
        self._check_rows(rows.read(rows.first, rows.first + 1))
        for start in range(max(rows.first, rows.stop - self.capacity), rows.stop, ROWS_AT_ONCE):
            part = rows.read(start, min(start + ROWS_AT_ONCE, rows.stop))
            self._extend(part, len(part["reward"]))
        if len(rows) > self.capacity:
            rank_zero_info(
                f"The checkpoint's buffer holds {len(rows):,} transitions; the newest {self.capacity:,} are kept, because "
                f"capacity is {self.capacity:,}."
            )

    def _check_rows(self, rows: dict[str, Tensor]) -> None:
        """Raise ``MaxEntError`` for saved rows of other sizes or types than those that are stored here."""
        widths = {"obs": [self.obs_dim], "action": [self.actions.dim], "reward": [], "next_obs": [self.obs_dim]}
        expected = {name: (width, torch.float32) for name, width in widths.items()} | {"terminated": ([], torch.bool)}
        if (found := {name: (list(each.shape[1:]), each.dtype) for name, each in rows.items()}) != expected:
            differ = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
            raise MaxEntError(
                f"The checkpoint's buffer holds {', '.join(f'{name} {found.get(name)}' for name in differ)}, where this run "
                f"stores {', '.join(f'{name} {expected.get(name)}' for name in differ)}: resume with the same environment."
            )


def _check_start(learning_starts: int, batch_size: int, count: int) -> None:
    """Raise ``MaxEntError`` if ``count`` processes would learn before each can have a batch of different transitions."""
    if learning_starts < batch_size * count:
        of = f"of each of {count} processes, whose environment steps it counts" if count > 1 else ""
        raise MaxEntError(
            f"learning_starts {learning_starts} is shorter than a batch of {batch_size}{f' {of}' if of else ''}: set it to "
            f"{batch_size * count} or more."
        )


def _merged(saved: Sequence[BufferRows]) -> BufferRows:
    """The rows of several buffers, from the oldest to the newest; the newest row of each is equally new."""
    longest = max(map(len, saved))
    order = torch.cat([torch.arange(longest - len(each), longest) for each in saved]).argsort(stable=True)
    every = [each.all() for each in saved]
    return BufferRows.from_tensors(
        {name: torch.cat([each[name] for each in every])[order] for name in Transition._fields}
    )
