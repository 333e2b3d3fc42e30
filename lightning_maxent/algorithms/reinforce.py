"""REINFORCE, the policy gradient without a value function."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.on_policy import OnPolicyAlgorithm, Sample
from lightning_maxent.distributed import average, gathered
from lightning_maxent.entropy_objectives import CurrentEntropy, EntropyObjectiveBuilder
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, generalized_advantages, policy_gradient_loss
from lightning_maxent.optimizers import CLIPPED_OPTIMIZERS, Optimizers
from lightning_maxent.policies.base import ExplicitPolicyBuilder
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder
from lightning_maxent.transition import Episode, Rollout


class REINFORCE(OnPolicyAlgorithm):
    """One gradient step from the complete episodes of a rollout.  Williams 1992; Williams & Peng 1991.

    The policy maximizes ``(G - b) log pi(a|s) + alpha H(pi(.|s))``.  G is the discounted return after the action.
    The baseline b is a running mean of the returns of earlier rollouts: after a rollout of n episodes with the mean
    return m, ``b <- decay^n b + (1 - decay^n) m``, and b starts at zero.  This is the "reinforcement comparison" of
    Williams & Peng 1991.  It keeps the gradient unbiased for any number of episodes, because b does not contain the
    return from which it is subtracted.  The mean of the current rollout would contain it.  With N independent returns,
    that mean would scale the gradient of the return by ``1 - 1/N``, but not the gradient of the entropy.

    Without V, the return of an unfinished episode is unknown.  So the steps after the last end of an episode are not
    used, and truncation by a time limit counts as termination.  This favors short episodes if the rollout is not much
    longer than an episode.  A rollout in which no episode ends is skipped.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space, finite or continuous.
        policy: builds the policy.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        entropy_objective: builds the rule for the entropies of later states.
        optimizers: optimizers and learning-rate schedules of the networks; by default, the norm of each gradient is
            clipped to .5.
        discount: gamma in [0, 1].
        baseline_decay: factor in [0, 1) of the old baseline after every episode; .9 in Williams & Peng 1991.

    Raises:
        MaxEntError: for a decay outside [0, 1).
    """

    networks = ("policy", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        policy: ExplicitPolicyBuilder,
        temperature: TemperatureBuilder = FixedTemperature,
        entropy_objective: EntropyObjectiveBuilder = CurrentEntropy,
        optimizers: Optimizers = CLIPPED_OPTIMIZERS,
        discount: float = 0.99,
        baseline_decay: float = 0.9,
    ):
        super().__init__(obs_dim, actions, policy, temperature, entropy_objective, optimizers, discount)
        if not 0 <= baseline_decay < 1:
            raise MaxEntError(f"baseline_decay must lie in [0, 1), but is {baseline_decay}.")
        self.baseline_decay = baseline_decay
        self.baseline: Tensor
        self.register_buffer("baseline", torch.zeros(()))

    def batches(self, data: Rollout) -> Iterator[Sample]:
        """The whole rollout as one batch if an episode ended in it; the baseline is updated afterwards.

        If several processes train the model, an episode must have ended in each, because all take the same updates.

        Raises:
            MaxEntError: if no episode has ended in this or any earlier rollout.
        """
        ended = gathered(int(data.done.sum()))
        if all(ended):
            sample = self.sample(data)
            yield sample
            mean, episodes = sample.returns.mean(), torch.tensor(sum(ended), device=data.done.device)
            average([mean])
            self.baseline.lerp_(mean, 1 - self.baseline_decay**episodes)
        elif not any(ended) and self.gradient_steps == 0:
            raise MaxEntError(
                f"No episode ended within a rollout of {len(data.reward)} steps of each environment, and REINFORCE "
                f"only learns from complete episodes: raise steps_per_round of the data, or use A2C."
            )

    def sample(self, rollout: Rollout) -> Sample:
        return super().sample(rollout._replace(terminated=rollout.done))  # without V, truncation counts as termination

    def estimate_advantages(self, rollout: Rollout, reward: Float[Tensor, "time env"]) -> Sample:
        returns = generalized_advantages(reward, rollout.done, self.discount)
        whole = rollout.done.flip(0).cummax(0).values.flip(0)  # steps whose episode ends in this rollout
        obs, action, returns = rollout.obs[whole], rollout.action[whole], returns[whole]
        return Sample(obs, action, returns - self.baseline, returns)

    def losses(self, batch: Sample) -> dict[str, Scalar]:
        alpha = self.temperature()
        distribution = self.policy.distribution(batch.obs)
        entropy, log_prob = distribution.entropy(), distribution.log_prob(batch.action)
        self.record({"entropy": entropy.mean(), "temperature": alpha, "returns": batch.returns.mean()})
        return {
            "policy": policy_gradient_loss(log_prob, batch.advantage, entropy, alpha).mean(),
            "temperature": self.temperature.loss(-entropy.detach()).mean(),
        }

    def estimates(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> dict[str, Float[Tensor, " batch"]]:
        return {"entropy": self.distribution(obs).entropy()}

    def episode_diagnostics(self, episode: Episode) -> tuple[Float[Tensor, " time"], dict[str, Tensor]]:
        """The entropy of the policy at every step, in nats; no value is predicted."""
        return self.distribution(episode.obs[:-1]).entropy(), {}
