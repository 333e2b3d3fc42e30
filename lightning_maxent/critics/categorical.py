"""Soft Q-functions that predict a histogram of the return and learn it by classification."""

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
    """Turns the target distribution of the soft Bellman backup into a histogram, the label of the classification."""

    @abstractmethod
    def __call__(self, returns: ReturnDistribution, centers: Float[Tensor, " bin"]) -> Float[Tensor, "batch bin"]:
        """Probabilities ``[batch, bin]`` of equally wide bins around ``centers``."""


class ProjectedHistogram(AbstractHistogram):
    """Projects the distribution onto the centers.  Bellemare et al. 2017 (C51, arXiv 1707.06887v1), section 4.1."""

    def __call__(self, returns: ReturnDistribution, centers: Float[Tensor, " bin"]) -> Float[Tensor, "batch bin"]:
        return projection(returns.atoms, returns.probs, centers)


class TwoHotHistogram(AbstractHistogram):
    """Splits the mean between the two nearest centers.  Farebrother et al. 2024 (arXiv 2403.03950), section 3.1."""

    def __call__(self, returns: ReturnDistribution, centers: Float[Tensor, " bin"]) -> Float[Tensor, "batch bin"]:
        return projection(*ReturnDistribution.certain(returns.mean()), centers)


class GaussianHistogram(AbstractHistogram):
    """A Gaussian around the mean, integrated over every bin (HL-Gauss).  Farebrother et al. 2024, section 3.2.

    Args:
        sigma: standard deviation of the Gaussian, in widths of a bin; .75 in the paper.

    Raises:
        MaxEntError: if sigma is not positive.
    """

    def __init__(self, sigma: float = 0.75):
        if sigma <= 0:
            raise MaxEntError(f"sigma must be positive, but is {sigma}; to have no sigma, use TwoHotHistogram.")
        self.sigma = sigma

    def __call__(self, returns: ReturnDistribution, centers: Float[Tensor, " bin"]) -> Float[Tensor, "batch bin"]:
        return gaussian_histogram(returns.mean(), centers, self.sigma)


class CategoricalCritic(AbstractCritic):
    """Histograms of the return, learned by cross-entropy.

    The histogram with the smallest mean enters the backup, and the policy maximizes this mean.

    Returns outside ``[low, high]`` are clipped, so choose the range or the scale of rewards such that none are.  The
    range must hold soft returns: if returns of rewards are at most G, then soft returns reach
    ``G + gamma alpha |H| / (1 - gamma)`` for policies of entropy H.  ``ReturnScaledRewards`` limits G only: with G = 5,
    alpha = .01, gamma = .99 and H = -6 nats, soft returns reach 10.9.  The metric ``critic/clipped`` is the share of
    the targets outside the range; if it is not close to zero, widen the range.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        low: center of the first bin, in units of soft return.
        high: center of the last bin, in units of soft return.
        bins: number of bins; 101 in Farebrother et al. 2024.
        members: number of networks.
        histogram: builds the rule that turns a target into a histogram.
        network: builds the networks, whose input is the observation and the action.

    Raises:
        MaxEntError: unless ``low < high`` and there are two or more bins.
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
