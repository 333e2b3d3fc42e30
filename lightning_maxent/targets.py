"""Target networks: they give the value of the next state for the soft Bellman backup."""

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
    """Inside, ``module`` normalizes with its running statistics and does not update them; dropout stays active."""
    moving = [each for each in module.modules() if each._buffers and each.training]  # buffers() would be slow
    for each in moving:
        each.training = False
    try:
        yield
    finally:
        for each in moving:
            each.training = True


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, gradients pass through ``module``, but its parameters get none and its running statistics do not change.

    Afterwards, ``requires_grad`` and the training mode are as before.  A compiled update computes the gradient of each
    loss in its own network only, so parameters stay as they are, because the compiler cannot change ``requires_grad``.
    """
    compiling = torch.compiler.is_compiling()
    trainable = [] if compiling else [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with frozen_statistics(module):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


class AbstractTarget(nn.Module, ABC):
    """Gives the values of next states; built from the network that learns."""

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """The target network's output for next states, outside the joint pass of ``predictions``.

        Callers disable gradients.
        """

    @abstractmethod
    def predictions(
        self, network: nn.Module, ask: Callable[..., Tensor], now: tuple[Tensor, ...], following: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """The predictions for the current inputs, which learn, and those for the next inputs, without gradients.

        Args:
            network: the network that learns.
            ask: calls a network: ``(network, *inputs) -> [member, batch, ...]``.
            now: the current inputs, each ``[batch, ...]``, such as observation and action.
            following: the next inputs, of the same kinds; as many rows as ``now`` or more.
        """

    @abstractmethod
    def follow(self, network: nn.Module) -> None:
        """Update the target towards ``network``; called once after every update of ``network``."""


class AbstractSlowCopy(AbstractTarget, ABC):
    """A target network: a copy of the given network, without gradients, that follows it slowly.

    Running statistics are copied too, and the copy normalizes with them.
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
            next_prediction = ask(self.network, *following)
        return ask(network, *now), next_prediction

    def _pairs(self, network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of a parameter or buffer of the copy and the corresponding one of ``network``."""
        return zip(
            chain(self.network.parameters(), self.network.buffers()),
            chain(network.parameters(), network.buffers()),
            strict=True,
        )


class PolyakTarget(AbstractSlowCopy):
    """``copy <- (1 - rate) copy + rate network`` after every update.

    Args:
        network: the network that the copy follows.
        rate: in (0, 1]; .005 in Haarnoja et al. 2018a, table 1.

    Raises:
        MaxEntError: for a rate outside (0, 1].
    """

    def __init__(self, network: nn.Module, rate: float = 0.005):
        super().__init__(network)
        self.rate = _checked_rate(rate)

    def follow(self, network: nn.Module) -> None:
        _come_closer(self._pairs(network), self.rate)


class PeriodicTarget(AbstractSlowCopy):
    """``copy <- network`` after every ``every`` updates.

    Args:
        network: the network that the copy follows.
        every: number of updates between two copies; 1,000 in Haarnoja et al. 2018a, table 1 (hard update).

    Raises:
        MaxEntError: if ``every`` is less than 1.
    """

    def __init__(self, network: nn.Module, every: int = 1000):
        super().__init__(network)
        if every < 1:
            raise MaxEntError(f"every, the number of updates between two copies, must be at least 1, but is {every}.")
        self.every = every
        self.updates: Tensor
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        self.updates += 1
        due = torch.eq(self.updates % self.every, 0)
        for copy, source in self._pairs(network):
            copy.copy_(torch.where(due, source, copy))  # a branch would wait for the device


class AbstractJointTarget(AbstractTarget, ABC):
    """Computes ``(s, a)`` and ``(s', a')`` in one pass.  It works for critics, but not for V, which has no actions."""


class JointPass(AbstractJointTarget):
    """No target network: one pass of the critic over both pairs.

    Bhatt et al. 2019 (CrossQ, arXiv 1902.05605), section 4.  In one pass over ``(s, a)`` and ``(s', a')``, batch
    normalization computes its statistics from both.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self._network = [network]  # in a list, so that it is not registered as a submodule

    def forward(self, *inputs: Any) -> Any:
        with frozen_statistics(self._network[0]):
            return self._network[0](*inputs)

    def predictions(
        self, network: nn.Module, ask: Callable[..., Tensor], now: tuple[Tensor, ...], following: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        both = ask(network, *(torch.cat(pair) for pair in zip(now, following, strict=True)))
        return both[:, : len(now[0])], both[:, len(now[0]) :].detach()

    def follow(self, network: nn.Module) -> None:
        """Does nothing, because there is no copy."""


class JointPolyakTarget(AbstractSlowCopy, AbstractJointTarget):
    """A target network; it and the critic each compute both pairs in one pass.  FlashSAC (arXiv 2604.04539), code.

    Batch normalization uses the statistics of both pairs in both networks.  The copy follows as in ``PolyakTarget``.

    Args:
        network: the network that the copy follows.
        rate: in (0, 1]; .01 in the code.

    Raises:
        MaxEntError: for a rate outside (0, 1].
    """

    def __init__(self, network: nn.Module, rate: float = 0.01):
        super().__init__(network)
        self.rate = _checked_rate(rate)

    def predictions(
        self, network: nn.Module, ask: Callable[..., Tensor], now: tuple[Tensor, ...], following: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        both = tuple(torch.cat(pair) for pair in zip(now, following, strict=True))
        with torch.no_grad():
            next_prediction = ask(self.network, *both)[:, len(now[0]) :]
        return ask(network, *both)[:, : len(now[0])], next_prediction

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
"""Builds a target from the network that learns."""


def build_state_target(builder: TargetBuilder, value: nn.Module, instead: str) -> AbstractTarget:
    """Build the target network of V.

    Args:
        builder: builds the target.
        value: V.
        instead: what to use for a joint pass, for the error message.

    Raises:
        MaxEntError: for a target that computes both pairs of a transition in one pass.
    """
    target = builder(value)
    if isinstance(target, AbstractJointTarget):
        raise MaxEntError(
            f"{type(target).__name__} computes (s, a) and (s', a') in one pass, but here the target is a copy of V, "
            f"which has no actions: use {instead}; or PolyakTarget, with a critic that has no batch normalization."
        )
    return target
