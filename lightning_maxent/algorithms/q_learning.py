"""The base class of soft Q-learning and DQN for finite actions."""

from abc import ABC

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exploration import ExplorationBuilder
from lightning_maxent.objectives import Scalar, categorical_entropy
from lightning_maxent.optimizers import Optimizers
from lightning_maxent.targets import TargetBuilder
from lightning_maxent.temperature import TemperatureBuilder
from lightning_maxent.transition import Transition


class QLearning(FiniteAlgorithm, ABC):
    """Q with a target network.  The policy is ``exp(Q/alpha)/Z``; at ``alpha = 0`` it is greedy.

    Q regresses on ``r + gamma V(s')`` with ``V(s') = alpha log sum_a exp(Q'(s',a)/alpha)`` and the target network Q'.
    This equals ``sum_a pi'(a|s') Q'(s',a) + alpha H(pi'(.|s'))`` with ``pi' = exp(Q'/alpha)/Z``.  At ``alpha = 0`` it
    is the maximum over actions.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        temperature: TemperatureBuilder,
        target: TargetBuilder,
        exploration: ExplorationBuilder,
        optimizers: Optimizers,
        discount: float,
    ):
        super().__init__(obs_dim, actions, critic, temperature, exploration, optimizers, discount)
        self.target_critic = target(self.critic)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        prediction, next_prediction = self.predictions(batch)
        with torch.no_grad():
            entropy = categorical_entropy(self.actions.boltzmann(self.every_value(prediction), alpha))
            next_log_probs = self.actions.boltzmann(self.every_value(next_prediction), alpha)
            next_value = self.state_value_distribution(next_prediction, next_log_probs, alpha)
        taken = self.chosen(prediction, batch.action)
        self.record({"entropy": entropy.mean(), "temperature": alpha, "q": self.critic.value(taken).mean()})
        losses = {
            "critic": self.critic_loss(taken, self.backup(batch, next_value)),
            "temperature": self.temperature.loss(-entropy).mean(),
        }
        return {name: losses[name] for name in self.networks}

    def follow_targets(self) -> None:
        self.target_critic.follow(self.critic)

    def log_probs(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.actions.boltzmann(self.every_q(obs), self.temperature())

    def _explore(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        q = self.every_q(obs)  # computed once for both
        return self.exploration(q, self.actions.boltzmann(q, self.temperature()))
