"""Noise for the actions of a deterministic policy, whose exploration does not come from entropy."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.errors import MaxEntError


class AbstractNoise(nn.Module, ABC):
    """Noise on actions.  It is built from the size of an action: ``Callable[[int], AbstractNoise]``."""

    @abstractmethod
    def forward(self, action: Float[Tensor, "batch action_dim"]) -> Float[Tensor, "batch action_dim"]:
        """The actions with noise, within ``[-1, 1]``."""


class NoNoise(AbstractNoise):
    """Returns the actions unchanged."""

    def __init__(self, action_dim: int):
        super().__init__()

    def forward(self, action: Float[Tensor, "batch action_dim"]) -> Float[Tensor, "batch action_dim"]:
        return action


class GaussianNoise(AbstractNoise):
    """``a + clip(N(0, std^2), -clip, clip)``, independent at every step.  Fujimoto et al. 2018 (TD3), section 5.

    Args:
        action_dim: not used; every noise is built from it.
        std: in units of the largest action; in the paper (arXiv 1802.09477v3), .1 for exploration and .2 for smoothing.
        clip: limit of the noise; .5 for smoothing in the paper, none if None.

    Raises:
        MaxEntError: if ``std`` is negative or not finite, or ``clip`` is not positive.
    """

    def __init__(self, action_dim: int, std: float = 0.1, clip: float | None = None):
        super().__init__()
        if not 0 <= std < math.inf:
            raise MaxEntError(f"The standard deviation of noise must be finite and not negative, but is {std}.")
        if clip is not None and not clip > 0:
            raise MaxEntError(f"Noise must be clipped at a positive number, but clip is {clip}.")
        self.std, self.clip = std, math.inf if clip is None else clip

    def forward(self, action: Float[Tensor, "batch action_dim"]) -> Float[Tensor, "batch action_dim"]:
        noise = (self.std * torch.randn_like(action)).clamp(-self.clip, self.clip)
        return (action + noise).clamp(-1, 1)


class OrnsteinUhlenbeckNoise(AbstractNoise):
    """``x <- (1 - theta dt) x + sigma sqrt(dt) N(0, 1)``; the noise x, correlated in time, is added to the action.

    Lillicrap et al. 2015 (DDPG, arXiv 1509.02971v6), section 7.  Every environment has its own x, which starts at zero
    and is saved in checkpoints.  x continues from one episode to the next; algorithm 1 of the paper resets it.

    Args:
        action_dim: size of an action.
        theta: rate at which x decays to zero; .15 in the paper.
        sigma: scale of the noise; .2 in the paper.
        step: dt; 1 if theta and sigma are per environment step; other published codes use .01.

    Raises:
        MaxEntError: if theta, sigma or dt is not positive and finite, or ``theta dt >= 2``, which makes x grow without
            limit.
    """

    own_buffers = ("away",)  # every process has its own environments

    def __init__(self, action_dim: int, theta: float = 0.15, sigma: float = 0.2, step: float = 1.0):
        super().__init__()
        for name, number in (("theta", theta), ("sigma", sigma), ("step", step)):
            if not 0 < number < math.inf:
                raise MaxEntError(f"{name} of Ornstein-Uhlenbeck noise must be positive and finite, but is {number}.")
        if theta * step >= 2:
            raise MaxEntError(
                f"theta * step of Ornstein-Uhlenbeck noise must be below 2, or the noise grows without limit, but is "
                f"{theta * step:g}."
            )
        self.theta, self.sigma, self.step = theta, sigma, step
        self.away: Tensor  # [environment, action_dim]
        self.register_buffer("away", torch.zeros(1, action_dim))

    def forward(self, action: Float[Tensor, "batch action_dim"]) -> Float[Tensor, "batch action_dim"]:
        if len(self.away) != len(action):
            self.away = self.away.new_zeros(action.shape)
        push = self.sigma * math.sqrt(self.step) * torch.randn_like(self.away)
        self.away.mul_(1 - self.theta * self.step).add_(push)
        return (action + self.away).clamp(-1, 1)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any) -> None:
        if (saved := state_dict.get(f"{prefix}away")) is not None:  # has one row per environment of that run
            self.away = self.away.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


NoiseBuilder = Callable[[int], AbstractNoise]
"""Builds a noise from ``action_dim``."""
