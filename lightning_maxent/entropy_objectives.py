"""Which entropies the policy gradient increases: that of the current state only, or also those of later states.

``CurrentEntropy``: the gradient in state ``s_t`` is that of ``E[sum_k gamma^k r_(t+k)] + alpha H(pi(.|s_t))``.  Returns
hold rewards only, so the policy does not seek states of high entropy.

``TrajectoryEntropy``: the objective is ``E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]``.  Returns hold the entropies of
later states too, so the policy also seeks states in which its entropy will be high.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from lightning_maxent.objectives import Scalar


class AbstractEntropyObjective(ABC):
    """Decides how much the entropies of later states count in the return of an action."""

    @abstractmethod
    def later_entropy_weight(self, alpha: Scalar) -> Scalar:
        """The weight of later states' entropies in the return, in units of reward per nat.

        Args:
            alpha: the temperature, in units of reward per nat.
        """


class CurrentEntropy(AbstractEntropyObjective):
    """Later entropies do not count.  Williams & Peng 1991; Mnih et al. 2016 (arXiv 1602.01783v2), section 4."""

    def later_entropy_weight(self, alpha: Scalar) -> Scalar:
        return torch.zeros_like(alpha)


class TrajectoryEntropy(AbstractEntropyObjective):
    """Later entropies count with alpha.  Ziebart et al. 2008; Schulman et al. 2017a (arXiv 1704.06440v4), section 2."""

    def later_entropy_weight(self, alpha: Scalar) -> Scalar:
        return alpha


EntropyObjectiveBuilder = Callable[[], AbstractEntropyObjective]
