"""Action spaces as algorithms see them: the size of an action vector, and the range of entropies.

In the learner every action is a vector, so that a critic takes continuous and finite actions alike.  Continuous actions
lie in ``[-1, 1]^dim``.  A finite action is a one-hot vector.  An action of several factors is the concatenation of one
one-hot vector per factor.
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
        """The entropy of a deterministic policy, the lower limit."""

    @property
    @abstractmethod
    def max_entropy(self) -> float:
        """The entropy of the uniform policy, the upper limit."""

    @property
    @abstractmethod
    def target_entropy(self) -> float:
        """The default target entropy of a learned temperature."""


class BoxActions(AbstractActions):
    """Continuous actions in ``[-1, 1]^dim``."""

    def __init__(self, dim: int):
        self.dim = dim

    @property
    def min_entropy(self) -> float:
        """Minus infinity: a narrower density has a lower entropy."""
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
    """Finite actions of one or several factors, with ``counts[i]`` choices for factor i.

    The action vector, the scores (such as Q) and the log-probabilities all have ``sum(counts)`` entries, factor after
    factor.

    Args:
        counts: number of choices of each factor; ``(n,)`` for ``Discrete(n)``.

    Raises:
        MaxEntError: if there is no factor, or a factor has no choice.
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
        """``.7 max_entropy``; our choice, because .98 (Christodoulou 2019) keeps two actions almost equally likely."""
        return 0.7 * self.max_entropy

    def log_softmax(self, scores: Float[Tensor, "*batch action_dim"]) -> Float[Tensor, "*batch action_dim"]:
        """Log-probabilities of the choices of every factor: a log-softmax over each factor's scores."""
        return torch.cat([functional.log_softmax(factor, -1) for factor in scores.split(self.counts, -1)], -1)

    def boltzmann(self, q: Float[Tensor, "*batch action_dim"], alpha: Scalar) -> Float[Tensor, "*batch action_dim"]:
        """Log-probabilities of the Boltzmann policy, for each factor from its part of Q."""
        return torch.cat([boltzmann_log_probs(factor, alpha) for factor in q.split(self.counts, -1)], -1)

    def balanced(
        self, q: Float[Tensor, "member batch action_dim *atom"]
    ) -> Float[Tensor, "member batch action_dim *atom"]:
        """The same Q, with terms of the sum over factors shifted to equal means.

        Adding a constant to the terms of one factor and subtracting it from those of another does not change Q, so
        training does not determine it.  Without this shift, members that agree on Q can disagree on every term.
        """
        if len(self.counts) == 1:
            return q
        factors = q.split(self.counts, 2)
        means = torch.stack([factor.mean(2, keepdim=True) for factor in factors])
        return torch.cat([factor - mean + means.mean(0) for factor, mean in zip(factors, means)], 2)

    def greedy(self, scores: Float[Tensor, "*batch action_dim"]) -> Float[Tensor, "*batch action_dim"]:
        """One-hot vectors of the highest score of every factor (the first of equal scores); NaN if a score is NaN."""
        factors = scores.split(self.counts, -1)
        best = torch.cat([functional.one_hot(factor.argmax(-1), factor.shape[-1]) for factor in factors], -1)
        return best.to(scores.dtype).masked_fill(scores.isnan().any(-1, keepdim=True), math.nan)

    def sample(self, log_probs: Float[Tensor, "*batch action_dim"]) -> Float[Tensor, "*batch action_dim"]:
        """One-hot samples of every factor; ``argmax(log p + Gumbel noise)`` has the distribution p."""
        return self.greedy(log_probs - torch.empty_like(log_probs).exponential_().log())
