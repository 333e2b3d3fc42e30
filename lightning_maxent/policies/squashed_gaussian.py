"""A Gaussian squeezed into the box of actions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.networks import mlp
from lightning_maxent.objectives import normal_log_prob, tanh_log_det
from lightning_maxent.policies.base import AbstractPolicy


class SquashedGaussian(AbstractPolicy):
    """``a = tanh(u)``, ``u ~ N(mean(s), std(s)^2)`` with diagonal covariance.  Haarnoja et al. 2018a, appendix C.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        hidden_dims: widths of the hidden layers; 2 x 256 in Haarnoja et al. 2018a, table 1.
        log_std_min: lower clip of log std; -20 in the published code.
        log_std_max: upper clip of log std; 2 in the published code.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        hidden_dims: Sequence[int] = (256, 256),
        log_std_min: float = -20.0,
        log_std_max: float = 2.0,
    ):
        super().__init__()
        self.network = mlp(obs_dim, hidden_dims, 2 * action_dim)
        self.log_std_min, self.log_std_max = log_std_min, log_std_max

    def _mean_and_log_std(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.network(obs).float().chunk(2, dim=-1)
        return mean, log_std.clamp(self.log_std_min, self.log_std_max)

    def forward(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, "batch action_dim"], Float[Tensor, " batch"]]:
        mean, log_std = self._mean_and_log_std(obs)
        noise = torch.randn_like(mean)
        u = mean + log_std.exp() * noise
        log_prob = normal_log_prob(noise, log_std) - tanh_log_det(u)
        return u.tanh(), log_prob.sum(-1)

    def act(
        self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool = False
    ) -> Float[Tensor, "batch action_dim"]:
        mean, log_std = self._mean_and_log_std(obs)
        u = mean if deterministic else mean + log_std.exp() * torch.randn_like(mean)
        return u.tanh()
