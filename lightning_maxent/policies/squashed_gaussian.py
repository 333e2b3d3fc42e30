"""A Gaussian, squashed by tanh to the box of actions."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.networks.layers import float32_or_more
from lightning_maxent.objectives import normal_log_prob
from lightning_maxent.policies.base import AbstractComparablePolicy, AbstractSquashedPolicy


class AbstractLogStd(ABC):
    """Turns the output of a network into the logarithm of a standard deviation."""

    @abstractmethod
    def __call__(self, output: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log standard deviations within bounds."""


class ClippedLogStd(AbstractLogStd):
    """Clips the output to ``[low, high]``.

    Args:
        low: lower bound; -20 in the code of Haarnoja et al. 2018a.
        high: upper bound; 2 in that code.
    """

    def __init__(self, low: float = -20.0, high: float = 2.0):
        self.low, self.high = low, high

    def __call__(self, output: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return output.clamp(self.low, self.high)


class TanhLogStd(AbstractLogStd):
    """The tanh of the output, scaled to ``[low, high]``; unlike with clipping, its gradient is never exactly zero.

    Args:
        low: lower bound; -10 in the codes of SimBa, BRO and FlashSAC (April 2026).
        high: upper bound; 2 in these codes.
    """

    def __init__(self, low: float = -10.0, high: float = 2.0):
        self.low, self.high = low, high

    def __call__(self, output: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.low + (self.high - self.low) * (output.tanh() + 1) / 2


class SquashedGaussian(AbstractSquashedPolicy, AbstractComparablePolicy):
    """``a = tanh(u)``, ``u ~ N(mean(s), std(s)^2)`` with diagonal covariance.  Haarnoja et al. 2018a, appendix C.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        network: builds the network, whose input is the observation.
        log_std: builds the rule that bounds log std.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        network: NetworkBuilder = MLP,
        log_std: Callable[[], AbstractLogStd] = ClippedLogStd,
    ):
        super().__init__()
        self.network = network(1, obs_dim, 2 * action_dim)
        self.log_std = log_std()

    def _mean_and_log_std(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = float32_or_more(self.network(obs.unsqueeze(0)).squeeze(0)).chunk(2, dim=-1)
        return mean, self.log_std(log_std)

    def unsquashed_with_log_prob(
        self, obs: Float[Tensor, "batch obs_dim"], count: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        mean, log_std = (part.unsqueeze(1) for part in self._mean_and_log_std(obs))
        noise = torch.randn(obs.shape[0], count, mean.shape[-1], device=mean.device)
        return mean + log_std.exp() * noise, normal_log_prob(noise, log_std).sum(-1)

    def act(
        self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool = False
    ) -> Float[Tensor, "batch action_dim"]:
        mean, log_std = self._mean_and_log_std(obs)
        u = mean if deterministic else mean + log_std.exp() * torch.randn_like(mean)
        return u.tanh()

    def divergence(self, obs: Float[Tensor, "batch obs_dim"], earlier: "SquashedGaussian") -> Float[Tensor, " batch"]:
        """``KL(earlier || self)`` in nats; tanh does not change that of the Gaussians."""
        before, now = (
            Normal(mean, log_std.exp(), validate_args=False)
            for mean, log_std in (policy._mean_and_log_std(obs) for policy in (earlier, self))
        )
        return kl_divergence(before, now).sum(-1)
