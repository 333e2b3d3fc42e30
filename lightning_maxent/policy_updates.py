"""How a policy comes closer to ``exp(Q/alpha)/Z``: by moving samples, or by the divergence of its density."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, policy_loss, stein_direction, tanh_log_det
from lightning_maxent.policies.base import AbstractPolicy, AbstractSampler

AskQ = Callable[[Tensor, Tensor], Tensor]
"""Q of states ``[batch, obs_dim]`` and actions ``[batch, action_dim]``, ``[batch]``; its parameters take no gradient."""


class AbstractPolicyUpdate(ABC):
    """What the policy's optimizer descends."""

    @abstractmethod
    def check(self, policy: Any) -> None:
        """Raise ``MaxEntError`` if ``policy`` cannot be trained this way."""

    @abstractmethod
    def loss(self, policy: Any, q: AskQ, obs: Float[Tensor, "batch obs_dim"], alpha: Scalar) -> Float[Tensor, " batch"]:
        """One number per state, whose gradient in the policy's parameters is what counts."""


class SteinUpdate(AbstractPolicyUpdate):
    """Samples move along the direction that brings them to ``exp(Q/alpha)`` fastest, within a kernel's reach.

    Amortized Stein variational gradient descent, Haarnoja et al. 2017, eqs. 13 and 14, in the space before tanh: the
    density there is ``exp(Q(s, tanh u)/alpha) prod (1 - tanh(u)^2)``.  In the box itself, as published, samples settle
    at ``exp(Q) prod (1 - a^2)`` instead.

    Args:
        count: particles per state; 32 in the published code.

    Raises:
        MaxEntError: for fewer than two particles, or a policy that tells no samples before tanh.
    """

    def __init__(self, count: int = 32):
        if count < 2:
            raise MaxEntError(f"Particles repel each other only where there are two or more, but count is {count}.")
        self.count = count

    def check(self, policy: Any) -> None:
        if not isinstance(policy, AbstractSampler):
            raise MaxEntError(
                f"SteinUpdate moves samples before tanh, which {type(policy).__name__} does not tell: use "
                f"DivergenceUpdate, or derive the policy from AbstractSquashedPolicy or AbstractSampler."
            )

    def loss(self, policy: Any, q: AskQ, obs: Float[Tensor, "batch obs_dim"], alpha: Scalar) -> Float[Tensor, " batch"]:
        u = policy.unsquashed(obs, self.count)
        particles = u.detach().requires_grad_()
        reached = q(obs.repeat_interleave(self.count, dim=0), particles.tanh().flatten(0, 1)).view(u.shape[:2])
        log_density = reached + alpha.detach() * tanh_log_det(particles).sum(-1)  # alpha times it
        (slope,) = torch.autograd.grad(log_density.sum(), particles)
        with torch.autocast(obs.device.type, enabled=False):  # neighbors differ by less than bfloat16 tells
            direction = stein_direction(particles.detach(), slope, alpha.detach())
        return -(direction * u).sum(-1).mean(-1)


class DivergenceUpdate(AbstractPolicyUpdate):
    """``alpha KL(pi || exp(Q/alpha)/Z)`` by reparameterized actions, as in SAC.

    Args:
        count: actions per state.

    Raises:
        MaxEntError: for fewer than one, or a policy without a density.
    """

    def __init__(self, count: int = 1):
        if count < 1:
            raise MaxEntError(f"DivergenceUpdate needs at least one action per state, but count is {count}.")
        self.count = count

    def check(self, policy: Any) -> None:
        if not isinstance(policy, AbstractPolicy):
            raise MaxEntError(
                f"DivergenceUpdate needs the density of the policy, and {type(policy).__name__} has none: use "
                f"SteinUpdate, or FlowPolicy, MixtureOfGaussians or SquashedGaussian."
            )

    def loss(self, policy: Any, q: AskQ, obs: Float[Tensor, "batch obs_dim"], alpha: Scalar) -> Float[Tensor, " batch"]:
        repeated = obs.repeat_interleave(self.count, dim=0)
        action, log_prob = policy(repeated)
        return policy_loss(q(repeated, action), log_prob, alpha).view(len(obs), self.count).mean(1)
