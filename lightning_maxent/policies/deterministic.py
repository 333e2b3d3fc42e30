"""A deterministic policy."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.networks.layers import float32_or_more


class Deterministic(nn.Module):
    """``a = tanh(f(s))``.  Lillicrap et al. 2015 (arXiv 1509.02971v6), section 7.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        network: builds the network, whose input is the observation.
    """

    def __init__(self, obs_dim: int, action_dim: int, network: NetworkBuilder = MLP):
        super().__init__()
        self.network = network(1, obs_dim, action_dim)

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return torch.tanh(float32_or_more(self.network(obs.unsqueeze(0)).squeeze(0)))
