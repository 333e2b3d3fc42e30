"""What the rest of the package knows of a DataModule."""

from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl

from lightning_maxent.actions import AbstractActions
from lightning_maxent.transition import Transition


@runtime_checkable
class RunData(Protocol):
    """A DataModule whose rounds are environment steps.  All counts are of environment steps over all copies."""

    env_steps: int
    """Taken so far."""

    steps_per_round: int
    """From one training step to the next."""

    eval_interval: int
    """From one evaluation to the next."""

    @property
    def saved_bytes(self) -> int:
        """The most that a checkpoint keeps of the data in files of their own."""
        ...

    def metrics(self) -> dict[str, float]:
        """What was measured of training episodes since the last call."""
        ...

    def load_scalings(self, state_dict: dict[str, Any]) -> None:
        """Restore the scalings of observations and rewards alone, from a saved state of a DataModule."""
        ...


@runtime_checkable
class ReplayedData(RunData, Protocol):
    """Data with a replay buffer, which can be filled from another run's."""

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
        """From here on, take transitions ``[time x env]`` from these rows in place of the environments."""
        ...


def data_of(trainer: pl.Trainer) -> RunData | None:
    """The Trainer's DataModule; None where it has none, or one that does not count environment steps."""
    undeclared: Any = trainer  # Lightning sets the attribute without declaring it
    data = undeclared.datamodule
    return data if isinstance(data, RunData) else None
