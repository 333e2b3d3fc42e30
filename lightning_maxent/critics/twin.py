"""Two independent soft Q-functions, of which the smaller is believed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic
from lightning_maxent.networks import ensemble_mlp
from lightning_maxent.objectives import squared_error


class TwinCritic(AbstractCritic):
    """Q1 and Q2 as ReLU networks; their minimum counters overestimation.  Haarnoja et al. 2018a, section 4.2.

    The published code's policy climbs Q1 alone; here, as in Haarnoja et al. 2018b, it climbs the minimum.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        hidden_dims: widths of the hidden layers; 2 x 256 in Haarnoja et al. 2018a, table 1.
    """

    def __init__(self, obs_dim: int, action_dim: int, hidden_dims: Sequence[int] = (256, 256)):
        super().__init__()
        self.network = ensemble_mlp(2, obs_dim + action_dim, hidden_dims, 1)

    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch"]:
        pair = torch.cat((obs, action), dim=-1)
        return self.network(pair.expand(2, *pair.shape)).float().squeeze(-1)

    def value(self, prediction: Float[Tensor, "member batch"]) -> Float[Tensor, " batch"]:
        return prediction.amin(0)

    def target(self, prediction: Float[Tensor, "member batch"]) -> Float[Tensor, "batch 1"]:
        return prediction.amin(0).unsqueeze(-1)

    def loss(
        self, prediction: Float[Tensor, "member batch"], target: Float[Tensor, "batch 1"]
    ) -> Float[Tensor, "member batch"]:
        return squared_error(prediction, target.squeeze(-1))
