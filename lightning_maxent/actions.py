"""What an algorithm knows of an action space: how large an action is, and how much entropy it allows.

In the learner every action is a vector.  Continuous ones lie in ``[-1, 1]^dim``.  A finite one is a one-hot vector, so
that a critic takes both alike; an action of several factors is the concatenation of one one-hot vector for each.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, boltzmann_log_probs


class AbstractActions(ABC):
    """An action space as an algorithm sees it; entropies in nats."""

    dim: int
    """Size of the action vector."""

    @property
    @abstractmethod
    def min_entropy(self) -> float:
        """Entropy of a deterministic policy: none has less."""

    @property
    @abstractmethod
    def max_entropy(self) -> float:
        """Entropy of the uniform distribution: no policy has more."""

    @property
    @abstractmethod
    def target_entropy(self) -> float:
        """The entropy that a learned temperature steers to by default."""


class BoxActions(AbstractActions):
    """Continuous actions in ``[-1, 1]^dim``."""

    def __init__(self, dim: int):
        self.dim = dim

    @property
    def min_entropy(self) -> float:
        """None: the narrower a density, the lower."""
        return -math.inf

    @property
    def max_entropy(self) -> float:
        """``dim log 2``."""
        return self.dim * math.log(2)

    @property
    def target_entropy(self) -> float:
        """``-dim``: Haarnoja et al. 2018b, table 1."""
        return -float(self.dim)


class FiniteActions(AbstractActions):
    """One choice out of ``counts[i]`` for every factor i; the action vector has ``sum(counts)`` numbers, the scores'
    and the log-probabilities' layout too.

    Args:
        counts: choices of each factor; ``(n,)`` for ``Discrete(n)``.

    Raises:
        MaxEntError: if there is no factor, or one without a choice.
    """

    def __init__(self, counts: Sequence[int]):
        if not counts or min(counts) < 1:
            raise MaxEntError(f"Every factor of a finite action needs at least one choice, but counts is {counts}.")
        self.counts = tuple(int(count) for count in counts)
        self.dim = sum(self.counts)

    @property
    def min_entropy(self) -> float:
        """Zero."""
        return 0.0

    @property
    def max_entropy(self) -> float:
        """``sum_i log counts[i]``."""
        return sum(math.log(count) for count in self.counts)

    @property
    def target_entropy(self) -> float:
        """``.7`` of the highest entropy; ours: the .98 of Christodoulou 2019 keeps two actions at a coin's toss."""
        return 0.7 * self.max_entropy

    def log_softmax(self, scores: Float[Tensor, "*batch action_dim"]) -> Float[Tensor, "*batch action_dim"]:
        """Log-probabilities of every factor's choices."""
        return torch.cat([functional.log_softmax(factor, -1) for factor in scores.split(self.counts, -1)], -1)

    def boltzmann(self, q: Float[Tensor, "*batch action_dim"], alpha: Scalar) -> Float[Tensor, "*batch action_dim"]:
        """Log-probabilities of the Boltzmann policy of every factor's Q."""
        return torch.cat([boltzmann_log_probs(factor, alpha) for factor in q.split(self.counts, -1)], -1)

    def balanced(
        self, q: Float[Tensor, "member batch action_dim *atom"]
    ) -> Float[Tensor, "member batch action_dim *atom"]:
        """The same Q as a sum over factors whose terms have equal means.

        A constant may move from one factor's terms to another's without changing their sum, and so training never
        settles where it is: members that agree on Q need not agree on a term before they are balanced.
        """
        if len(self.counts) == 1:
            return q
        factors = q.split(self.counts, 2)
        means = torch.stack([factor.mean(2, keepdim=True) for factor in factors])
        return torch.cat([factor - mean + means.mean(0) for factor, mean in zip(factors, means)], 2)

    def greedy(self, scores: Float[Tensor, "*batch action_dim"]) -> Float[Tensor, "*batch action_dim"]:
        """The one-hot vector of every factor's highest score, the first of equals; not a number if a score is none."""
        factors = scores.split(self.counts, -1)
        best = torch.cat([functional.one_hot(factor.argmax(-1), factor.shape[-1]) for factor in factors], -1)
        return best.to(scores.dtype).masked_fill(scores.isnan().any(-1, keepdim=True), math.nan)

    def sample(self, log_probs: Float[Tensor, "*batch action_dim"]) -> Float[Tensor, "*batch action_dim"]:
        """A one-hot draw of every factor; ``argmax(log p + Gumbel noise)`` is distributed as p."""
        return self.greedy(log_probs - torch.empty_like(log_probs).exponential_().log())
