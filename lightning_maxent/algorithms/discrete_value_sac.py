"""Soft Actor-Critic for finite actions, with a value network."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.action_value import check_delay
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.critics.base import CriticBuilder, ReturnDistribution
from lightning_maxent.exploration import ExplorationBuilder, PolicyExploration
from lightning_maxent.objectives import Scalar, categorical_entropy, expected_policy_loss, squared_error
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import FinitePolicyBuilder
from lightning_maxent.policies.building import build_finite_policy
from lightning_maxent.targets import PolyakTarget, TargetBuilder, build_state_target
from lightning_maxent.temperature import LearnedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue, ValueBuilder, build_value

INSTEAD = "DiscreteSAC, as in fit discrete_sac/cartpole critic/crossq"


class DiscreteValueSAC(FiniteAlgorithm):
    """``ValueSAC`` for finite actions, with sums over actions in place of samples.

    V regresses on ``sum_a pi(a|s) Q(s,a) + alpha H(pi(.|s))``, Q on ``r + gamma V'(s')`` with the target network V',
    and the policy maximizes ``sum_a pi(a|s) Q(s,a) + alpha H(pi(.|s))``.  Haarnoja et al. 2018a with the expectations
    of Christodoulou 2019.

    One prediction of the critic is used twice.  V regresses on the mean of ``critic.target``, because V enters the
    backup.  The policy maximizes ``critic.value``.

    A ``MultiDiscrete`` action with few combinations is treated as one choice among all of them, without approximation.
    With too many combinations, Q is a sum over factors and the policy a product over factors; sums over actions are
    still exact.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be finite.
        critic: builds the critic Q.
        policy: builds the policy.
        value: builds V from ``obs_dim``.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        target: builds the target network of V; any class but a joint pass, which needs a critic.
        exploration: builds the rule for actions that collect training data.
        optimizers: optimizers and learning-rate schedules of the networks.
        policy_delay: number of updates of Q per update of policy and temperature.
        discount: gamma in [0, 1].

    Raises:
        MaxEntError: for continuous actions, or a target that needs a joint pass of the critic.
    """

    networks = ("value", "critic", "policy", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: FinitePolicyBuilder,
        value: ValueBuilder = StateValue,
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
        self.value = build_value(value, obs_dim)
        self.target_value = build_state_target(target, self.value, INSTEAD)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        log_probs = self.policy(batch.obs)
        entropy = categorical_entropy(log_probs)
        prediction = self.every_action(self.critic, batch.obs)
        with torch.no_grad():
            q = self.every_value(prediction)
            soft_value = self.state_value_distribution(prediction, log_probs, alpha).mean()
            next_value = ReturnDistribution.certain(self.target_value(batch.next_obs))
        taken = self.chosen(prediction, batch.action)
        self.record({"entropy": entropy.mean(), "temperature": alpha, "q": self.critic.value(taken).mean()})
        losses = {
            "value": squared_error(self.value(batch.obs), soft_value).mean(),
            "critic": self.critic_loss(taken, self.backup(batch, next_value)),
        }
        if self.policy_is_due:
            losses["policy"] = expected_policy_loss(q, log_probs, alpha).mean()
            losses["temperature"] = self.temperature.loss(-entropy).mean()
        return losses

    def follow_targets(self) -> None:
        self.target_value.follow(self.value)

    def log_probs(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.policy(obs)
