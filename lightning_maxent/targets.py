"""Slow copies of a network, and how they follow it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lightning_maxent.errors import MaxEntError


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through ``module`` but do not reach its parameters; restores the flags that it found."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


class AbstractTarget(nn.Module, ABC):
    """Holds ``network``, a copy that starts equal to the given network, takes no gradient, and follows it.

    A target is built from the network that it follows.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network: Any = deepcopy(network).requires_grad_(False)

    @abstractmethod
    def follow(self, network: nn.Module) -> None:
        """Move the copy, buffers included, one update closer to ``network``; called once after every update."""

    def forward(self, *args: Any) -> Any:
        return self.network(*args)

    def _pairs(self, network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Every parameter and buffer of the copy with the one that it follows."""
        return zip(
            chain(self.network.parameters(), self.network.buffers()),
            chain(network.parameters(), network.buffers()),
            strict=True,
        )


class PolyakTarget(AbstractTarget):
    """``copy <- (1 - rate) copy + rate network`` after every update.

    Args:
        network: what the copy follows.
        rate: .005 in Haarnoja et al. 2018a, table 1.
    """

    def __init__(self, network: nn.Module, rate: float = 0.005):
        super().__init__(network)
        if not 0 < rate <= 1:
            raise MaxEntError(f"The rate of a Polyak target must lie in (0, 1], but is {rate}.")
        self.rate = rate

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        for copy, source in self._pairs(network):
            if copy.is_floating_point():
                copy.lerp_(source, self.rate)
            else:
                copy.copy_(source)


class PeriodicTarget(AbstractTarget):
    """``copy <- network`` after every so many updates.

    Args:
        network: what the copy follows.
        every: updates between two copies; 1,000 in Haarnoja et al. 2018a, table 1 (hard update).
    """

    def __init__(self, network: nn.Module, every: int = 1000):
        super().__init__(network)
        if every < 1:
            raise MaxEntError(f"A periodic target must copy every 1 or more updates, but every is {every}.")
        self.every = every
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        self.updates += 1
        due = torch.eq(self.updates % self.every, 0)
        for copy, source in self._pairs(network):
            copy.copy_(torch.where(due, source, copy))  # not a branch, which would wait for the device


TargetBuilder = Callable[[nn.Module], AbstractTarget]
"""Builds a slow copy from the network that it follows."""
