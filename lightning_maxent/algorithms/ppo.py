"""Proximal policy optimization."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.feeding import Rollouts
from lightning_maxent.algorithms.on_policy import AdvantageAlgorithm
from lightning_maxent.entropy_objectives import CurrentEntropy, EntropyObjectiveBuilder
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, clipped_surrogate_loss, squared_error
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import ExplicitPolicyBuilder
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Rollout
from lightning_maxent.value import StateValue, ValueBuilder


class PPOSample(NamedTuple):
    """The fields of ``Sample``, and the log-probability of each action under the policy that played it."""

    obs: Float[Tensor, "batch obs_dim"]
    action: Float[Tensor, "batch action_dim"]
    advantage: Float[Tensor, " batch"]
    returns: Float[Tensor, " batch"]
    log_prob: Float[Tensor, " batch"]


class PPO(AdvantageAlgorithm):
    """Several passes over every rollout, in which the policy may not leave the neighborhood of the one that played.

    Schulman et al. 2017b (arXiv 1707.06347v2), algorithm 1, with the entropy bonus of eq. 9.  From each
    advantage of a batch the mean of the others is taken, and the policy's whole loss is divided by their deviation: so
    alpha keeps its unit, reward per nat, while elsewhere the bonus grows against advantages that are made small.  The
    mean of all n advantages contains the advantage itself, and would shrink the gradient to ``1 - 1/n``.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space, finite or continuous.
        policy: builds the policy.
        value: builds V from ``obs_dim``.
        temperature: builds alpha, the source chapter's beta, from ``actions``.
        entropy_objective: builds the weight of later states' entropies.
        optimizers: how to optimize the networks.
        discount: gamma; .99 in the paper's table 3.
        gae_lambda: lambda in [0, 1]; .95 there.
        clip: how far the ratio of probabilities counts away from 1; .2 there.
        epochs: passes over a rollout; 10 there.
        minibatches: into which a rollout is shuffled in every pass; 32 there.
        max_grad_norm: the gradient of each network is shortened to this norm; ours: .5, of many implementations.

    Raises:
        MaxEntError: for numbers that cannot be.
    """

    networks = ("value", "policy", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        policy: ExplicitPolicyBuilder,
        value: ValueBuilder = StateValue,
        temperature: TemperatureBuilder = FixedTemperature,
        entropy_objective: EntropyObjectiveBuilder = CurrentEntropy,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        clip: float = 0.2,
        epochs: int = 10,
        minibatches: int = 32,
        max_grad_norm: float = 0.5,
    ):
        super().__init__(
            obs_dim,
            actions,
            policy,
            value,
            temperature,
            entropy_objective,
            optimizers,
            discount,
            gae_lambda,
            max_grad_norm,
        )
        if not clip > 0:
            raise MaxEntError(f"clip must be positive, but is {clip}.")
        self.clip = clip
        self.feeding = Rollouts(epochs, minibatches)

    @torch.no_grad()
    def prepare(self, data: Rollout) -> PPOSample:
        sample = self.sample(data)
        return PPOSample(*sample, self.policy.distribution(sample.obs).log_prob(sample.action))

    def losses(self, batch: PPOSample) -> dict[str, Scalar]:
        alpha, value = self.temperature(), self.value(batch.obs)
        distribution = self.policy.distribution(batch.obs)
        entropy, log_ratio = distribution.entropy(), distribution.log_prob(batch.action) - batch.log_prob
        size = len(batch.advantage)
        centered = (batch.advantage - batch.advantage.mean()) * size / (size - 1)  # minus the mean of the others
        deviation = batch.advantage.std() + 1e-8
        policy_loss = clipped_surrogate_loss(log_ratio, centered, entropy, alpha, self.clip) / deviation
        self.record(
            {
                "entropy": entropy.mean(),
                "temperature": alpha,
                "value": value.mean(),
                "divergence": (log_ratio.exp() - 1 - log_ratio).mean(),  # of the old policy from the new, in nats
                "clipped": ((log_ratio.exp() - 1).abs() > self.clip).float().mean(),
            }
        )
        return {
            "value": squared_error(value, batch.returns).mean(),
            "policy": policy_loss.mean(),
            "temperature": self.temperature.loss(-entropy.detach()).mean(),
        }
