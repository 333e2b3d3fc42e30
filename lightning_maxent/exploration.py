"""Exploration of algorithms with finite actions: samples of the policy, or a rule that does not come from entropy."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import FiniteActions
from lightning_maxent.errors import MaxEntError
from lightning_maxent.schedules import AbstractSchedule


class AbstractExploration(nn.Module, ABC):
    """An exploration is built from the action space: ``Callable[[FiniteActions], AbstractExploration]``."""

    @abstractmethod
    def forward(
        self, q: Float[Tensor, "env action_dim"], log_probs: Float[Tensor, "env action_dim"]
    ) -> Float[Tensor, "env action_dim"]:
        """One-hot actions for the environments, given Q of every action and the policy's log-probabilities."""


class PolicyExploration(AbstractExploration):
    """Samples of the learned policy.  Haarnoja et al. 2017, section 3.2."""

    def __init__(self, actions: FiniteActions):
        super().__init__()
        self.actions = actions

    def forward(
        self, q: Float[Tensor, "env action_dim"], log_probs: Float[Tensor, "env action_dim"]
    ) -> Float[Tensor, "env action_dim"]:
        return self.actions.sample(log_probs)


class EpsilonGreedy(AbstractExploration):
    """With probability epsilon a uniform action (in all factors together), else the best action.  Watkins 1989.

    Args:
        actions: the action space.
        epsilon: a schedule in [0, 1].

    Raises:
        MaxEntError: if the schedule leaves [0, 1].
    """

    def __init__(self, actions: FiniteActions, epsilon: AbstractSchedule):
        super().__init__()
        if not 0 <= min(epsilon.ends()) <= max(epsilon.ends()) <= 1:
            raise MaxEntError(f"epsilon must lie in [0, 1], but goes from {epsilon.ends()[0]} to {epsilon.ends()[1]}.")
        self.actions, self.epsilon = actions, epsilon

    def forward(
        self, q: Float[Tensor, "env action_dim"], log_probs: Float[Tensor, "env action_dim"]
    ) -> Float[Tensor, "env action_dim"]:
        uniform = self.actions.sample(self.actions.log_softmax(torch.zeros_like(q)))
        explores = torch.rand(len(q), 1, device=q.device) < self.epsilon()
        return torch.where(explores, uniform, self.actions.greedy(q))


class SoftmaxExploration(AbstractExploration):
    """Actions with probabilities proportional to ``exp(Q/temperature)``.  This temperature does not enter the backup.

    Sutton & Barto, "Reinforcement Learning", first edition, section 2.3.

    Args:
        actions: the action space.
        temperature: a positive schedule, in units of reward.

    Raises:
        MaxEntError: if the schedule is not always positive.
    """

    def __init__(self, actions: FiniteActions, temperature: AbstractSchedule):
        super().__init__()
        if min(temperature.ends()) <= 0:
            raise MaxEntError(
                f"The temperature of softmax exploration must stay positive, but reaches {min(temperature.ends())}."
            )
        self.actions, self.temperature = actions, temperature

    def forward(
        self, q: Float[Tensor, "env action_dim"], log_probs: Float[Tensor, "env action_dim"]
    ) -> Float[Tensor, "env action_dim"]:
        return self.actions.sample(self.actions.log_softmax(q / self.temperature()))


ExplorationBuilder = Callable[[FiniteActions], AbstractExploration]
"""Builds an exploration from the action space."""
