"""REINFORCE, the policy gradient without a value function."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.base import OptimizerBuilder, adam
from lightning_maxent.algorithms.on_policy import OnPolicyAlgorithm, Sample
from lightning_maxent.entropy_objectives import CurrentEntropy, EntropyObjectiveBuilder
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, generalised_advantages, policy_gradient_loss
from lightning_maxent.policies.base import ExplicitPolicyBuilder
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Episode, Rollout


class REINFORCE(OnPolicyAlgorithm):
    """One gradient step from all steps of a rollout whose episode ends in it.  Williams 1992; Williams & Peng 1991.

    The policy climbs ``(G - b) log pi(a|s) + alpha H(pi(.|s))`` with the discounted return G that followed and the
    rollout's mean return b, their "reinforcement comparison".  Without V nothing is known beyond the last step: what
    follows the last end is left out, and a time limit counts as an end.  That favours short episodes where a rollout is
    not much longer than they are; one in which none ends is passed over.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space, finite or continuous.
        policy: builds the policy.
        temperature: builds alpha, the source chapter's beta, from ``actions``.
        entropy_objective: builds the weight of later states' entropies.
        policy_optimizer: of the policy.
        temperature_optimizer: of alpha, where alpha is learned.
        discount: gamma.
        max_grad_norm: the gradient of each network is shortened to this norm.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        policy: ExplicitPolicyBuilder,
        temperature: TemperatureBuilder = FixedTemperature,
        entropy_objective: EntropyObjectiveBuilder = CurrentEntropy,
        policy_optimizer: OptimizerBuilder = adam,
        temperature_optimizer: OptimizerBuilder = adam,
        discount: float = 0.99,
        max_grad_norm: float = 0.5,
    ):
        super().__init__(
            obs_dim,
            actions,
            policy,
            temperature,
            entropy_objective,
            {"policy": policy_optimizer, "temperature": temperature_optimizer},
            discount,
            max_grad_norm,
        )

    def batches(self, batch: Rollout) -> Iterator[Sample]:
        """The whole rollout at once, if there is anything to learn from it.

        Raises:
            MaxEntError: if there never was.
        """
        if batch.done.any():
            yield self.sample(batch)
        elif self.gradient_steps == 0:
            raise MaxEntError(
                f"No episode ended within a rollout of {len(batch.reward)} steps of each environment, and REINFORCE learns "
                f"from those that end: raise steps_per_round of the data, or use A2C."
            )

    def sample(self, rollout: Rollout) -> Sample:
        return super().sample(rollout._replace(terminated=rollout.done))  # behind a time limit too there is nothing

    def judge(self, rollout: Rollout, reward: Float[Tensor, "time env"]) -> Sample:
        returns = generalised_advantages(reward, rollout.done, self.discount)
        whole = rollout.done.flip(0).cummax(0).values.flip(0)  # an end is still to come
        obs, action, returns = rollout.obs[whole], rollout.action[whole], returns[whole]
        return Sample(obs, action, returns - returns.mean(), returns)

    def losses(self, batch: Sample) -> dict[str, Scalar]:
        alpha = self.temperature()
        distribution = self.policy.distribution(batch.obs)
        entropy, log_prob = distribution.entropy(), distribution.log_prob(batch.action)
        self.record({"entropy": entropy.mean(), "temperature": alpha, "returns": batch.returns.mean()})
        return {
            "policy": policy_gradient_loss(log_prob, batch.advantage, entropy, alpha).mean(),
            "temperature": self.temperature.loss(-entropy.detach()).mean(),
        }

    def foreseen(self, episode: Episode) -> tuple[Float[Tensor, " time"], dict[str, Tensor]]:
        """Nothing is predicted."""
        return self.distribution(episode.obs[:-1]).entropy(), {}
