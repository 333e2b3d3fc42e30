"""The on-policy DataModule: every rollout is used for one training step."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.data.data_module import EnvironmentDataModule
from lightning_maxent.transition import Rollout


class RolloutDataModule(EnvironmentDataModule):
    """Steps environments with the actions of the Trainer's module and passes every rollout to one training step.

    The arguments are those of ``EnvironmentDataModule``.  A rollout ``[time, env]`` has ``steps_per_round`` environment
    steps, summed over all copies.
    """

    def _updates_per_round(self) -> int | None:
        feeding: Any = getattr(self._algorithm, "feeding", None)
        if not hasattr(feeding, "epochs"):  # a feeding of the user's own
            return None
        return feeding.epochs * (feeding.minibatches or 1)

    def _choose(self, obs: Float[Tensor, "env obs_dim"], env_steps: int) -> Float[Tensor, "env action_dim"]:
        return self._algorithm.explore(obs)

    def _store(self, rollout: Rollout) -> None:
        """Store observations with the scaling that the policy acted on, so that log-probabilities are the same."""
        self._rollout = rollout._replace(
            obs=self.observation_scaling(rollout.obs), next_obs=self.observation_scaling(rollout.next_obs)
        )

    def _batch(self) -> Rollout:
        return self._rollout._replace(reward=self._rollout.reward * self.reward_scaling.scale())
