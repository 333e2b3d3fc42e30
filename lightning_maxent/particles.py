"""The soft value ``V(s)`` for continuous actions, estimated from several sampled actions, called particles."""

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
    """Draws actions for every state and estimates the soft policy at these actions.  Each state gets its own actions.

    The two results of ``weigh`` give one estimate of ``V(s) = E_pi[Q(s,a) - alpha log pi(a|s)]``: the sum over
    particles of ``weight (Q - alpha log_prob)``.
    """

    @abstractmethod
    def check(self, policy: Any) -> None:
        """Raise ``MaxEntError`` if ``policy`` cannot provide the particles."""

    @abstractmethod
    def draw(
        self, policy: Any, obs: Float[Tensor, "batch obs_dim"], action_dim: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        """Actions in ``[-1, 1]``, and the log-density in nats of the distribution from which they were drawn."""

    @abstractmethod
    def check_target_entropy(self, target: float, action_dim: int) -> None:
        """Raise ``MaxEntError`` if the particles cannot resolve a soft policy with an entropy of ``target`` nats."""

    def weigh(
        self, q: Float[Tensor, "batch particle"], log_density: Float[Tensor, "batch particle"], alpha: Scalar
    ) -> tuple[Float[Tensor, "batch particle"], Float[Tensor, "batch particle"]]:
        """Logarithms of the particles' weights, and log-densities of the soft policy at the particles, in nats.

        The default is importance sampling.
        """
        return importance_log_probs(q, log_density, alpha)


class UniformParticles(AbstractParticles):
    """``V(s) = alpha log mean_k exp(Q(s,a_k)/alpha) / p(a_k)`` with ``a_k`` uniform.  Haarnoja et al. 2017, eq. 10.

    Every state gets its own actions; the published code shares one set of actions among the states of a batch.  Few
    particles miss the modes, so the estimate is too low on average (the logarithm is concave).  This bias grows as
    ``exp(Q/alpha)`` becomes narrower and with the number of action dimensions.

    Args:
        count: particles per state; 16 in the published code for the multi-goal world.

    Raises:
        MaxEntError: for fewer than two.
    """

    def __init__(self, count: int = 16):
        self.count = _at_least_two(count)

    def check(self, policy: Any) -> None:
        """Every policy is accepted, because none is used."""

    def draw(
        self, policy: Any, obs: Float[Tensor, "batch obs_dim"], action_dim: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        actions = 2 * torch.rand(len(obs), self.count, action_dim, device=obs.device) - 1
        return actions, torch.full(actions.shape[:2], -action_dim * math.log(2), device=obs.device)

    def check_target_entropy(self, target: float, action_dim: int) -> None:
        """With too few particles the estimated entropy is too high, so a learned temperature becomes too low.

        The estimate cannot fall below ``dim log 2 - log count``, its value when one particle has all the weight.  A
        Gaussian with entropy H has the peak density ``exp(dim/2 - H)``.  The inverse of this density is the volume of
        the peak, and at least one particle must be expected there: ``H >= dim log 2 - log count + dim/2``.  At this
        limit the entropy converges to .2 nats below its target (measured in 1, 2 and 3 dimensions).  Half a nat below
        the limit, it converges to .5 nats below its target, with .6 of the right alpha in two dimensions.

        Raises:
            MaxEntError: for a target below this limit; the message says how many particles are enough.
        """
        needed = math.ceil(math.exp(action_dim * (math.log(2) + 0.5) - target))
        if self.count < needed:
            raise MaxEntError(
                f"The temperature has a target entropy of {target:.3g} nats, but {self.count} uniform particles "
                f"cannot measure so low an entropy in {action_dim} dimensions, and alpha would become too low: set "
                f"their count to {needed:,} or more, use PolicyParticles, or choose a higher target_entropy."
            )


class AbstractPolicyParticles(AbstractParticles, ABC):
    """Draws ``count`` actions from the policy and returns the policy's log-density of each."""

    count: int

    def check(self, policy: Any) -> None:
        if not isinstance(policy, AbstractPolicy):
            raise MaxEntError(
                f"{type(self).__name__} needs the density of the policy, and {type(policy).__name__} has none: use "
                f"UniformParticles, or FlowPolicy, MixtureOfGaussians or SquashedGaussian."
            )

    def check_target_entropy(self, target: float, action_dim: int) -> None:
        """Every target is accepted, because the particles lie where the policy has its probability."""

    def draw(
        self, policy: Any, obs: Float[Tensor, "batch obs_dim"], action_dim: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        action, log_prob = policy(obs.repeat_interleave(self.count, dim=0))
        return action.unflatten(0, (len(obs), self.count)), log_prob.unflatten(0, (len(obs), self.count))


class PolicyParticles(AbstractPolicyParticles):
    """``V(s) = alpha log mean_k exp(Q(s,a_k)/alpha) / pi(a_k|s)`` with ``a_k`` drawn from the policy ``pi``.

    If the policy equals ``exp((Q - V)/alpha)``, every particle gives the exact V.  If the policy misses a mode of Q, no
    particle is drawn there, and V is too low.

    Args:
        count: particles per state.

    Raises:
        MaxEntError: for fewer than two.  ``check`` raises it for a policy without a density.
    """

    def __init__(self, count: int = 16):
        self.count = _at_least_two(count)


class PolicyExpectation(AbstractPolicyParticles):
    """``V(s) = mean_k [Q(s,a_k) - alpha log pi(a_k|s)]`` with ``a_k`` from the policy.  Haarnoja et al. 2018a, eq. 3.

    This estimates the soft value of the current policy, as SAC does.  Importance sampling estimates the soft value of
    the best policy.

    Args:
        count: particles per state.

    Raises:
        MaxEntError: for fewer than one.  ``check`` raises it for a policy without a density.
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
