"""Feeding: turns the data of a training round into the batches of its updates."""

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
        """Raise ``MaxEntError`` unless the data of a round have the right type.

        Args:
            algorithm: name of the algorithm, for the message.
            data: the data of a round.
        """

    @abstractmethod
    def batches(self, data: Any, prepare: Callable[[Any], Any]) -> Iterator[Any]:
        """The batches of the updates of a round.

        Args:
            data: the data of the round.
            prepare: the algorithm's method that turns data into the input of its losses.
        """


class Replay(AbstractFeeding):
    """Transitions ``[updates, batch]`` from a replay buffer; each update gets its own batch."""

    def check(self, algorithm: str, data: Any) -> None:
        if not isinstance(data, Transition):
            raise MaxEntError(
                f"{algorithm} learns from replayed transitions: give it data of the class ReplayDataModule."
            )

    def batches(self, data: Transition, prepare: Callable[[Transition], Any]) -> Iterator[Any]:
        for transitions in zip(*data):
            yield prepare(Transition(*transitions))


class Rollouts(AbstractFeeding):
    """Rollouts ``[time, env]`` of the current policy, as one batch or as several passes over shuffled minibatches.

    The rollout is prepared once, before the first pass.

    Args:
        epochs: number of passes over a rollout.
        minibatches: number of minibatches per pass; None for the whole rollout as one batch, without shuffling.

    Raises:
        MaxEntError: if a number is less than 1.
    """

    def __init__(self, epochs: int = 1, minibatches: int | None = None):
        if epochs < 1 or (minibatches is not None and minibatches < 1):
            raise MaxEntError(f"epochs and minibatches must be at least 1, but are {epochs} and {minibatches}.")
        self.epochs, self.minibatches = epochs, minibatches

    def check(self, algorithm: str, data: Any) -> None:
        if not isinstance(data, Rollout):
            raise MaxEntError(f"{algorithm} learns from its own rollouts: give it data of the class RolloutDataModule.")

    def batches(self, data: Rollout, prepare: Callable[[Rollout], Any]) -> Iterator[Any]:
        """Parts of the result of ``prepare``, which is a named tuple of tensors ``[length, ...]``.

        Raises:
            MaxEntError: if a minibatch would have fewer than two steps.
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
