"""Soft Actor-Critic as first published, with a value network."""

import torch

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.action_value import check_delay
from lightning_maxent.algorithms.base import OptimizerBuilder, adam
from lightning_maxent.algorithms.continuous import ActorCritic
from lightning_maxent.critics.base import CriticBuilder, Returns
from lightning_maxent.objectives import Scalar, policy_loss, value_loss
from lightning_maxent.policies.base import PolicyBuilder
from lightning_maxent.targets import PolyakTarget, TargetBuilder, frozen
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue, ValueBuilder, build_value


class SAC(ActorCritic):
    """V, its slow copy, twin Q and policy, an optimizer each.  Haarnoja et al. 2018a (arXiv 1801.01290v2).

    V regresses on ``Q(s,a) - alpha log pi(a|s)`` with a fresh action, Q on ``r + gamma V'(s')`` with the copy V',
    the policy descends its KL divergence to ``exp(Q/alpha)/Z``, and a learned temperature follows the entropy.
    The published code's policy climbs Q1; here it climbs the critic's ``value`` (the minimum, for the twin).

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds Q.
        policy: builds the policy.
        value: builds V from ``obs_dim``.
        temperature: builds alpha from ``actions``.
        target: builds the slow copy of V.
        value_optimizer: of V.
        critic_optimizer: of Q.
        policy_optimizer: of the policy.
        temperature_optimizer: of alpha, where alpha is learned.
        policy_delay: updates of Q for every one of policy and temperature.
        discount: gamma; .99 in table 1.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: PolicyBuilder,
        value: ValueBuilder = StateValue,
        temperature: TemperatureBuilder = FixedTemperature,
        target: TargetBuilder = PolyakTarget,
        value_optimizer: OptimizerBuilder = adam,
        critic_optimizer: OptimizerBuilder = adam,
        policy_optimizer: OptimizerBuilder = adam,
        temperature_optimizer: OptimizerBuilder = adam,
        policy_delay: int = 1,
        discount: float = 0.99,
    ):
        super().__init__(
            obs_dim,
            actions,
            critic,
            policy,
            temperature,
            {
                "value": value_optimizer,
                "critic": critic_optimizer,
                "policy": policy_optimizer,
                "temperature": temperature_optimizer,
            },
            discount,
        )
        self.policy_delay = check_delay(policy_delay)
        self.value = build_value(value, obs_dim)
        self.target_value = target(self.value)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        action, log_prob = self.policy(batch.obs)
        with frozen(self.critic):
            q = self.q_value(batch.obs, action)
        with torch.no_grad():
            next_value = self.target_value(batch.next_obs)
        target = self.backup(batch, Returns.certain(next_value))
        prediction = self.critic(batch.obs, batch.action)
        self.record({"entropy": -log_prob.mean(), "temperature": alpha, "q": q.mean()})
        losses = {
            "value": value_loss(self.value(batch.obs), q, log_prob, alpha).mean(),
            "critic": self.critic.loss(prediction, target).sum(0).mean(),
        }
        if self.due(self.policy_delay):
            losses["policy"] = policy_loss(q, log_prob, alpha).mean()
            losses["temperature"] = self.temperature.loss(log_prob).mean()
        return losses

    def follow_targets(self) -> None:
        self.target_value.follow(self.value)
