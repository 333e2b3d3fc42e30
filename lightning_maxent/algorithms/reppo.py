"""Relative entropy pathwise policy optimization (REPPO)."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.continuous import ActorCritic
from lightning_maxent.algorithms.feeding import Rollouts
from lightning_maxent.algorithms.on_policy import (
    check_gae_lambda,
    check_learns_as_it_plays,
)
from lightning_maxent.critics.base import CriticBuilder, ReturnDistribution
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import (
    Scalar,
    generalized_advantages,
    policy_loss,
    soft_bellman_target,
    soft_value,
)
from lightning_maxent.optimizers import CLIPPED_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import AbstractComparablePolicy, PolicyBuilder
from lightning_maxent.policies.building import check_divergence
from lightning_maxent.targets import frozen, frozen_statistics
from lightning_maxent.temperature import LearnedTemperature, TemperatureBuilder
from lightning_maxent.transition import Rollout


class SoftReturnSample(NamedTuple):
    """Actions of a rollout and the soft returns, the regression targets of Q."""

    obs: Float[Tensor, "batch obs_dim"]
    action: Float[Tensor, "batch action_dim"]
    returns: Float[Tensor, " batch"]


class TrustRegion(nn.Module):
    """The constraint ``KL(old || new) <= bound`` in every state, with a learned multiplier.

    The old policy is the one that collected the rollout.

    Args:
        bound: largest divergence in nats; .1 in the published code of Voelcker et al. 2025.
        initial: initial value of the multiplier; .01 in the published code of Voelcker et al. 2025.
    """

    def __init__(self, bound: float = 0.1, initial: float = 0.01):
        super().__init__()
        if not (bound > 0 and initial > 0):
            raise MaxEntError(f"bound and initial of TrustRegion must be positive, but are {bound} and {initial}.")
        self.bound = bound
        self.log_multiplier = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Scalar:
        """The multiplier."""
        return self.log_multiplier.exp()

    def loss(self, divergence: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The loss of the multiplier; a divergence above the bound makes the multiplier grow."""
        return self() * (self.bound - divergence).detach()


class REPPO(ActorCritic):
    """On-policy soft Q, and a policy within a trust region.  Voelcker et al. 2025 (arXiv 2507.11019v4).

    Q regresses on the soft lambda-returns of every rollout.  In states inside the trust region, the policy maximizes
    ``Q - alpha log pi`` with reparameterized actions.  In states outside, it minimizes its divergence from the policy
    that collected the rollout.  The auxiliary loss of the paper, on the features of the critic, is left out.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds the critic Q; a categorical distribution with a cross-entropy loss in Voelcker et al. 2025.
        policy: builds the policy, a subclass of ``AbstractComparablePolicy``.
        temperature: builds alpha, the weight of entropy, from ``actions``; learned in Voelcker et al. 2025, with a
            target entropy of ``-dim / 2`` nats in their code.
        trust_region: builds the constraint on the divergence of the policy.
        optimizers: optimizers and learning-rate schedules of the networks; by default, the norm of each gradient is
            clipped to .5.
        discount: gamma in [0, 1]; .99 in the code of Voelcker et al. 2025.
        gae_lambda: lambda in [0, 1] of the lambda-returns; .95 in the code of Voelcker et al. 2025.
        epochs: number of passes over a rollout; 4 in the code of Voelcker et al. 2025.
        minibatches: number of minibatches per pass over the shuffled rollout; 128 of 1,024 steps each in the code of
            Voelcker et al. 2025.

    Raises:
        MaxEntError: for finite actions, a policy of another class or with batch normalization or dropout, or a number
            out of range.
    """

    networks = ("critic", "policy", "temperature", "trust_region")
    policy: AbstractComparablePolicy
    feeding = Rollouts()

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: PolicyBuilder,
        temperature: TemperatureBuilder = LearnedTemperature,
        trust_region: Callable[[], TrustRegion] = TrustRegion,
        optimizers: Optimizers = CLIPPED_OPTIMIZERS,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        epochs: int = 4,
        minibatches: int = 128,
    ):
        super().__init__(obs_dim, actions, critic, policy, temperature, optimizers, discount)
        if not isinstance(self.policy, AbstractComparablePolicy):
            raise MaxEntError(
                f"{type(self.policy).__name__} has no method divergence, which REPPO needs: use SquashedGaussian, or a "
                f"subclass of AbstractComparablePolicy."
            )
        check_divergence(self.policy, obs_dim)
        check_learns_as_it_plays(self, self.policy, obs_dim)
        self.played_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.trust_region = trust_region()
        self.gae_lambda = check_gae_lambda(gae_lambda)
        self.feeding = Rollouts(epochs, minibatches)

    def prepare(self, data: Rollout) -> SoftReturnSample:
        """The actions of a rollout with their soft returns; the trust region is then around the current policy."""
        self.played_policy.load_state_dict(self.policy.state_dict())
        obs, action = data.obs.flatten(0, 1), data.action.flatten(0, 1)
        return SoftReturnSample(obs, action, self.soft_returns(data).flatten())

    @torch.no_grad()
    def soft_returns(self, rollout: Rollout) -> Float[Tensor, "time env"]:
        """``G_t = r_t + gamma (lambda G_{t+1} + (1 - lambda) Q(s',a') - alpha log pi(a'|s'))`` with a fresh ``a'``.

        ``Q(s',a')`` is the mean of ``critic.target``, because it enters the backup.  At the end of an episode or of the
        rollout, lambda is 0.  The value of a terminal state is 0.
        """
        with frozen_statistics(self):
            next_obs = rollout.next_obs.flatten(0, 1)
            action, log_prob = self.policy(next_obs)
            q = self.critic.target(self.critic(next_obs, action)).mean()
            value = soft_value(q, log_prob, self.temperature()).view_as(rollout.reward)
        target = soft_bellman_target(rollout.reward, rollout.terminated, value, self.discount)
        # At the start of an episode the row before is unrelated, but ``expected`` cancels out of every return.
        expected = q.view_as(rollout.reward).roll(1, 0)  # Q(s_t, a') of the row before
        decay = self.discount * self.gae_lambda
        return expected + generalized_advantages(target - expected, rollout.done, decay)

    def losses(self, batch: SoftReturnSample) -> dict[str, Scalar]:
        alpha, multiplier = self.temperature(), self.trust_region()
        action, log_prob = self.policy(batch.obs)
        with frozen(self.critic):
            q = self.q_value(batch.obs, action)
        divergence = self.policy.divergence(batch.obs, self.played_policy)
        outside = divergence > self.trust_region.bound
        climb = policy_loss(q, log_prob, alpha)
        self.record(
            {
                "entropy": -log_prob.mean(),
                "temperature": alpha,
                "q": q.mean(),
                "divergence": divergence.mean(),
                "multiplier": multiplier,
            }
        )
        prediction = self.critic(batch.obs, batch.action)
        return {
            "critic": self.critic_loss(prediction, ReturnDistribution.certain(batch.returns)),
            "policy": torch.where(outside, multiplier.detach() * divergence, climb).mean(),
            "temperature": self.temperature.loss(log_prob).mean(),
            "trust_region": self.trust_region.loss(divergence).mean(),
        }

    def follow_targets(self) -> None:
        """Does nothing, because there is no target network: returns are computed once, before the updates."""
