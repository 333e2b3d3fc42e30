"""Soft Actor-Critic as in Haarnoja et al. 2018b, with V computed from target critics."""

import torch

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.action_value import check_delay
from lightning_maxent.algorithms.continuous import ActorCritic
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.objectives import Scalar, policy_loss, soft_value
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import PolicyBuilder
from lightning_maxent.targets import PolyakTarget, TargetBuilder, frozen, frozen_statistics
from lightning_maxent.temperature import LearnedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition


class SAC(ActorCritic):
    """Twin Q with target networks, policy and temperature.  Haarnoja et al. 2018b (arXiv 1812.05905v2).

    Q regresses on ``r + gamma (Q'(s',a') - alpha log pi(a'|s'))`` with the target network Q' and an action ``a'`` of
    the current policy.  The policy minimizes ``alpha log pi(a|s) - Q(s,a)``, and the temperature
    ``-alpha (log pi(a|s) + target entropy)``.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds the critic Q.
        policy: builds the policy.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        target: builds the target network of Q.
        optimizers: optimizers and learning-rate schedules of the networks.
        policy_delay: number of updates of Q per update of policy and temperature.
        discount: gamma in [0, 1]; .99 in table 1 of Haarnoja et al. 2018b.
    """

    networks = ("critic", "policy", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: PolicyBuilder,
        temperature: TemperatureBuilder = LearnedTemperature,
        target: TargetBuilder = PolyakTarget,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        policy_delay: int = 1,
        discount: float = 0.99,
    ):
        super().__init__(obs_dim, actions, critic, policy, temperature, optimizers, discount)
        self.policy_delay = check_delay(policy_delay)
        self.target_critic = target(self.critic)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha, losses = self.temperature(), {}
        if self.policy_is_due:
            action, log_prob = self.policy(batch.obs)
            with frozen(self.critic):
                q = self.q_value(batch.obs, action)
            self.record({"entropy": -log_prob.mean(), "temperature": alpha, "q": q.mean()})
            losses["policy"] = policy_loss(q, log_prob, alpha).mean()
            losses["temperature"] = self.temperature.loss(log_prob).mean()
        with torch.no_grad(), frozen_statistics(self.policy):
            next_action, next_log_prob = self.policy(batch.next_obs)
        prediction, next_prediction = self.predictions(batch, batch.next_obs, next_action)
        with torch.no_grad():
            next_q = self.critic.target(next_prediction)
            next_value = soft_value(next_q.atoms, next_log_prob.unsqueeze(-1), alpha)
        losses["critic"] = self.critic_loss(prediction, self.backup(batch, next_q._replace(atoms=next_value)))
        return losses

    def follow_targets(self) -> None:
        self.target_critic.follow(self.critic)
