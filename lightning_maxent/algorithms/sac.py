"""Soft Actor-Critic as first published, with a value network."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.algorithms.base import AbstractAlgorithm, OptimizerBuilder, adam
from lightning_maxent.critics.base import CriticBuilder, build_critic
from lightning_maxent.objectives import Scalar, policy_loss, soft_bellman_target, value_loss
from lightning_maxent.policies.base import PolicyBuilder
from lightning_maxent.targets import AbstractTarget, PolyakTarget, frozen
from lightning_maxent.temperature import AbstractTemperature, FixedTemperature
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue


class SAC(AbstractAlgorithm):
    """V, its slow copy, twin Q and policy, an optimizer each.  Haarnoja et al. 2018a (arXiv 1801.01290v2).

    V regresses on ``Q(s,a) - alpha log pi(a|s)`` with a fresh action, Q on ``r + gamma V'(s')`` with the copy V',
    the policy descends its KL divergence to ``exp(Q/alpha)/Z``, and a learned temperature follows the entropy.
    The published code's policy climbs Q1; here it climbs the critic's ``value`` (the minimum, for the twin).

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        critic: builds Q.
        policy: builds the policy.
        value: builds V from ``obs_dim``.
        temperature: builds alpha from ``action_dim``.
        target: builds the slow copy of V.
        value_optimizer: of V.
        critic_optimizer: of Q.
        policy_optimizer: of the policy.
        temperature_optimizer: of alpha, where alpha is learned.
        discount: gamma; .99 in table 1.
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        critic: CriticBuilder,
        policy: PolicyBuilder,
        value: Callable[[int], nn.Module] = StateValue,
        temperature: Callable[[int], AbstractTemperature] = FixedTemperature,
        target: Callable[[nn.Module], AbstractTarget] = PolyakTarget,
        value_optimizer: OptimizerBuilder = adam,
        critic_optimizer: OptimizerBuilder = adam,
        policy_optimizer: OptimizerBuilder = adam,
        temperature_optimizer: OptimizerBuilder = adam,
        discount: float = 0.99,
    ):
        super().__init__(
            policy(obs_dim, action_dim),
            temperature(action_dim),
            {
                "value": value_optimizer,
                "critic": critic_optimizer,
                "policy": policy_optimizer,
                "temperature": temperature_optimizer,
            },
            discount,
        )
        self.value = value(obs_dim)
        self.critic = build_critic(critic, obs_dim, action_dim)
        self.target_value = target(self.value)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        action, log_prob = self.policy(batch.obs)
        with frozen(self.critic):
            q = self.q_value(batch.obs, action)
        with torch.no_grad():
            next_value = self.target_value(batch.next_obs)
        target = soft_bellman_target(batch.reward, batch.terminated, next_value, self.discount)
        prediction = self.critic(batch.obs, batch.action)
        self.record({"entropy": -log_prob.mean(), "temperature": alpha, "q": q.mean()})
        return {
            "value": value_loss(self.value(batch.obs), q, log_prob, alpha).mean(),
            "critic": self.critic.loss(prediction, target.unsqueeze(-1)).sum(0).mean(),
            "policy": policy_loss(q, log_prob, alpha).mean(),
            "temperature": self.temperature.loss(log_prob).mean(),
        }

    def follow_targets(self) -> None:
        self.target_value.follow(self.value)

    def q_value(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, " batch"]:
        return self.critic.value(self.critic(obs, action))
