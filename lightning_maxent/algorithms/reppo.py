"""Relative entropy pathwise policy optimization: a soft Q from the policy's own rollouts, and steps within a divergence."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.continuous import ActorCritic
from lightning_maxent.algorithms.feeding import Rollouts
from lightning_maxent.algorithms.on_policy import (
    check_gae_lambda,
    check_learns_as_it_plays,
    check_norm,
    clip_gradients,
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
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import AbstractComparablePolicy, PolicyBuilder
from lightning_maxent.policies.building import check_divergence
from lightning_maxent.targets import frozen, frozen_statistics
from lightning_maxent.temperature import LearnedTemperature, TemperatureBuilder
from lightning_maxent.transition import Rollout


class SoftReturnSample(NamedTuple):
    """Actions played and the soft returns that Q regresses on."""

    obs: Float[Tensor, "batch obs_dim"]
    action: Float[Tensor, "batch action_dim"]
    returns: Float[Tensor, " batch"]


class TrustRegion(nn.Module):
    """The constraint ``KL(played || new) <= bound`` in every state, and its learned multiplier.

    Args:
        bound: in nats; .1 in the published code of Voelcker et al. 2025.
        initial: the multiplier at the start; .01 there.
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
        """What the multiplier's optimizer descends: it grows where the bound is passed."""
        return self() * (self.bound - divergence).detach()


class REPPO(ActorCritic):
    """Voelcker et al. 2025 (arXiv 2507.11019v4), without its auxiliary loss on the critic's features.

    Q regresses on the soft lambda-returns of every rollout; the policy climbs ``Q - alpha log pi`` by reparameterized
    actions in the states where it is still within the trust region of the one that played, and returns to it elsewhere.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds Q; a histogram learned by cross-entropy in the paper.
        policy: builds the policy, one that can tell its divergence from an earlier one.
        temperature: builds alpha from ``actions``; learned in the paper, to ``-dim / 2`` nats in its code.
        trust_region: builds the constraint.
        optimizers: how to optimize the networks.
        discount: gamma; .99 in the published code.
        gae_lambda: lambda in [0, 1]; .95 there.
        epochs: passes over a rollout; 4 there.
        minibatches: into which a rollout is shuffled in every pass; 128 there, of 1,024 steps each.
        max_grad_norm: the gradient of each network is shortened to this norm; .5 there.

    Raises:
        MaxEntError: for finite actions, a policy that cannot be compared or has batch normalization or dropout, or numbers that
            cannot be.
    """

    networks = ("critic", "policy", "temperature", "trust_region")
    policy: AbstractComparablePolicy

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: PolicyBuilder,
        temperature: TemperatureBuilder = LearnedTemperature,
        trust_region: Callable[[], TrustRegion] = TrustRegion,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        epochs: int = 4,
        minibatches: int = 128,
        max_grad_norm: float = 0.5,
    ):
        super().__init__(obs_dim, actions, critic, policy, temperature, optimizers, discount)
        if not isinstance(self.policy, AbstractComparablePolicy):
            raise MaxEntError(
                f"{type(self.policy).__name__} cannot tell its divergence from an earlier policy, which REPPO needs: use "
                f"SquashedGaussian, or derive your policy from AbstractComparablePolicy."
            )
        check_divergence(self.policy, obs_dim)
        check_learns_as_it_plays(self, self.policy, obs_dim)
        self.played_policy = copy.deepcopy(self.policy).requires_grad_(False)
        self.trust_region = trust_region()
        self.gae_lambda, self.max_grad_norm = check_gae_lambda(gae_lambda), check_norm(max_grad_norm)
        self.feeding = Rollouts(epochs, minibatches)

    def build_optimizers(self) -> dict[str, Optimizer]:
        return clip_gradients(super().build_optimizers(), self.max_grad_norm)

    def prepare(self, data: Rollout) -> SoftReturnSample:
        """The actions of a rollout with their soft returns; the trust region is around the policy of this moment."""
        self.played_policy.load_state_dict(self.policy.state_dict())
        obs, action = data.obs.flatten(0, 1), data.action.flatten(0, 1)
        return SoftReturnSample(obs, action, self.soft_returns(data).flatten())

    @torch.no_grad()
    def soft_returns(self, rollout: Rollout) -> Float[Tensor, "time env"]:
        """``G_t = r_t + gamma (lambda G_{t+1} + (1 - lambda) Q(s',a') - alpha log pi(a'|s'))`` with a fresh ``a'``.

        ``Q(s',a')`` is the mean of the critic's ``target``, since it enters a backup.
        At the end of an episode or of the rollout lambda counts as 0; behind a terminal state is nothing.
        """
        with frozen_statistics(self):
            next_obs = rollout.next_obs.flatten(0, 1)
            action, log_prob = self.policy(next_obs)
            q = self.critic.target(self.critic(next_obs, action)).mean()
            value = soft_value(q, log_prob, self.temperature()).view_as(rollout.reward)
        target = soft_bellman_target(rollout.reward, rollout.terminated, value, self.discount)
        expected = q.view_as(rollout.reward).roll(1, 0)  # of each row, by the one before; of no account at a start
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
        """Nothing follows: Q is asked for returns once, before the passes over a rollout."""
