"""Soft Actor-Critic as first published (Haarnoja et al. 2018a), with a value network."""

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

INSTEAD = "SAC, as in fit sac/half_cheetah critic/crossq"


class ValueSAC(ActorCritic):
    """V with a target network, twin Q and policy.  Haarnoja et al. 2018a (arXiv 1801.01290v2).

    V regresses on ``Q(s,a) - alpha log pi(a|s)`` with an action ``a`` of the current policy, and Q on ``r + gamma
    V'(s')`` with the target network V'.  The policy minimizes its KL divergence to ``exp(Q/alpha)/Z``.  A learned
    temperature minimizes ``-alpha (log pi(a|s) + target entropy)``.

    One prediction of the critic for ``(s, a)`` is used twice.  V regresses on the mean of ``critic.target``, because V
    enters the backup.  The policy maximizes ``critic.value``.  For the twin critic both are the minimum; in the
    published code, the policy maximizes Q1.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds the critic Q.
        policy: builds the policy.
        value: builds V from ``obs_dim``.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        target: builds the target network of V; any class but a joint pass, which needs a critic.
        optimizers: optimizers and learning-rate schedules of the networks.
        policy_delay: number of updates of Q per update of policy and temperature.
        discount: gamma in [0, 1]; .99 in table 1 of Haarnoja et al. 2018a.

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
        super().__init__(obs_dim, actions, critic, policy, temperature, optimizers, discount)
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
        if self.policy_is_due:
            losses["policy"] = policy_loss(q, log_prob, alpha).mean()
            losses["temperature"] = self.temperature.loss(log_prob).mean()
        return losses

    def follow_targets(self) -> None:
        self.target_value.follow(self.value)
