"""Advantage actor-critic: the synchronous form of A3C."""

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.on_policy import AdvantageAlgorithm, Sample
from lightning_maxent.entropy_objectives import CurrentEntropy, EntropyObjectiveBuilder
from lightning_maxent.objectives import Scalar, policy_gradient_loss, squared_error
from lightning_maxent.optimizers import CLIPPED_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import ExplicitPolicyBuilder
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.value import StateValue, ValueBuilder


class A2C(AdvantageAlgorithm):
    """One gradient step of policy and V from every rollout.  Mnih et al. 2016 (arXiv 1602.01783v2), algorithm S3.

    The policy maximizes ``A log pi(a|s) + alpha H(pi(.|s))``.  A rollout of n steps of each environment and a
    ``gae_lambda`` of 1 give the n-step returns of the paper.  The paper's parallel learners are left out.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space, finite or continuous.
        policy: builds the policy.
        value: builds V from ``obs_dim``.
        temperature: builds alpha, the weight of entropy, from ``actions``; .01 in section 8 of Mnih
            et al. 2016.
        entropy_objective: builds the rule for the entropies of later states.
        optimizers: optimizers and learning-rate schedules of the networks; by default, the norm of each gradient is
            clipped to .5.
        discount: gamma in [0, 1]; .99 in Mnih et al. 2016.
        gae_lambda: lambda in [0, 1] of the advantages; 1 in Mnih et al. 2016.
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
        gae_lambda: float = 1.0,
    ):
        super().__init__(
            obs_dim, actions, policy, value, temperature, entropy_objective, optimizers, discount, gae_lambda
        )

    def losses(self, batch: Sample) -> dict[str, Scalar]:
        alpha, value = self.temperature(), self.value(batch.obs)
        distribution = self.policy.distribution(batch.obs)
        entropy, log_prob = distribution.entropy(), distribution.log_prob(batch.action)
        self.record({"entropy": entropy.mean(), "temperature": alpha, "value": value.mean()})
        return {
            "value": squared_error(value, batch.returns).mean(),
            "policy": policy_gradient_loss(log_prob, batch.advantage, entropy, alpha).mean(),
            "temperature": self.temperature.loss(-entropy.detach()).mean(),
        }
