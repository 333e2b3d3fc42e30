"""Soft Q-functions that predict quantiles of the return."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution, ask_members
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.objectives import quantile_huber


class AbstractPooling(ABC):
    """Combines the quantiles of all members into the target of the backup."""

    @abstractmethod
    def __call__(self, prediction: Float[Tensor, "member batch quantile"]) -> Float[Tensor, "batch atom"]:
        """The atoms ``[batch, atom]`` of the target, which have equal probabilities."""


class TruncatedPooling(AbstractPooling):
    """The quantiles of all members without the largest ones.

    Kuznetsov et al. 2020 (TQC, arXiv 2005.04269v1), section 4.

    Args:
        dropped: number of quantiles left out per member; in the paper 2, but 0 for HalfCheetah and 5 for Hopper.

    Raises:
        MaxEntError: when called, if ``dropped`` is negative or not below the number of quantiles.
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
    """The mean of each quantile over the members.  Nauman et al. 2024 (BRO, arXiv 2405.16158), published code."""

    def __call__(self, prediction: Float[Tensor, "member batch quantile"]) -> Float[Tensor, "batch atom"]:
        return prediction.mean(0)


class QuantileCritic(AbstractCritic):
    """Quantiles of the return, learned by quantile regression; the policy maximizes the mean of all quantiles.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        members: number of networks; 5 in TQC (Kuznetsov et al. 2020), 2 in BRO (Nauman et al. 2024).
        quantiles: number of quantiles per network; 25 in TQC, 100 in BRO.
        pooling: builds the rule that combines the quantiles of all members for the backup.
        network: builds the networks, whose input is the observation and the action.
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
