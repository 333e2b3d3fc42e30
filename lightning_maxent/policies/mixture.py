"""A mixture of Gaussians, squashed by tanh to the box of actions."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.networks.layers import float32_or_more
from lightning_maxent.policies.base import AbstractSquashedPolicy
from lightning_maxent.policies.squashed_gaussian import AbstractLogStd, ClippedLogStd


class MixtureOfGaussians(AbstractSquashedPolicy):
    """``a = tanh(u)``, ``u ~ sum_k w_k(s) N(mean_k(s), std_k(s)^2)`` with diagonal covariances.

    The choice of a component has no gradient, but the sample has one by implicit reparameterization (Figurnov et al.
    2018, arXiv 1805.08498v4, section 3).  For each coordinate in turn, the conditional distribution function
    ``F(u_d | u_1 .. u_d-1)`` of the sample is kept constant when parameters change.  This gives
    ``du_d = -dF / p(u_d | u_1 .. u_d-1)``.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        components: number of Gaussians.
        network: builds the network, whose input is the observation.
        log_std: builds the rule that bounds log std.

    Raises:
        MaxEntError: unless there is at least one component.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        components: int = 4,
        network: NetworkBuilder = MLP,
        log_std: Callable[[], AbstractLogStd] = ClippedLogStd,
    ):
        super().__init__()
        if components < 1:
            raise MaxEntError(f"components must be at least 1, but is {components}.")
        self.components, self.action_dim = components, action_dim
        self.network = network(1, obs_dim, components * (2 * action_dim + 1))
        self.log_std = log_std()

    def unsquashed_with_log_prob(
        self, obs: Float[Tensor, "batch obs_dim"], count: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        output = (
            float32_or_more(self.network(obs.unsqueeze(0)).squeeze(0)).unflatten(-1, (self.components, -1)).unsqueeze(1)
        )
        mean, log_std = output[..., : self.action_dim], self.log_std(output[..., self.action_dim : -1])
        log_weight = output[..., -1].log_softmax(-1)  # [batch, 1, component]; mean, log_std: [..., action_dim]
        with torch.no_grad():
            gumbel = -torch.empty(obs.shape[0], count, self.components, device=obs.device).exponential_().log()
            chosen = (log_weight + gumbel).argmax(-1)[..., None, None].expand(-1, -1, 1, self.action_dim)
            own_mean, own_std = (
                part.expand(-1, count, -1, -1).gather(2, chosen).squeeze(2) for part in (mean, log_std.exp())
            )
            drawn = own_mean + own_std * torch.randn_like(own_mean)
        coordinates, log_prob = [], log_weight
        for d in range(self.action_dim):  # log_prob: joint, of each component and the coordinates so far
            mean_d, log_std_d, fixed = mean[..., d], log_std[..., d], drawn[..., d, None]
            given = log_prob.log_softmax(-1)
            below = (given.exp() * torch.special.ndtr((fixed - mean_d) * (-log_std_d).exp())).sum(-1)
            density = (given + _log_normal(fixed, mean_d, log_std_d)).logsumexp(-1).detach().exp()
            shift = (below - below.detach()) / density.clamp(min=1e-10)  # its value is zero; it has a gradient
            u = drawn[..., d] - shift
            log_prob = log_prob + _log_normal(u.unsqueeze(-1), mean_d, log_std_d)
            coordinates.append(u)
        return torch.stack(coordinates, dim=-1), log_prob.logsumexp(-1)


def _log_normal(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    return -0.5 * ((u - mean) * (-log_std).exp()).square() - log_std - 0.5 * math.log(2 * math.pi)
