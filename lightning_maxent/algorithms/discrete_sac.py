"""Soft Actor-Critic over finite actions, with V computed from target critics."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.base import OptimizerBuilder, adam
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.objectives import (
    Scalar,
    categorical_entropy,
    expected_policy_loss,
    expected_soft_value,
    soft_bellman_target,
)
from lightning_maxent.policies.base import FinitePolicyBuilder
from lightning_maxent.targets import PolyakTarget, TargetBuilder
from lightning_maxent.temperature import LearnedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition


class DiscreteSAC(FiniteAlgorithm):
    """Twin Q over all actions, their slow copies, policy and temperature.  Christodoulou 2019 (arXiv 1910.07207v2).

    Q regresses on ``r + gamma V(s')`` where ``V(s') = sum_a pi(a|s') Q'(s',a) + alpha H(pi(.|s'))`` with the copies Q';
    the policy climbs the same sum with Q.  No action is sampled in any loss.

    A ``MultiDiscrete`` action of few combinations is one choice among all of them, and nothing is approximated.  Where
    they are too many, Q is a sum over factors and the policy a product over factors; sums stay exact.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be finite.
        critic: builds Q.
        policy: builds the policy.
        temperature: builds alpha from ``actions``.
        target: builds the slow copy of Q.
        critic_optimizer: of Q.
        policy_optimizer: of the policy.
        temperature_optimizer: of alpha, where alpha is learned.
        discount: gamma.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: FinitePolicyBuilder,
        temperature: TemperatureBuilder = LearnedTemperature,
        target: TargetBuilder = PolyakTarget,
        critic_optimizer: OptimizerBuilder = adam,
        policy_optimizer: OptimizerBuilder = adam,
        temperature_optimizer: OptimizerBuilder = adam,
        discount: float = 0.99,
    ):
        optimizers = {"critic": critic_optimizer, "policy": policy_optimizer, "temperature": temperature_optimizer}
        super().__init__(obs_dim, actions, critic, temperature, optimizers, discount)
        self.policy = policy(obs_dim, self.actions)
        self.target_critic = target(self.critic)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        log_probs = self.policy(batch.obs)
        entropy = categorical_entropy(log_probs)
        prediction = self.every_action(self.critic, batch.obs)
        with torch.no_grad():
            q = self.every_value(prediction)
            next_q = self.every_target(self.every_action(self.target_critic.network, batch.next_obs))
            next_value = expected_soft_value(next_q, self.policy(batch.next_obs), alpha)
        target = soft_bellman_target(
            batch.reward.unsqueeze(-1), batch.terminated.unsqueeze(-1), next_value, self.discount
        )
        taken = self.chosen(prediction, batch.action)
        self.record({"entropy": entropy.mean(), "temperature": alpha, "q": self.critic.value(taken).mean()})
        return {
            "critic": self.critic.loss(taken, target).sum(0).mean(),
            "policy": expected_policy_loss(q, log_probs, alpha).mean(),
            "temperature": self.temperature.loss(-entropy).mean(),
        }

    def follow_targets(self) -> None:
        self.target_critic.follow(self.critic)

    def log_probs(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.policy(obs)
