"""The soft value of continuous actions from several samples of them: which ones, and what each counts."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, importance_log_probs
from lightning_maxent.policies.base import AbstractPolicy


class AbstractParticles(ABC):
    """Draws actions for every state, each state its own, and says what they tell of the soft policy.

    Both results of ``weigh`` belong to one approximation of ``V(s) = E_pi[Q(s,a) - alpha log pi(a|s)]``: the sum over
    particles of ``weight (Q - alpha log_prob)``.
    """

    @abstractmethod
    def check(self, policy: Any) -> None:
        """Raise ``MaxEntError`` if they cannot be drawn from ``policy``."""

    @abstractmethod
    def draw(
        self, policy: Any, obs: Float[Tensor, "batch obs_dim"], action_dim: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        """Actions in ``[-1, 1]`` and the log-density in nats that they were drawn with."""

    @abstractmethod
    def check_target_entropy(self, target: float, action_dim: int) -> None:
        """Raise ``MaxEntError`` if they cannot tell whether the soft policy has an entropy of ``target`` nats."""

    def weigh(
        self, q: Float[Tensor, "batch particle"], log_density: Float[Tensor, "batch particle"], alpha: Scalar
    ) -> tuple[Float[Tensor, "batch particle"], Float[Tensor, "batch particle"]]:
        """Logarithms of the particles' weights, and log-densities of the soft policy at the particles.

        By importance sampling unless overridden.
        """
        return importance_log_probs(q, log_density, alpha)


class UniformParticles(AbstractParticles):
    """``V(s) = alpha log mean_k exp(Q(s,a_k)/alpha) / p(a_k)`` with ``a_k`` uniform.  Haarnoja et al. 2017, eq. 10.

    The published code draws actions once for a whole batch.  Too few particles miss the modes: the logarithm of a mean
    is too low on average, the more so the narrower ``exp(Q/alpha)`` and the more dimensions.

    Args:
        count: particles per state; 16 in the published code for the multi-goal world.

    Raises:
        MaxEntError: for fewer than two.
    """

    def __init__(self, count: int = 16):
        self.count = _at_least_two(count)

    def check(self, policy: Any) -> None:
        """Any policy will do."""

    def draw(
        self, policy: Any, obs: Float[Tensor, "batch obs_dim"], action_dim: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        actions = 2 * torch.rand(len(obs), self.count, action_dim, device=obs.device) - 1
        return actions, torch.full(actions.shape[:2], -action_dim * math.log(2), device=obs.device)

    def check_target_entropy(self, target: float, action_dim: int) -> None:
        """Too few particles tell an entropy that is too high, and a learned temperature then settles too low.

        They tell none below ``dim log 2 - log count``, where one of them has all the weight.  The peak of a Gaussian with
        entropy H has the density ``exp(dim/2 - H)``, and at least one particle must be expected in its inverse, the
        volume of the peak: ``H >= dim log 2 - log count + dim/2``.  There the entropy settles .2 nats below its target
        (measured in 1, 2 and 3 dimensions); half a nat lower it settles .5 below, in two dimensions with .6 of the right
        alpha.

        Raises:
            MaxEntError: for a target below that; says how many particles would do.
        """
        needed = math.ceil(math.exp(action_dim * (math.log(2) + 0.5) - target))
        if self.count < needed:
            raise MaxEntError(
                f"The temperature steers to an entropy of {target:.3g} nats, but {self.count} uniform particles cannot tell "
                f"so low an entropy in {action_dim} dimensions, and alpha would settle too low: set their count to "
                f"{needed:,} or more, use PolicyParticles, or choose a higher target_entropy."
            )


class AbstractPolicyParticles(AbstractParticles, ABC):
    """Draws ``count`` actions from the policy, with its own density."""

    count: int

    def check(self, policy: Any) -> None:
        if not isinstance(policy, AbstractPolicy):
            raise MaxEntError(
                f"{type(self).__name__} needs the density of the policy, and {type(policy).__name__} has none: use "
                f"UniformParticles, or FlowPolicy, MixtureOfGaussians or SquashedGaussian."
            )

    def check_target_entropy(self, target: float, action_dim: int) -> None:
        """Any will do, since they lie where the policy is."""

    def draw(
        self, policy: Any, obs: Float[Tensor, "batch obs_dim"], action_dim: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        action, log_prob = policy(obs.repeat_interleave(self.count, dim=0))
        return action.unflatten(0, (len(obs), self.count)), log_prob.unflatten(0, (len(obs), self.count))


class PolicyParticles(AbstractPolicyParticles):
    """The same with ``a_k`` from the policy, by its own density: exact, with any number of them, once the policy is.

    Where the policy has lost a mode of Q, none is drawn there, and V is too low.

    Args:
        count: particles per state.

    Raises:
        MaxEntError: for fewer than two, or a policy without a density.
    """

    def __init__(self, count: int = 16):
        self.count = _at_least_two(count)


class PolicyExpectation(AbstractPolicyParticles):
    """``V(s) = mean_k Q(s,a_k) - alpha log pi(a_k|s)`` with ``a_k`` from the policy: eq. (18) itself, as in SAC.

    It is the soft value of the policy as it is, where importance sampling estimates that of the best one.

    Args:
        count: particles per state.

    Raises:
        MaxEntError: for fewer than one, or a policy without a density.
    """

    def __init__(self, count: int = 1):
        if count < 1:
            raise MaxEntError(f"The soft value needs at least one particle, but count is {count}.")
        self.count = count

    def weigh(
        self, q: Float[Tensor, "batch particle"], log_density: Float[Tensor, "batch particle"], alpha: Scalar
    ) -> tuple[Float[Tensor, "batch particle"], Float[Tensor, "batch particle"]]:
        return torch.full_like(q, -math.log(self.count)), log_density


def _at_least_two(count: int) -> int:
    if count < 2:
        raise MaxEntError(
            f"Importance sampling needs several particles, but count is {count}: give 2 or more (16 is usual)."
        )
    return count
