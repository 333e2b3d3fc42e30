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
from lightning_maxent.optimizers import CLIPPED_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import ExplicitPolicyBuilder
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Rollout
from lightning_maxent.value import StateValue, ValueBuilder


class PPOSample(NamedTuple):
    """The fields of ``Sample``, and each action's log-probability under the policy that collected the rollout."""

    obs: Float[Tensor, "batch obs_dim"]
    action: Float[Tensor, "batch action_dim"]
    advantage: Float[Tensor, " batch"]
    returns: Float[Tensor, " batch"]
    log_prob: Float[Tensor, " batch"]


class PPO(AdvantageAlgorithm):
    """Several passes over every rollout; clipping keeps the policy near the policy that collected the rollout.

    Schulman et al. 2017b (arXiv 1707.06347v2), algorithm 1, with the entropy bonus of eq. 9.  Advantages are normalized
    in every minibatch of n.  The mean of the n - 1 others is subtracted from each advantage; the mean of all n would
    contain the advantage itself and scale the gradient by ``1 - 1/n``.  The whole policy loss, including the entropy
    bonus, is divided by the standard deviation.  So alpha keeps its unit, reward per nat.  Many implementations divide
    the advantages only, which changes the weight of the bonus.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space, finite or continuous.
        policy: builds the policy.
        value: builds V from ``obs_dim``.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        entropy_objective: builds the rule for the entropies of later states.
        optimizers: optimizers and learning-rate schedules of the networks; by default, the norm of each gradient is
            clipped to .5.
        discount: gamma in [0, 1]; .99 in table 3 of Schulman et al. 2017b.
        gae_lambda: lambda in [0, 1] of the advantages; .95 in table 3 of Schulman et al. 2017b.
        clip: half the width of the interval ``[1 - clip, 1 + clip]`` that the ratio of probabilities is clipped to; .2 in
            table 3 of Schulman et al. 2017b.
        epochs: number of passes over a rollout; 10 in table 3 of Schulman et al. 2017b.
        minibatches: number of minibatches per pass over the shuffled rollout; 32 in table 3 of Schulman et al. 2017b.

    Raises:
        MaxEntError: if ``clip`` is not positive, ``epochs`` or ``minibatches`` is less than 1,
            ``discount`` or ``gae_lambda`` lies outside [0, 1], or the policy is refused (see ``OnPolicyAlgorithm``).
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
        optimizers: Optimizers = CLIPPED_OPTIMIZERS,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        clip: float = 0.2,
        epochs: int = 10,
        minibatches: int = 32,
    ):
        super().__init__(
            obs_dim, actions, policy, value, temperature, entropy_objective, optimizers, discount, gae_lambda
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
                "divergence": (log_ratio.exp() - 1 - log_ratio).mean(),  # KL(old policy || new policy), in nats
                "clipped": ((log_ratio.exp() - 1).abs() > self.clip).float().mean(),
            }
        )
        return {
            "value": squared_error(value, batch.returns).mean(),
            "policy": policy_loss.mean(),
            "temperature": self.temperature.loss(-entropy.detach()).mean(),
        }
