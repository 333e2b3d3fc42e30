"""The interface of data modules for callbacks and other parts of the package."""

from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl

from lightning_maxent.actions import AbstractActions
from lightning_maxent.transition import Transition


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
