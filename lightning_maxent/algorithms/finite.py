"""The base class of the algorithms for finite actions, which compute expectations over actions as exact sums."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions, FiniteActions
from lightning_maxent.algorithms.action_value import ActionValueAlgorithm
from lightning_maxent.critics.base import AbstractCritic, CriticBuilder, ReturnDistribution
from lightning_maxent.critics.building import build_finite_critic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.exploration import ExplorationBuilder
from lightning_maxent.objectives import Scalar, categorical_entropy, expected_soft_value, soft_mixture
from lightning_maxent.optimizers import Optimizers
from lightning_maxent.targets import AbstractTarget
from lightning_maxent.temperature import TemperatureBuilder
from lightning_maxent.transition import Transition


class FiniteAlgorithm(ActionValueAlgorithm, ABC):
    """An algorithm with a critic and a policy for finite actions.

    For actions of several factors, Q is a sum over the factors and the policy is a product.  With one factor
    (``Discrete``, or ``MultiDiscrete`` with few combinations) both can be any functions.

    Raises:
        MaxEntError: for continuous actions.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        temperature: TemperatureBuilder,
        exploration: ExplorationBuilder,
        optimizers: Optimizers,
        discount: float,
    ):
        if not isinstance(actions, FiniteActions):
            raise MaxEntError(
                f"{type(self).__name__} needs finite actions (Discrete or MultiDiscrete), but this environment has "
                f"continuous actions: use SAC or ValueSAC."
            )
        super().__init__(temperature(actions), optimizers, discount)
        self.actions = actions
        self.critic = build_finite_critic(critic, obs_dim, actions)
        self.exploration = exploration(actions)
        self._one_hots: Tensor
        self.register_buffer("_one_hots", torch.eye(actions.dim), persistent=False)

    target_critic: AbstractTarget  # only in algorithms with a target critic

    @abstractmethod
    def log_probs(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """``log pi(a|s)`` of every action, or of every choice of each factor."""

    def every_action(
        self, critic: AbstractCritic, obs: Float[Tensor, "batch obs_dim"]
    ) -> Float[Tensor, "member batch action_dim *atom"]:
        """The predictions of a critic for every action."""
        return self.actions.balanced(critic.every_action(obs, self._one_hots))

    def predictions(
        self, batch: Transition
    ) -> tuple[Float[Tensor, "member batch action_dim *atom"], Float[Tensor, "member batch action_dim *atom"]]:
        """Predictions for every action: of Q, and of the target critic in the next state without gradients."""
        return self.target_critic.predictions(self.critic, self.every_action, (batch.obs,), (batch.next_obs,))

    def every_value(
        self, prediction: Float[Tensor, "member batch action_dim *atom"]
    ) -> Float[Tensor, "batch action_dim"]:
        """Q(s,a) of every action, which the policy maximizes."""
        return self.critic.value(prediction.flatten(1, 2)).unflatten(0, prediction.shape[1:3])

    def state_value_distribution(
        self,
        prediction: Float[Tensor, "member batch action_dim *atom"],
        log_probs: Float[Tensor, "batch action_dim"],
        alpha: Scalar,
    ) -> ReturnDistribution:
        """The distribution of ``critic.target(s,a) - alpha log pi(a|s)`` for an action of the policy, for the backup.

        Its mean is ``sum_a pi(a|s) E[target(s,a)] + alpha H(pi(.|s))``.  For several factors, the distribution is that
        of one random factor's term times the number of factors, which has the same mean.
        """
        factors = len(self.actions.counts)
        every = self.critic.target(prediction.flatten(1, 2))
        atoms, probs = (part.unflatten(0, prediction.shape[1:3]) for part in every)
        return ReturnDistribution(
            *soft_mixture(factors * atoms, probs, log_probs - math.log(factors), log_probs, factors * alpha)
        )

    def chosen(
        self,
        prediction: Float[Tensor, "member batch action_dim *atom"],
        action: Float[Tensor, "batch action_dim"],
    ) -> Float[Tensor, "member batch *atom"]:
        """The predictions for the actions that were taken; for several factors, the sum of their terms."""
        weights = action.reshape(*action.shape, *[1] * (prediction.ndim - 3))
        return (prediction * weights).sum(2)

    def _act(self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool) -> Float[Tensor, "batch action_dim"]:
        log_probs = self.log_probs(obs)
        return self.actions.greedy(log_probs) if deterministic else self.actions.sample(log_probs)

    def _explore(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.exploration(self.every_q(obs), self.log_probs(obs))

    def every_q(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """Q(s,a) of every action, which the policy maximizes."""
        return self.every_value(self.every_action(self.critic, obs))

    def q_value(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, " batch"]:
        return (self.every_q(obs) * action).sum(-1)

    def value_and_entropy(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """The soft value and the entropy of the policy in every state, both exact."""
        log_probs = self.log_probs(obs)
        q = self.every_q(obs).unsqueeze(-1)
        return expected_soft_value(q, log_probs, self.temperature()).squeeze(-1), categorical_entropy(log_probs)
