"""The interface of data modules for callbacks and other parts of the package."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.transition import Transition


class BufferRows:
    """The rows of a replay buffer, numbered in the order in which they were stored.

    A checkpoint of ``AtomicCheckpointIO`` saves only the rows that are new since the last save.  Other checkpoints save
    all rows in the file itself, since an object of this class is pickled as a dictionary of tensors.

    Args:
        stream: a name that buffers share only if their rows of the same number are equal, as a buffer and the one that
            was restored from its checkpoint.
        first: the number of the oldest row in the buffer.
        stop: the number of the next row, so that there are ``stop - first`` rows.
        read: gives the rows from a number up to, but without, another one, as tensors ``[row, ...]`` by their names.
    """

    def __init__(self, stream: str, first: int, stop: int, read: Callable[[int, int], dict[str, Tensor]]):
        self.stream, self.first, self.stop, self.read = stream, first, stop, read

    def __len__(self) -> int:
        return self.stop - self.first

    def all(self) -> dict[str, Tensor]:
        """All rows, from the oldest to the newest."""
        return self.read(self.first, self.stop)

    @classmethod
    def from_tensors(cls, rows: Mapping[str, Tensor], stream: str = "", stop: int | None = None) -> "BufferRows":
        """Rows in memory.

        Args:
            rows: tensors ``[row, ...]`` by their names, from the oldest row to the newest.
            stream: as above; empty for rows that no buffer has in this order.
            stop: the number after that of the newest row; default: the number of rows.
        """
        size = len(next(iter(rows.values())))
        stop = size if stop is None else stop
        first = stop - size
        return cls(
            stream,
            first,
            stop,
            lambda low, high: {name: each[low - first : high - first] for name, each in rows.items()},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (list({"stream": self.stream, "stop": self.stop, "rows": self.all()}.items()),)


def buffer_rows(saved: Any) -> BufferRows:
    """The rows of a saved buffer, as they are, or from the dictionary as which they are pickled."""
    return saved if isinstance(saved, BufferRows) else BufferRows.from_tensors(**saved)


@runtime_checkable
class RunData(Protocol):
    """A DataModule that counts environment steps, summed over all parallel environments."""

    env_steps: int
    """Environment steps so far."""

    steps_per_round: int
    """Environment steps per training step."""

    eval_interval: int
    """Environment steps between two evaluations."""

    @property
    def saved_bytes(self) -> int:
        """The largest number of bytes that a checkpoint writes for the data in separate files."""
        ...

    def metrics(self) -> dict[str, float]:
        """Metrics of the training episodes that ended since the last call."""
        ...

    def load_scalings(self, state_dict: dict[str, Any]) -> None:
        """Restore only the scaling of observations and rewards, from the saved state of a DataModule."""
        ...


@runtime_checkable
class ReplayedData(RunData, Protocol):
    """Data with a replay buffer that can be filled with the transitions of another run."""

    env_id: str
    env_kwargs: str
    num_envs: int

    @property
    def obs_dim(self) -> int:
        """Size of the flattened observation."""
        ...

    @property
    def actions(self) -> AbstractActions:
        """The action space."""
        ...

    def replace_environment_by(self, rows: Transition) -> None:
        """From now on, take transitions from these rows ``[time x env]`` in place of the environments."""
        ...


def data_of(trainer: pl.Trainer) -> RunData | None:
    """The DataModule of a Trainer; None if it has none, or one that does not count environment steps."""
    undeclared: Any = trainer  # Lightning sets the attribute without declaring it
    data = undeclared.datamodule
    return data if isinstance(data, RunData) else None
