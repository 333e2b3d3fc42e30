"""How an algorithm is fed: the data that a round must bring, and the batches that its updates learn from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch

from lightning_maxent.errors import MaxEntError
from lightning_maxent.transition import Rollout, Transition


class AbstractFeeding(ABC):
    """Turns the data of a round into the batches of its updates."""

    @abstractmethod
    def check(self, algorithm: str, data: Any) -> None:
        """Raise ``MaxEntError`` unless the data of a round are of the right kind.

        Args:
            algorithm: its name, for the message.
            data: of a round.
        """

    @abstractmethod
    def batches(self, data: Any, prepare: Callable[[Any], Any]) -> Iterator[Any]:
        """One batch for every update of a round.

        Args:
            data: of the round.
            prepare: of the algorithm; turns the data into what its losses are computed from.
        """


class Replay(AbstractFeeding):
    """Transitions from a replay buffer, ``[updates, batch]``: each update learns from a batch of its own."""

    def check(self, algorithm: str, data: Any) -> None:
        if not isinstance(data, Transition):
            raise MaxEntError(
                f"{algorithm} learns from replayed transitions: give it data of the class ReplayDataModule."
            )

    def batches(self, data: Transition, prepare: Callable[[Transition], Any]) -> Iterator[Any]:
        for transitions in zip(*data):
            yield prepare(Transition(*transitions))


class Rollouts(AbstractFeeding):
    """Rollouts of the algorithm's own policy, ``[time, env]``: the whole at once, or passes over it in shuffled parts.

    The rollout is prepared once, before the first pass.

    Args:
        epochs: passes over a rollout.
        minibatches: parts of a pass; None for the whole rollout in its own order.

    Raises:
        MaxEntError: for a number below 1.
    """

    def __init__(self, epochs: int = 1, minibatches: int | None = None):
        if epochs < 1 or (minibatches is not None and minibatches < 1):
            raise MaxEntError(f"epochs and minibatches must be at least 1, but are {epochs} and {minibatches}.")
        self.epochs, self.minibatches = epochs, minibatches

    def check(self, algorithm: str, data: Any) -> None:
        if not isinstance(data, Rollout):
            raise MaxEntError(f"{algorithm} learns from its own rollouts: give it data of the class RolloutDataModule.")

    def batches(self, data: Rollout, prepare: Callable[[Rollout], Any]) -> Iterator[Any]:
        """Parts of what ``prepare`` returns, a named tuple of tensors ``[length, ...]``.

        Raises:
            MaxEntError: for a rollout with fewer than two steps for every part.
        """
        whole = prepare(data)
        if self.minibatches is None:
            yield from [whole] * self.epochs
            return
        length = len(whole[0])
        if length < 2 * self.minibatches:
            raise MaxEntError(
                f"A rollout of {length} steps cannot be split into {self.minibatches} minibatches of two or more: raise "
                f"steps_per_round of the data, or lower minibatches."
            )
        for _ in range(self.epochs):
            for part in torch.randperm(length, device=whole[0].device).tensor_split(self.minibatches):
                yield type(whole)(*(field[part] for field in whole))
