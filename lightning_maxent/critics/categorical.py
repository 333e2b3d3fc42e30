"""Soft Q-functions that predict a histogram of the return, by classification."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution, ask_members
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.objectives import cross_entropy, gaussian_histogram, projection


class AbstractHistogram(ABC):
    """How a backed-up return becomes the histogram to be learned."""

    @abstractmethod
    def __call__(self, returns: ReturnDistribution, centers: Float[Tensor, " bin"]) -> Float[Tensor, "batch bin"]:
        """Probabilities of equal bins around ``centers``."""


class ProjectedHistogram(AbstractHistogram):
    """The whole distribution, moved onto the centers.  Bellemare et al. 2017 (C51, arXiv 1707.06887v1), section 4.1."""

    def __call__(self, returns: ReturnDistribution, centers: Float[Tensor, " bin"]) -> Float[Tensor, "batch bin"]:
        return projection(returns.atoms, returns.probs, centers)


class TwoHotHistogram(AbstractHistogram):
    """Its mean alone, shared between the two next centers.  Farebrother et al. 2024 (arXiv 2403.03950), section 3.1."""

    def __call__(self, returns: ReturnDistribution, centers: Float[Tensor, " bin"]) -> Float[Tensor, "batch bin"]:
        return projection(*ReturnDistribution.certain(returns.mean()), centers)


class GaussianHistogram(AbstractHistogram):
    """Its mean alone, smeared over a few bins (HL-Gauss).  Farebrother et al. 2024, section 3.2.

    Args:
        sigma: standard deviation in bins; .75 in the paper.
    """

    def __init__(self, sigma: float = 0.75):
        if sigma <= 0:
            raise MaxEntError(f"sigma must be positive, but is {sigma}; TwoHotHistogram has no sigma.")
        self.sigma = sigma

    def __call__(self, returns: ReturnDistribution, centers: Float[Tensor, " bin"]) -> Float[Tensor, "batch bin"]:
        return gaussian_histogram(returns.mean(), centers, self.sigma)


class CategoricalCritic(AbstractCritic):
    """Histograms learned by cross-entropy; the one with the smaller mean enters the backup, and the policy climbs that mean.

    Returns beyond ``low`` and ``high`` cannot be told apart: choose them, or the rewards' scale, so that none are.  Soft
    returns count: where rewards alone give returns of at most G, backups reach ``G + gamma alpha |H| / (1 - gamma)``
    with policies of entropy H.  ``ReturnScaledRewards`` bounds G alone: with G = 5, alpha = .01, gamma = .99 and H = -6
    nats that is 10.9.  The metric ``critic/clipped`` is the share of backups beyond the range; where it is not near
    zero, widen the range.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        low: center of the first bin, in units of soft return.
        high: center of the last bin.
        bins: how many; 101 in Farebrother et al. 2024.
        members: networks.
        histogram: what is learned of a backed-up return.
        network: builds the networks over observation and action.

    Raises:
        MaxEntError: unless low < high and there are two bins or more.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        low: float,
        high: float,
        bins: int = 101,
        members: int = 2,
        histogram: Callable[[], AbstractHistogram] = GaussianHistogram,
        network: NetworkBuilder = MLP,
    ):
        super().__init__()
        if not (low < high and bins >= 2):
            raise MaxEntError(f"A histogram needs low < high and two bins or more, not {bins} from {low} to {high}.")
        self.members, self.histogram = members, histogram()
        self.centers: Tensor
        self.register_buffer("centers", torch.linspace(low, high, bins), persistent=False)
        self.network = network(members, obs_dim + action_dim, bins)

    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch bin"]:
        return ask_members(self.network, self.members, obs, action)

    def value(self, prediction: Float[Tensor, "member batch bin"]) -> Float[Tensor, " batch"]:
        return self._means(prediction).amin(0)

    def target(self, prediction: Float[Tensor, "member batch bin"]) -> ReturnDistribution:
        smaller = self._means(prediction).argmin(0)
        chosen = prediction[smaller, torch.arange(prediction.shape[1], device=prediction.device)]
        return ReturnDistribution(self.centers.expand_as(chosen), chosen.softmax(-1))

    def loss(
        self, prediction: Float[Tensor, "member batch bin"], target: ReturnDistribution
    ) -> Float[Tensor, "member batch"]:
        return cross_entropy(prediction, self.histogram(target, self.centers))

    def clipped_share(self, target: ReturnDistribution) -> Float[Tensor, " batch"]:
        beyond = (target.atoms < self.centers[0]) | (target.atoms > self.centers[-1])
        return (target.probs * beyond).sum(-1)

    def _means(self, prediction: Float[Tensor, "member batch bin"]) -> Float[Tensor, "member batch"]:
        return (prediction.softmax(-1) * self.centers).sum(-1)
