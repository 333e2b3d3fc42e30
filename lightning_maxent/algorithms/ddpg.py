"""The deterministic limit: deep deterministic policy gradient."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.action_value import check_delay
from lightning_maxent.algorithms.continuous import ContinuousAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.noise import GaussianNoise, NoiseBuilder, NoNoise
from lightning_maxent.objectives import Scalar
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import build_deterministic_policy
from lightning_maxent.targets import PolyakTarget, TargetBuilder, frozen
from lightning_maxent.temperature import FixedTemperature
from lightning_maxent.transition import Transition


class DDPG(ContinuousAlgorithm):
    """Q, a deterministic policy that climbs it, slow copies of both, and noise to explore.  No entropy anywhere.

    Q regresses on ``r + gamma Q'(s', mu'(s'))``.  Lillicrap et al. 2015 (arXiv 1509.02971v6), algorithm 1.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds Q.
        policy: builds the policy, ``[batch, obs_dim] -> [batch, action_dim]`` in [-1, 1], from ``obs_dim`` and
            ``action_dim``.
        noise: builds what is added to the actions played to learn from.
        smoothing: builds what is added to the next action of the backup.
        target: builds the slow copies.
        optimizers: how to optimize the networks.
        policy_delay: updates of Q and of the copies for every one of the policy.
        discount: gamma; .99 in the paper.
    """

    networks = ("critic", "policy")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: Callable[[int, int], nn.Module],
        noise: NoiseBuilder = GaussianNoise,
        smoothing: NoiseBuilder = NoNoise,
        target: TargetBuilder = PolyakTarget,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        policy_delay: int = 1,
        discount: float = 0.99,
    ):
        super().__init__(obs_dim, actions, critic, partial(FixedTemperature, alpha=0.0), optimizers, discount)
        self.policy = build_deterministic_policy(policy, obs_dim, actions.dim)
        self.noise, self.smoothing = noise(actions.dim), smoothing(actions.dim)
        self.policy_delay = check_delay(policy_delay)
        self.target_critic, self.target_policy = target(self.critic), target(self.policy)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        with torch.no_grad():
            next_action = self.smoothing(self.target_policy(batch.next_obs))
        prediction, next_prediction = self.target_critic.predictions(
            self.critic, nn.Module.__call__, (batch.obs, batch.action), (batch.next_obs, next_action)
        )
        with torch.no_grad():
            following = self.critic.target(next_prediction)
            q = self.critic.value(prediction).mean()
        self.record({"q": q})
        losses = {"critic": self.critic.loss(prediction, self.backup(batch, following)).sum(0).mean()}
        if self.due(self.policy_delay):
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
        """``Q(s, mu(s))`` and zero: one action is certain, and its entropy has no weight."""
        value = self.q_value(obs, self.policy(obs))
        return value, torch.zeros_like(value)
