"""The base class of DDPG and TD3."""

from abc import ABC
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.action_value import check_delay
from lightning_maxent.algorithms.continuous import ContinuousAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.noise import NoiseBuilder
from lightning_maxent.objectives import Scalar
from lightning_maxent.optimizers import Optimizers
from lightning_maxent.policies.building import build_deterministic_policy
from lightning_maxent.targets import TargetBuilder, frozen
from lightning_maxent.temperature import FixedTemperature
from lightning_maxent.transition import Transition


class DeterministicAlgorithm(ContinuousAlgorithm, ABC):
    """A deterministic policy that maximizes Q, with target networks and exploration by noise; without entropy."""

    networks = ("critic", "policy")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: Callable[[int, int], nn.Module],
        noise: NoiseBuilder,
        smoothing: NoiseBuilder,
        target: TargetBuilder,
        optimizers: Optimizers,
        policy_delay: int,
        discount: float,
    ):
        super().__init__(obs_dim, actions, critic, partial(FixedTemperature, alpha=0.0), optimizers, discount)
        self.policy = build_deterministic_policy(policy, obs_dim, actions.dim)
        self.noise, self.smoothing = noise(actions.dim), smoothing(actions.dim)
        self.policy_delay = check_delay(policy_delay)
        self.target_critic, self.target_policy = target(self.critic), target(self.policy)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        with torch.no_grad():
            next_action = self.smoothing(self.target_policy(batch.next_obs))
        prediction, next_prediction = self.predictions(batch, batch.next_obs, next_action)
        with torch.no_grad():
            next_q = self.critic.target(next_prediction)
            self.record({"q": self.critic.value(prediction).mean()})
        losses = {"critic": self.critic_loss(prediction, self.backup(batch, next_q))}
        if self.policy_is_due:
            with frozen(self.critic):
                losses["policy"] = -self.q_value(batch.obs, self.policy(batch.obs)).mean()
        return losses

    def follow_targets(self) -> None:
        self.target_critic.follow(self.critic)
        self.target_policy.follow(self.policy)

    def _act(self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool) -> Float[Tensor, "batch action_dim"]:
        return self.policy(obs)

    def _explore(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.noise(self.policy(obs))

    def value_and_entropy(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """``Q(s, mu(s))``, and zero for the entropy, because one action is certain and alpha is zero."""
        value = self.q_value(obs, self.policy(obs))
        return value, torch.zeros_like(value)
