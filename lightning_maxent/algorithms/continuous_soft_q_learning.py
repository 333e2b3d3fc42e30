"""Soft Q-learning for continuous actions."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.continuous import ContinuousAlgorithm
from lightning_maxent.critics.base import CriticBuilder, ReturnDistribution
from lightning_maxent.objectives import Scalar, soft_mixture
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.particles import AbstractParticles, UniformParticles
from lightning_maxent.policies.base import SamplerBuilder, same_noise_each_time
from lightning_maxent.policies.building import build_sampler
from lightning_maxent.policy_updates import AbstractPolicyUpdate, SteinUpdate
from lightning_maxent.targets import PeriodicTarget, TargetBuilder, frozen, frozen_statistics
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Transition

CANDIDATES = 32  # samples of the policy; the one with the highest Q is the deterministic action.  Our choice


class ContinuousSoftQLearning(ContinuousAlgorithm):
    """Q with a target network, and a policy that learns to sample ``exp(Q/alpha)/Z``.

    Haarnoja et al. 2017 (arXiv 1702.08165v2).  Q regresses on ``r + gamma V(s')``.  V is estimated from several actions
    ("particles") in every next state, with the target network of Q.  The policy learns to sample all modes of
    ``exp(Q/alpha)``.  At ``alpha = 0``, V is the maximum over the particles (with ``PolicyExpectation``, their mean),
    and the policy maximizes Q.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds the critic Q.
        policy: builds the policy, which has a density, or samples before tanh.
        particles: draws the actions that estimate V(s').
        policy_update: computes the loss of the policy.
        temperature: builds alpha, the weight of entropy, from ``actions``.  A learned temperature controls the entropy
            of ``exp(Q/alpha)/Z`` or, with ``PolicyExpectation``, of the policy, estimated from the particles.
        target: builds the target network of Q.
        optimizers: optimizers and learning-rate schedules of the networks.
        discount: gamma in [0, 1]; .99 in Haarnoja et al. 2017.

    Raises:
        MaxEntError: for finite actions, for particles or an update that do not work with the policy, or for a target
            entropy that the particles cannot resolve.
    """

    networks = ("critic", "policy", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: SamplerBuilder,
        particles: AbstractParticles | None = None,
        policy_update: AbstractPolicyUpdate | None = None,
        temperature: TemperatureBuilder = FixedTemperature,
        target: TargetBuilder = PeriodicTarget,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        discount: float = 0.99,
    ):
        super().__init__(obs_dim, actions, critic, temperature, optimizers, discount)
        self.action_dim = actions.dim
        self.policy = build_sampler(policy, obs_dim, actions.dim)
        self.particles = particles or UniformParticles()
        self.policy_update = policy_update or SteinUpdate()
        self.particles.check(self.policy)
        self.policy_update.check(self.policy)
        if (entropy := self.temperature.target_entropy()) is not None:
            self.particles.check_target_entropy(float(entropy), actions.dim)
        self.target_critic = target(self.critic)

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        alpha = self.temperature()
        with frozen(self.critic):
            policy_loss = self.policy_update.loss(self.policy, self.q_value, batch.obs, alpha)
        with torch.no_grad(), frozen_statistics(self.policy):
            particles, log_density = self.particles.draw(self.policy, batch.next_obs, self.action_dim)
        count = particles.shape[1]
        next_obs = batch.next_obs.repeat_interleave(count, dim=0)
        prediction, next_prediction = self.predictions(batch, next_obs, particles.flatten(0, 1))
        with torch.no_grad():
            log_weights, log_prob = self._weigh(self.critic.value(next_prediction), log_density, alpha)
            atoms, probs = (part.unflatten(0, log_prob.shape) for part in self.critic.target(next_prediction))
            next_value = ReturnDistribution(*soft_mixture(atoms, probs, log_weights, log_prob, alpha))
            entropy = -(log_weights.exp() * log_prob).sum(-1)
            q = self.critic.value(prediction).mean()
        self.record({"entropy": entropy.mean(), "temperature": alpha, "q": q})
        return {
            "critic": self.critic_loss(prediction, self.backup(batch, next_value)),
            "policy": policy_loss.mean(),
            "temperature": self.temperature.loss(-entropy).mean(),
        }

    def follow_targets(self) -> None:
        self.target_critic.follow(self.critic)

    def _weigh(
        self, q: Float[Tensor, " pair"], log_density: Float[Tensor, "batch particle"], alpha: Scalar
    ) -> tuple[Float[Tensor, "batch particle"], Float[Tensor, "batch particle"]]:
        return self.particles.weigh(q.view(log_density.shape), log_density, alpha)

    def _act(self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool) -> Float[Tensor, "batch action_dim"]:
        """Samples; if ``deterministic``, the sample with the highest Q among ``CANDIDATES`` with fixed noise."""
        if not deterministic:
            return self.policy.samples(obs, 1).squeeze(1)
        with same_noise_each_time(obs.device):
            action = self.policy.samples(obs, CANDIDATES)
        q = self.q_value(obs.repeat_interleave(CANDIDATES, dim=0), action.flatten(0, 1)).view(obs.shape[0], CANDIDATES)
        return action[torch.arange(obs.shape[0], device=obs.device), q.argmax(1)]

    def value_and_entropy(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Of ``exp(Q/alpha)/Z``, or of the policy with ``PolicyExpectation``, estimated from particles."""
        alpha = self.temperature()
        particles, log_density = self.particles.draw(self.policy, obs, self.action_dim)
        q = self.q_value(obs.repeat_interleave(particles.shape[1], dim=0), particles.flatten(0, 1))
        log_weights, log_prob = self._weigh(q, log_density, alpha)
        weights, entropy = log_weights.exp(), -(log_weights.exp() * log_prob).sum(-1)
        return (weights * q.view(weights.shape)).sum(-1) + alpha * entropy, entropy
