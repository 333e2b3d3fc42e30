"""Soft Actor-Critic as published later, with V computed from target critics."""

import torch

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.base import OptimizerBuilder, adam
from lightning_maxent.algorithms.continuous import ContinuousAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.objectives import Scalar, policy_loss, soft_bellman_target, soft_value
from lightning_maxent.policies.base import PolicyBuilder
from lightning_maxent.targets import PolyakTarget, TargetBuilder, frozen
from lightning_maxent.temperature import LearnedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition


class TargetCriticSAC(ContinuousAlgorithm):
    """Twin Q, their slow copies, policy and temperature.  Haarnoja et al. 2018b (arXiv 1812.05905v2).

    Q regresses on ``r + gamma (Q'(s',a') - alpha log pi(a'|s'))`` with the copies Q' and a fresh ``a'``; the policy
    and the temperature learn as in ``SAC``.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds Q.
        policy: builds the policy.
        temperature: builds alpha from ``actions``.
        target: builds the slow copy of Q.
        critic_optimizer: of Q.
        policy_optimizer: of the policy.
        temperature_optimizer: of alpha, where alpha is learned.
        discount: gamma; .99 in table 1.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: PolicyBuilder,
        temperature: TemperatureBuilder = LearnedTemperature,
        target: TargetBuilder = PolyakTarget,
        critic_optimizer: OptimizerBuilder = adam,
        policy_optimizer: OptimizerBuilder = adam,
        temperature_optimizer: OptimizerBuilder = adam,
        discount: float = 0.99,
    ):
        super().__init__(
            obs_dim,
            actions,
            critic,
            policy,
            temperature,
            {"critic": critic_optimizer, "policy": policy_optimizer, "temperature": temperature_optimizer},
            discount,
        )
        self.target_critic = target(self.critic)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        action, log_prob = self.policy(batch.obs)
        with frozen(self.critic):
            q = self.q_value(batch.obs, action)
        with torch.no_grad():
            next_action, next_log_prob = self.policy(batch.next_obs)
            next_q = self.critic.target(self.target_critic(batch.next_obs, next_action))
            next_value = soft_value(next_q, next_log_prob.unsqueeze(-1), alpha)
        target = soft_bellman_target(
            batch.reward.unsqueeze(-1), batch.terminated.unsqueeze(-1), next_value, self.discount
        )
        prediction = self.critic(batch.obs, batch.action)
        self.record({"entropy": -log_prob.mean(), "temperature": alpha, "q": q.mean()})
        return {
            "critic": self.critic.loss(prediction, target).sum(0).mean(),
            "policy": policy_loss(q, log_prob, alpha).mean(),
            "temperature": self.temperature.loss(log_prob).mean(),
        }

    def follow_targets(self) -> None:
        self.target_critic.follow(self.critic)
