"""A Gaussian policy without squashing, as in most on-policy methods; actions are clipped for the environment."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import AbstractActions, BoxActions
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import AbstractConstraint, NetworkBuilder, TanhMLP
from lightning_maxent.networks.layers import float32_or_more
from lightning_maxent.objectives import normal_log_prob
from lightning_maxent.policies.base import AbstractDistribution, AbstractExplicitPolicy


class GaussianDistribution(AbstractDistribution):
    """Independent normal distributions with means ``[batch, action_dim]`` and standard deviations ``[action_dim]``."""

    def __init__(self, mean: Float[Tensor, "batch action_dim"], log_std: Float[Tensor, " action_dim"]):
        self._mean, self._log_std = mean, log_std

    def sample(self) -> Float[Tensor, "batch action_dim"]:
        return self._mean + self._log_std.exp() * torch.randn_like(self._mean)

    def mode(self) -> Float[Tensor, "batch action_dim"]:
        return self._mean

    def log_prob(self, action: Float[Tensor, "batch action_dim"]) -> Float[Tensor, " batch"]:
        return normal_log_prob((action - self._mean) / self._log_std.exp(), self._log_std).sum(-1)

    def entropy(self) -> Float[Tensor, " batch"]:
        each = self._log_std + 0.5 * math.log(2 * math.pi * math.e)
        return each.sum().expand(len(self._mean))


class Gaussian(AbstractExplicitPolicy, AbstractConstraint):
    """``a ~ N(mean(s), std^2)`` with the same ``std`` in every state.  Schulman et al. 2017b (PPO), section 6.1.

    Actions are clipped to [-1, 1] for the environment; the density and the entropy are those of unclipped actions.
    Beyond [-1, 1] rewards do not change, but a larger ``std`` still increases the entropy.  So with a large alpha, ``std``
    would grow without limit if it had no upper bound.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        network: builds the network, whose input is the observation.
        initial_std: ``std`` at the start, in units of half the range of actions.
        largest_std: upper bound of ``std``, applied after every update; the default of 2 is our choice.

    Raises:
        MaxEntError: for finite actions, or unless ``0 < initial_std <= largest_std < inf``.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        network: NetworkBuilder = TanhMLP,
        initial_std: float = 1.0,
        largest_std: float = 2.0,
    ):
        super().__init__()
        if not isinstance(actions, BoxActions):
            raise MaxEntError("Gaussian is for continuous actions, but this environment's are finite: use Categorical.")
        if not 0 < initial_std <= largest_std < math.inf:
            raise MaxEntError(
                f"initial_std must be positive and at most largest_std, which must be finite, but they are "
                f"{initial_std} and {largest_std}."
            )
        self.largest_std = largest_std
        self.network = network(1, obs_dim, actions.dim)
        self.log_std = nn.Parameter(torch.full((actions.dim,), math.log(initial_std)))

    def distribution(self, obs: Float[Tensor, "batch obs_dim"]) -> GaussianDistribution:
        return GaussianDistribution(float32_or_more(self.network(obs.unsqueeze(0)).squeeze(0)), self.log_std)

    @torch.no_grad()
    def project(self) -> None:
        self.log_std.clamp_(max=math.log(self.largest_std))
