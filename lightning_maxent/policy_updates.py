"""Losses that bring a policy to ``exp(Q/alpha)/Z``: by Stein variational gradients, or by the KL divergence."""

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
"""Q ``[batch]`` of states ``[batch, obs_dim]`` and actions ``[batch, action_dim]``; its parameters get no gradient."""


class AbstractPolicyUpdate(ABC):
    """Computes the loss of the policy in soft Q-learning with continuous actions."""

    @abstractmethod
    def check(self, policy: Any) -> None:
        """Raise ``MaxEntError`` if ``policy`` cannot be trained this way."""

    @abstractmethod
    def loss(self, policy: Any, q: AskQ, obs: Float[Tensor, "batch obs_dim"], alpha: Scalar) -> Float[Tensor, " batch"]:
        """One number per state; only its gradient in the policy's parameters has a meaning.

        Args:
            policy: the policy.
            q: computes Q.
            obs: the states.
            alpha: the temperature, in units of reward per nat.
        """


class SteinUpdate(AbstractPolicyUpdate):
    """Amortized Stein variational gradient descent: moves samples of the policy towards ``exp(Q/alpha)/Z``.

    Haarnoja et al. 2017, eqs. 13 and 14, but in the space before tanh, where the density is
    ``exp(Q(s, tanh u)/alpha) prod (1 - tanh(u)^2)``.  The paper does it in the space of actions, where samples converge
    to ``exp(Q/alpha) prod (1 - a^2)`` instead.

    Args:
        count: particles per state; 32 in the published code.

    Raises:
        MaxEntError: for fewer than two particles.  ``check`` raises it for a policy without samples before tanh.
    """

    def __init__(self, count: int = 32):
        if count < 2:
            raise MaxEntError(f"SteinUpdate needs at least two particles per state, but count is {count}.")
        self.count = count

    def check(self, policy: Any) -> None:
        if not isinstance(policy, AbstractSampler):
            raise MaxEntError(
                f"SteinUpdate needs samples before tanh, which {type(policy).__name__} does not provide: use "
                f"DivergenceUpdate, or derive the policy from AbstractSquashedPolicy or AbstractSampler."
            )

    def loss(self, policy: Any, q: AskQ, obs: Float[Tensor, "batch obs_dim"], alpha: Scalar) -> Float[Tensor, " batch"]:
        u = policy.unsquashed(obs, self.count)
        particles = u.detach().requires_grad_()
        reached = q(obs.repeat_interleave(self.count, dim=0), particles.tanh().flatten(0, 1)).view(u.shape[:2])
        log_density = reached + alpha.detach() * tanh_log_det(particles).sum(-1)  # alpha times the log-density
        (slope,) = torch.autograd.grad(log_density.sum(), particles)
        with torch.autocast(obs.device.type, enabled=False):  # bfloat16 cannot resolve the distances of neighbors
            direction = stein_direction(particles.detach(), slope, alpha.detach())
        return -(direction * u).sum(-1).mean(-1)


class DivergenceUpdate(AbstractPolicyUpdate):
    """``alpha KL(pi || exp(Q/alpha)/Z)`` with reparameterized actions, as in SAC.

    Args:
        count: number of actions per state.

    Raises:
        MaxEntError: for fewer than one action.  ``check`` raises it for a policy without a density.
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
