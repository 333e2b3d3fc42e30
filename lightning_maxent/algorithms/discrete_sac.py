"""Soft Actor-Critic for finite actions, with V computed from target critics."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.action_value import check_delay
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exploration import ExplorationBuilder, PolicyExploration
from lightning_maxent.objectives import Scalar, categorical_entropy, expected_policy_loss
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import FinitePolicyBuilder
from lightning_maxent.policies.building import build_finite_policy
from lightning_maxent.targets import PolyakTarget, TargetBuilder, frozen_statistics
from lightning_maxent.temperature import LearnedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition


class DiscreteSAC(FiniteAlgorithm):
    """Twin Q with target networks, policy and temperature for finite actions.  Christodoulou 2019 (arXiv 1910.07207v2).

    Q regresses on ``r + gamma V(s')`` with ``V(s') = sum_a pi(a|s') Q'(s',a) + alpha H(pi(.|s'))`` and the target
    network Q'.  The policy maximizes the same sum with Q.  No loss samples an action.

    A ``MultiDiscrete`` action with few combinations is treated as one choice among all of them, without approximation.
    With too many combinations, Q is a sum over factors and the policy a product over factors; sums over actions are
    still exact.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be finite.
        critic: builds the critic Q.
        policy: builds the policy.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        target: builds the target network of Q.
        exploration: builds the rule for actions that collect training data.
        optimizers: optimizers and learning-rate schedules of the networks.
        policy_delay: number of updates of Q per update of policy and temperature.
        discount: gamma in [0, 1].
    """

    networks = ("critic", "policy", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: FinitePolicyBuilder,
        temperature: TemperatureBuilder = LearnedTemperature,
        target: TargetBuilder = PolyakTarget,
        exploration: ExplorationBuilder = PolicyExploration,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        policy_delay: int = 1,
        discount: float = 0.99,
    ):
        super().__init__(obs_dim, actions, critic, temperature, exploration, optimizers, discount)
        self.policy = build_finite_policy(policy, obs_dim, self.actions)
        self.policy_delay = check_delay(policy_delay)
        self.target_critic = target(self.critic)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        prediction, next_prediction = self.predictions(batch)
        with torch.no_grad(), frozen_statistics(self.policy):
            next_value = self.state_value_distribution(next_prediction, self.policy(batch.next_obs), alpha)
        taken = self.chosen(prediction, batch.action)
        losses = {"critic": self.critic_loss(taken, self.backup(batch, next_value))}
        if self.policy_is_due:
            log_probs = self.policy(batch.obs)
            entropy = categorical_entropy(log_probs)
            self.record({"entropy": entropy.mean(), "temperature": alpha, "q": self.critic.value(taken).mean()})
            losses["policy"] = expected_policy_loss(self.every_value(prediction.detach()), log_probs, alpha).mean()
            losses["temperature"] = self.temperature.loss(-entropy).mean()
        return losses

    def follow_targets(self) -> None:
        self.target_critic.follow(self.critic)

    def log_probs(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.policy(obs)
