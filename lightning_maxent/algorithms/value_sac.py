"""Soft Actor-Critic as first published, with a value network."""

import torch

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.action_value import check_delay
from lightning_maxent.algorithms.continuous import ActorCritic
from lightning_maxent.critics.base import CriticBuilder, ReturnDistribution
from lightning_maxent.objectives import Scalar, policy_loss, value_loss
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import PolicyBuilder
from lightning_maxent.targets import PolyakTarget, TargetBuilder, build_state_target, frozen
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue, ValueBuilder, build_value

INSTEAD = "SAC, as in --config sac/half_cheetah --config critic/crossq"


class ValueSAC(ActorCritic):
    """V, its slow copy, twin Q and policy, an optimizer each.  Haarnoja et al. 2018a (arXiv 1801.01290v2).

    V regresses on ``Q(s,a) - alpha log pi(a|s)`` with a fresh action, Q on ``r + gamma V'(s')`` with the copy V',
    the policy descends its KL divergence to ``exp(Q/alpha)/Z``, and a learned temperature follows the entropy.

    The critic is asked once about the fresh action and read twice.  V regresses on the mean of its ``target``, since V
    is what enters the backup; the policy climbs its ``value``.  For the twin both are the minimum.  The published
    code's policy climbs Q1.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds Q.
        policy: builds the policy.
        value: builds V from ``obs_dim``.
        temperature: builds alpha from ``actions``.
        target: builds the slow copy of V; no joint pass, which is for critics.
        optimizers: how to optimize the networks.
        policy_delay: updates of Q for every one of policy and temperature.
        discount: gamma; .99 in table 1.

    Raises:
        MaxEntError: for finite actions, or a target that needs a joint pass of the critic.
    """

    networks = ("value", "critic", "policy", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: PolicyBuilder,
        value: ValueBuilder = StateValue,
        temperature: TemperatureBuilder = FixedTemperature,
        target: TargetBuilder = PolyakTarget,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        policy_delay: int = 1,
        discount: float = 0.99,
    ):
        super().__init__(
            obs_dim,
            actions,
            critic,
            policy,
            temperature,
            optimizers,
            discount,
        )
        self.policy_delay = check_delay(policy_delay)
        self.value = build_value(value, obs_dim)
        self.target_value = build_state_target(target, self.value, INSTEAD)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        action, log_prob = self.policy(batch.obs)
        with frozen(self.critic):
            fresh = self.critic(batch.obs, action)
            q = self.critic.value(fresh)
        with torch.no_grad():
            target_q = self.critic.target(fresh).mean()
            next_value = ReturnDistribution.certain(self.target_value(batch.next_obs))
        self.record({"entropy": -log_prob.mean(), "temperature": alpha, "q": q.mean()})
        losses = {
            "value": value_loss(self.value(batch.obs), target_q, log_prob, alpha).mean(),
            "critic": self.critic_loss(self.critic(batch.obs, batch.action), self.backup(batch, next_value)),
        }
        if self.due(self.policy_delay):
            losses["policy"] = policy_loss(q, log_prob, alpha).mean()
            losses["temperature"] = self.temperature.loss(log_prob).mean()
        return losses

    def follow_targets(self) -> None:
        self.target_value.follow(self.value)
