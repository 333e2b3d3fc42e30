"""Whose entropy a policy gradient climbs: that of the state at hand, or that of the trajectory that follows too.

With objective (15) of the source chapter, ``E[R + alpha H(pi(.|s))]``, a state is only worth the rewards behind it.  With
(16), ``sum_t E[r_t + alpha H(pi(.|s_t))]``, the policy also seeks states in which it will have much entropy.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from lightning_maxent.objectives import Scalar


class AbstractEntropyObjective(ABC):
    """The weight of the entropy of later states in what an action is worth."""

    @abstractmethod
    def later_entropy_weight(self, alpha: Scalar) -> Scalar:
        """In units of reward per nat."""


class CurrentEntropy(AbstractEntropyObjective):
    """(15): none.  Williams & Peng 1991; Mnih et al. 2016 (arXiv 1602.01783v2), section 4."""

    def later_entropy_weight(self, alpha: Scalar) -> Scalar:
        return torch.zeros_like(alpha)


class TrajectoryEntropy(AbstractEntropyObjective):
    """(16): alpha, as for rewards.  Ziebart et al. 2008; Schulman et al. 2017a (arXiv 1704.06440v4), section 2."""

    def later_entropy_weight(self, alpha: Scalar) -> Scalar:
        return alpha


EntropyObjectiveBuilder = Callable[[], AbstractEntropyObjective]
