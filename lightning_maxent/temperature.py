"""The temperature alpha, the weight of entropy in the objective: 1 / reward scale of Haarnoja et al. 2018a."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import AbstractActions
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, temperature_loss
from lightning_maxent.schedules import AbstractSchedule


class AbstractTemperature(nn.Module, ABC):
    """A temperature is built from the action space: ``Callable[[AbstractActions], AbstractTemperature]``.

    A temperature without parameters has no optimizer, and its loss is never computed.
    """

    @abstractmethod
    def forward(self) -> Scalar:
        """The temperature alpha, a scalar in units of reward per nat; never negative."""

    @abstractmethod
    def loss(self, log_prob: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The loss that the temperature's optimizer minimizes.

        Args:
            log_prob: ``log pi(a|s)`` in nats, of actions drawn from the current policy or averaged over all actions.
        """

    @abstractmethod
    def target_entropy(self) -> Scalar | None:
        """The entropy in nats that the temperature holds the policy at, or None if there is no such target."""


class FixedTemperature(AbstractTemperature):
    """A constant alpha, which has the same effect as scaling rewards by ``1 / alpha``.  At zero, entropy has no weight.

    Args:
        actions: not used; every temperature is built from the action space.
        alpha: in units of reward per nat.  Must not be negative.

    Raises:
        MaxEntError: if alpha is negative or not finite.
    """

    def __init__(self, actions: AbstractActions, alpha: float = 0.2):
        super().__init__()
        self.alpha: Tensor
        if not (math.isfinite(alpha) and alpha >= 0):
            raise MaxEntError(f"The temperature alpha must be finite and not negative, but is {alpha}.")
        self.register_buffer("alpha", torch.tensor(float(alpha)), persistent=False)  # the configuration says what it is

    def forward(self) -> Scalar:
        return self.alpha

    def loss(self, log_prob: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return torch.zeros_like(log_prob)

    def target_entropy(self) -> None:
        return None


class AnnealedTemperature(AbstractTemperature):
    """Alpha follows a schedule over environment steps.

    Args:
        actions: not used; every temperature is built from the action space.
        alpha: the schedule, in units of reward per nat.  Must not become negative.

    Raises:
        MaxEntError: if the schedule starts or ends below zero.
    """

    def __init__(self, actions: AbstractActions, alpha: AbstractSchedule):
        super().__init__()
        if min(alpha.ends()) < 0:
            raise MaxEntError(
                f"The temperature alpha must not become negative, but is annealed to {min(alpha.ends())}."
            )
        self.alpha = alpha

    def forward(self) -> Scalar:
        return self.alpha()

    def loss(self, log_prob: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return torch.zeros_like(log_prob)

    def target_entropy(self) -> None:
        return None


class LearnedTemperature(AbstractTemperature):
    """Alpha is the multiplier of the constraint ``H(pi) >= target_entropy``.  Haarnoja et al. 2018b, section 5.

    Args:
        actions: the action space.
        initial_alpha: alpha at the start, positive; 1 in the published code.
        target_entropy: in nats; if None, ``target_entropy_scale`` times the action space's ``target_entropy``:
            ``-dim`` for continuous actions (Haarnoja et al. 2018b, table 1), ``.7 log n`` for ``n`` finite actions.
        target_entropy_scale: 1 in Haarnoja et al. 2018b; 1/2 in SimBa, BRO and REPPO.

    Raises:
        MaxEntError: if alpha is not positive, if no policy can have the target entropy, or if both a target entropy and
            a scale other than 1 are given.
    """

    def __init__(
        self,
        actions: AbstractActions,
        initial_alpha: float = 1.0,
        target_entropy: float | None = None,
        target_entropy_scale: float = 1.0,
    ):
        super().__init__()
        self.target: Tensor
        if target_entropy is not None and target_entropy_scale != 1:
            raise MaxEntError(
                f"target_entropy is {target_entropy} and target_entropy_scale {target_entropy_scale}, but the scale "
                f"only applies to the default target: set target_entropy to null, or leave the scale at 1."
            )
        if not (math.isfinite(initial_alpha) and initial_alpha > 0):
            raise MaxEntError(f"initial_alpha must be finite and positive, but is {initial_alpha}.")
        target = target_entropy_scale * actions.target_entropy if target_entropy is None else target_entropy
        if not math.isfinite(target):
            raise MaxEntError(f"target_entropy must be finite, but is {target}.")
        if target >= actions.max_entropy:
            raise MaxEntError(
                f"target_entropy {target} cannot be reached: a policy over these actions has at most "
                f"{actions.max_entropy:.3f} nats, when all actions are equally likely. Choose a lower target, or a "
                f"FixedTemperature."
            )
        if target < actions.min_entropy:
            raise MaxEntError(
                f"target_entropy {target} cannot be reached: a policy over these actions has at least "
                f"{actions.min_entropy:g} nats, when one action is certain. Choose a higher target, or a "
                f"FixedTemperature."
            )
        self.log_alpha = nn.Parameter(torch.tensor(math.log(initial_alpha)))
        self.register_buffer("target", torch.tensor(float(target)), persistent=False)

    def forward(self) -> Scalar:
        return self.log_alpha.exp()

    def loss(self, log_prob: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return temperature_loss(self(), log_prob, self.target)

    def target_entropy(self) -> Scalar:
        return self.target


TemperatureBuilder = Callable[[AbstractActions], AbstractTemperature]
"""Builds a temperature from the action space."""
