"""Where the value of the next state comes from: slow copies of a network and how they follow it, or none."""

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
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """``module`` normalizes by its running statistics and leaves them as they are; dropout goes on."""
    moving = [each for each in module.modules() if each._buffers and each.training]  # buffers() takes as long as to act
    for each in moving:
        each.training = False
    try:
        yield
    finally:
        for each in moving:
            each.training = True


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through ``module``, but nothing of it moves: neither its parameters nor its running statistics.

    Restores the flags that it found.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with frozen_statistics(module):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


class AbstractTarget(nn.Module, ABC):
    """What an update regresses on; built from the network that learns."""

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """What is believed of the next state, where nothing learns at the same time; call it without gradients."""

    @abstractmethod
    def predictions(
        self, network: nn.Module, ask: Callable[..., Tensor], now: tuple[Tensor, ...], following: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """What ``network`` predicts of ``now``, to be regressed, and what is believed, without gradient, of what follows.

        Args:
            network: what learns.
            ask: ``(network, *inputs) -> [member, batch, ...]``.
            now: inputs ``[batch, ...]``.
            following: inputs of the same kinds, of as many pairs or more.
        """

    @abstractmethod
    def follow(self, network: nn.Module) -> None:
        """Come one update closer to ``network``; called once after every update."""


class AbstractSlowCopy(AbstractTarget, ABC):
    """Holds ``network``, a copy that starts equal to the given network, takes no gradient, and follows it.

    Its running statistics follow too, and it normalizes by them.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network: Any = deepcopy(network).requires_grad_(False)

    def forward(self, *inputs: Any) -> Any:
        with frozen_statistics(self.network):
            return self.network(*inputs)

    def predictions(
        self, network: nn.Module, ask: Callable[..., Tensor], now: tuple[Tensor, ...], following: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), frozen_statistics(self.network):
            believed = ask(self.network, *following)
        return ask(network, *now), believed

    def _pairs(self, network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Every parameter and buffer of the copy with the one that it follows."""
        return zip(
            chain(self.network.parameters(), self.network.buffers()),
            chain(network.parameters(), network.buffers()),
            strict=True,
        )


class PolyakTarget(AbstractSlowCopy):
    """``copy <- (1 - rate) copy + rate network`` after every update.

    Args:
        network: what the copy follows.
        rate: .005 in Haarnoja et al. 2018a, table 1.
    """

    def __init__(self, network: nn.Module, rate: float = 0.005):
        super().__init__(network)
        self.rate = _checked_rate(rate)

    def follow(self, network: nn.Module) -> None:
        _come_closer(self._pairs(network), self.rate)


class PeriodicTarget(AbstractSlowCopy):
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


class AbstractJointTarget(AbstractTarget, ABC):
    """Asks for ``(s, a)`` and ``(s', a')`` in one pass.  It serves a network of pairs, a critic, and no V."""


class JointPass(AbstractJointTarget):
    """No slow copy: the network itself, asked of both at once.  Bhatt et al. 2019 (CrossQ, arXiv 1902.05605), section 4.

    In one pass over ``(s, a)`` and ``(s', a')``, batch normalization takes its statistics from both.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self._network = [network]  # in a list, so that it is not a part of this module too

    def forward(self, *inputs: Any) -> Any:
        with frozen_statistics(self._network[0]):
            return self._network[0](*inputs)

    def predictions(
        self, network: nn.Module, ask: Callable[..., Tensor], now: tuple[Tensor, ...], following: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        both = ask(network, *(torch.cat(pair) for pair in zip(now, following, strict=True)))
        return both[:, : len(now[0])], both[:, len(now[0]) :].detach()

    def follow(self, network: nn.Module) -> None:
        """Nothing: it is the network."""


class JointPolyakTarget(AbstractSlowCopy, AbstractJointTarget):
    """A slow copy, where network and copy are each asked of both at once.  FlashSAC (arXiv 2604.04539), published code.

    Both normalize by the statistics of both pairs; the copy follows as in ``PolyakTarget``.

    Args:
        network: what the copy follows.
        rate: .01 in the code.
    """

    def __init__(self, network: nn.Module, rate: float = 0.01):
        super().__init__(network)
        self.rate = _checked_rate(rate)

    def predictions(
        self, network: nn.Module, ask: Callable[..., Tensor], now: tuple[Tensor, ...], following: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        both = tuple(torch.cat(pair) for pair in zip(now, following, strict=True))
        with torch.no_grad():
            believed = ask(self.network, *both)[:, len(now[0]) :]
        return ask(network, *both)[:, : len(now[0])], believed

    def follow(self, network: nn.Module) -> None:
        _come_closer(self._pairs(network), self.rate)


def _checked_rate(rate: float) -> float:
    if not 0 < rate <= 1:
        raise MaxEntError(f"The rate of a Polyak target must lie in (0, 1], but is {rate}.")
    return rate


@torch.no_grad()
def _come_closer(pairs: Iterator[tuple[Tensor, Tensor]], rate: float) -> None:
    for copy, source in pairs:
        if copy.is_floating_point():
            copy.lerp_(source, rate)
        else:
            copy.copy_(source)


TargetBuilder = Callable[[nn.Module], AbstractTarget]
"""Builds what to regress on from the network that learns."""


def build_state_target(builder: TargetBuilder, value: nn.Module, instead: str) -> AbstractTarget:
    """Build the slow copy of V, which is asked for next states alone.

    Args:
        builder: builds the copy.
        value: V.
        instead: what serves where a joint pass is wanted, for the error.

    Raises:
        MaxEntError: for a target that asks for both pairs of a transition.
    """
    target = builder(value)
    if isinstance(target, AbstractJointTarget):
        raise MaxEntError(
            f"{type(target).__name__} asks a critic for (s, a) and (s', a') in one pass, but here the target is the slow copy "
            f"of V, which sees no actions: use {instead}; or PolyakTarget, with a critic that has no batch normalization."
        )
    return target
