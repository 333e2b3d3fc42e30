"""Soft Q-functions that predict the return's quantiles."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution, ask_members
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.objectives import quantile_huber


class AbstractPooling(ABC):
    """What of the members' quantiles enters the backup."""

    @abstractmethod
    def __call__(self, prediction: Float[Tensor, "member batch quantile"]) -> Float[Tensor, "batch atom"]:
        """Atoms of equal probability."""


class TruncatedPooling(AbstractPooling):
    """All quantiles of all members, without the largest.  Kuznetsov et al. 2020 (TQC, arXiv 2005.04269v1), section 4.

    Args:
        dropped: how many are left out for each member; 2 in the paper, 0 for HalfCheetah, 5 for Hopper.
    """

    def __init__(self, dropped: int = 2):
        self.dropped = dropped

    def __call__(self, prediction: Float[Tensor, "member batch quantile"]) -> Float[Tensor, "batch atom"]:
        members, _, quantiles = prediction.shape
        if not 0 <= self.dropped < quantiles:
            raise MaxEntError(f"dropped must be at least 0 and below the {quantiles} quantiles, but is {self.dropped}.")
        pooled = prediction.transpose(0, 1).flatten(1).sort(-1).values
        return pooled[:, : members * (quantiles - self.dropped)]


class MeanPooling(AbstractPooling):
    """The mean over members of each quantile.  Nauman et al. 2024 (BRO, arXiv 2405.16158), in its published code."""

    def __call__(self, prediction: Float[Tensor, "member batch quantile"]) -> Float[Tensor, "batch atom"]:
        return prediction.mean(0)


class QuantileCritic(AbstractCritic):
    """Quantiles learned by quantile regression; the policy climbs the mean of them all.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        members: networks; 5 in TQC (Kuznetsov et al. 2020), 2 in BRO (Nauman et al. 2024).
        quantiles: of each network; 25 in TQC, 100 in BRO.
        pooling: what of them enters the backup.
        network: builds the networks over observation and action.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        members: int = 5,
        quantiles: int = 25,
        pooling: Callable[[], AbstractPooling] = TruncatedPooling,
        network: NetworkBuilder = MLP,
    ):
        super().__init__()
        self.members, self.pooling = members, pooling()
        self.network = network(members, obs_dim + action_dim, quantiles)

    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch quantile"]:
        return ask_members(self.network, self.members, obs, action)

    def value(self, prediction: Float[Tensor, "member batch quantile"]) -> Float[Tensor, " batch"]:
        return prediction.mean((0, 2))

    def target(self, prediction: Float[Tensor, "member batch quantile"]) -> ReturnDistribution:
        return ReturnDistribution.equally_likely(self.pooling(prediction))

    def loss(
        self, prediction: Float[Tensor, "member batch quantile"], target: ReturnDistribution
    ) -> Float[Tensor, "member batch"]:
        return quantile_huber(prediction, target.atoms, target.probs)
