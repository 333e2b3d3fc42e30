"""Numbers that change with the environment steps, such as an annealed temperature or the epsilon of exploration."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar


class AbstractSchedule(nn.Module, ABC):
    """A function of the number of environment steps so far.

    This number is a buffer of the schedule, so it is saved in checkpoints.  The algorithm that contains the schedule
    sets it, also if the schedule is a part of a part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.env_steps: Tensor
        self.register_buffer("env_steps", torch.zeros((), dtype=torch.int64))

    def advance(self, env_steps: int) -> None:
        """Set the number of environment steps."""
        self.env_steps.fill_(env_steps)

    @abstractmethod
    def forward(self) -> Scalar:
        """The number at the current environment step, a scalar."""

    @abstractmethod
    def ends(self) -> tuple[float, float]:
        """The numbers at the start and at the end; all others lie between them."""


class ConstantSchedule(AbstractSchedule):
    """A constant number."""

    def __init__(self, constant: float):
        super().__init__()
        _check_finite(constant)
        self.constant = float(constant)

    def forward(self) -> Scalar:
        return torch.full((), self.constant, device=self.env_steps.device)

    def ends(self) -> tuple[float, float]:
        return self.constant, self.constant


class LinearSchedule(AbstractSchedule):
    """Linear from ``start`` to ``end`` over the first ``duration`` environment steps; then ``end``."""

    def __init__(self, start: float, end: float, duration: int):
        super().__init__()
        _check_finite(start, end)
        _check_duration(duration)
        self.start, self.end, self.duration = start, end, duration

    def forward(self) -> Scalar:
        passed = (self.env_steps / self.duration).clamp(max=1.0)
        return self.start * (1 - passed) + self.end * passed

    def ends(self) -> tuple[float, float]:
        return self.start, self.end


class ExponentialSchedule(AbstractSchedule):
    """Exponential from ``start`` to ``end`` over the first ``duration`` environment steps; then ``end``.

    Raises:
        MaxEntError: unless both are positive.
    """

    def __init__(self, start: float, end: float, duration: int):
        super().__init__()
        _check_finite(start, end)
        _check_duration(duration)
        if min(start, end) <= 0:
            raise MaxEntError(
                f"An exponential schedule needs positive numbers, but was given {start} and {end}; a LinearSchedule "
                f"may reach zero."
            )
        self.start, self.end, self.duration = start, end, duration

    def forward(self) -> Scalar:
        passed = (self.env_steps / self.duration).clamp(max=1.0)
        return self.start * (passed * math.log(self.end / self.start)).exp()

    def ends(self) -> tuple[float, float]:
        return self.start, self.end


def _check_finite(*numbers: float) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise MaxEntError(f"A schedule needs finite numbers, but was given {', '.join(map(str, numbers))}.")


def _check_duration(duration: int) -> None:
    if duration < 1:
        raise MaxEntError(f"A schedule's duration must be at least 1 environment step, but is {duration}.")
