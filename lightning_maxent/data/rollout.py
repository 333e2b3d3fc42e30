"""The on-policy DataModule: what one policy met, once."""

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.data.environment import EnvironmentDataModule
from lightning_maxent.transition import Rollout


class RolloutDataModule(EnvironmentDataModule):
    """Environments and evaluation; the Trainer's module plays through ``explore`` and ``act``.

    A round is ``steps_per_round`` environment steps of the policy, ``[time, env]``, which one training step learns from.

    Its arguments are those of ``EnvironmentDataModule``; ``steps_per_round`` is the length of a rollout, over all copies.
    """

    def _choose(self, obs: Float[Tensor, "env obs_dim"], env_steps: int) -> Float[Tensor, "env action_dim"]:
        return self._algorithm.explore(obs)

    def _store(self, rollout: Rollout) -> None:
        """Observations are kept as the policy saw them when it acted, or its probabilities would not be those."""
        self._rollout = rollout._replace(
            obs=self.observation_scaling(rollout.obs), next_obs=self.observation_scaling(rollout.next_obs)
        )

    def _batch(self) -> Rollout:
        return self._rollout._replace(reward=self._rollout.reward * self.reward_scaling.scale())
