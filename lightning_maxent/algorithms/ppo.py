"""Proximal policy optimization."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.on_policy import (
    AdvantageAlgorithm,
    Sample,
    check_passes,
    shuffled_parts,
)
from lightning_maxent.entropy_objectives import CurrentEntropy, EntropyObjectiveBuilder
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, clipped_surrogate_loss, squared_error
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import ExplicitPolicyBuilder
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Rollout
from lightning_maxent.value import StateValue, ValueBuilder


class SampleWithLogProb(NamedTuple):
    """Judged actions, and their log-probabilities under the policy that played them."""

    judged: Sample
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
        self.epochs, self.minibatches = check_passes(epochs, minibatches)

    def batches(self, batch: Rollout) -> Iterator[SampleWithLogProb]:
        """Shuffled parts of the rollout, once in every pass."""
        whole = self.sample(batch)
        with torch.no_grad():
            played = self.policy.distribution(whole.obs).log_prob(whole.action)
        for part in shuffled_parts(len(played), self.epochs, self.minibatches, played.device):
            yield SampleWithLogProb(Sample(*(field[part] for field in whole)), played[part])

    def losses(self, batch: SampleWithLogProb) -> dict[str, Scalar]:
        judged, played = batch
        alpha, value = self.temperature(), self.value(judged.obs)
        distribution = self.policy.distribution(judged.obs)
        entropy, log_ratio = distribution.entropy(), distribution.log_prob(judged.action) - played
        others = len(played) / (len(played) - 1)  # less the mean of the others, or alpha would weigh so much more
        centered, deviation = others * (judged.advantage - judged.advantage.mean()), judged.advantage.std() + 1e-8
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
            "value": squared_error(value, judged.returns).mean(),
            "policy": policy_loss.mean(),
            "temperature": self.temperature.loss(-entropy.detach()).mean(),
        }
