"""An ensemble of soft Q-functions; the backup uses the minimum of a random subset."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution, ask_members
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, NetworkBuilder


class EnsembleCritic(AbstractCritic):
    """The minimum of a random subset enters the backup; the policy maximizes the mean.  Chen et al. 2021, algorithm 1.

    This is the critic of REDQ (arXiv 2101.05982v1), which updates it 20 times per environment step.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        members: number of networks; N = 10 in the paper.
        subset: number of members that each backup draws; M = 2 in the paper.
        network: builds the networks, whose input is the observation and the action.

    Raises:
        MaxEntError: unless ``1 <= subset <= members``.
    """

    def __init__(
        self, obs_dim: int, action_dim: int, members: int = 10, subset: int = 2, network: NetworkBuilder = MLP
    ):
        super().__init__()
        if not 1 <= subset <= members:
            raise MaxEntError(f"subset must lie between 1 and the number of members {members}, but is {subset}.")
        self.members, self.subset = members, subset
        self.network = network(members, obs_dim + action_dim, 1)

    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch"]:
        return ask_members(self.network, self.members, obs, action).squeeze(-1)

    def value(self, prediction: Float[Tensor, "member batch"]) -> Float[Tensor, " batch"]:
        return prediction.mean(0)

    def target(self, prediction: Float[Tensor, "member batch"]) -> ReturnDistribution:
        drawn = torch.randperm(self.members, device=prediction.device)[: self.subset]
        return ReturnDistribution.certain(prediction[drawn].amin(0))
