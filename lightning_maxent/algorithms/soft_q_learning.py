"""Soft Q-learning over finite actions."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exploration import ExplorationBuilder, PolicyExploration
from lightning_maxent.objectives import Scalar, categorical_entropy
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.targets import PolyakTarget, TargetBuilder
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition


class SoftQLearning(FiniteAlgorithm):
    """Q and its slow copy; the policy is the softmax of Q.  Haarnoja et al. 2017 (arXiv 1702.08165v2), section 3.

    Q regresses on ``r + gamma V(s')`` where ``V(s') = sum_a pi'(a|s') Q'(s',a) + alpha H(pi'(.|s'))`` with the copy Q'
    and its Boltzmann policy ``pi' = exp(Q'/alpha)/Z``, which is ``alpha log sum_a exp(Q'(s',a)/alpha)``.  At
    ``alpha = 0`` that is the maximum, and the algorithm is Q-learning.

    A ``MultiDiscrete`` action of few combinations is one choice among all of them, and nothing is approximated.  Where
    they are too many, Q is a sum over factors, and so its Boltzmann policy a product over factors.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be finite.
        critic: builds Q.
        temperature: builds alpha from ``actions``.
        target: builds the slow copy of Q.
        exploration: builds what plays while learning.
        optimizers: how to optimize the networks.
        discount: gamma.
    """

    networks = ("critic", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        temperature: TemperatureBuilder = FixedTemperature,
        target: TargetBuilder = PolyakTarget,
        exploration: ExplorationBuilder = PolicyExploration,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        discount: float = 0.99,
    ):
        super().__init__(obs_dim, actions, critic, temperature, exploration, optimizers, discount)
        self.target_critic = target(self.critic)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        prediction, next_prediction = self.target_critic.predictions(
            self.critic, self.every_action, (batch.obs,), (batch.next_obs,)
        )
        with torch.no_grad():
            entropy = categorical_entropy(self.actions.boltzmann(self.every_value(prediction), alpha))
            next_log_probs = self.actions.boltzmann(self.every_value(next_prediction), alpha)
            following = self.state_value_distribution(next_prediction, next_log_probs, alpha)
        taken = self.chosen(prediction, batch.action)
        self.record({"entropy": entropy.mean(), "temperature": alpha, "q": self.critic.value(taken).mean()})
        return {
            "critic": self.critic.loss(taken, self.backup(batch, following)).sum(0).mean(),
            "temperature": self.temperature.loss(-entropy).mean(),
        }

    def follow_targets(self) -> None:
        self.target_critic.follow(self.critic)

    def log_probs(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.actions.boltzmann(self.every_q(obs), self.temperature())

    def _explore(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        q = self.every_q(obs)  # asked once for both
        return self.exploration(q, self.actions.boltzmann(q, self.temperature()))
