"""The on-policy DataModule: what one policy met, once."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.data.environment import EnvironmentDataModule
from lightning_maxent.data.scaling import ObservationScalingBuilder, RawObservations, RawRewards, RewardScalingBuilder
from lightning_maxent.transition import Rollout


class RolloutDataModule(EnvironmentDataModule):
    """Environments and evaluation; the Trainer's module plays through ``explore`` and ``act``.

    A round is ``steps_per_round`` environment steps of the policy, which one training step learns from and forgets.

    Args:
        env_id: a Gymnasium id, or ``module:Id``.
        env_kwargs: the environment's keyword arguments.
        num_envs: copies stepped side by side.
        steps_per_round: environment steps of a rollout, over all copies.
        eval_interval: environment steps from one evaluation to the next.
        eval_episodes: episodes of one evaluation with the policy's mode, and again as many with its samples.
        max_joint_actions: a MultiDiscrete action of up to so many combinations is presented as one choice among them
            all; one of more, as independent factors.
        observation_scaling: builds, from ``obs_dim``, how the learner sees observations.
        reward_scaling: builds, from ``num_envs``, how the learner sees rewards.

    Raises:
        MaxEntError: for numbers that cannot work together.
    """

    def __init__(
        self,
        env_id: str,
        env_kwargs: dict[str, Any] | None = None,
        num_envs: int = 8,
        steps_per_round: int = 1_024,
        eval_interval: int = 10_240,
        eval_episodes: int = 10,
        max_joint_actions: int = 1_000,
        observation_scaling: ObservationScalingBuilder = RawObservations,
        reward_scaling: RewardScalingBuilder = RawRewards,
    ):
        super().__init__(
            env_id,
            env_kwargs,
            num_envs,
            steps_per_round,
            eval_interval,
            eval_episodes,
            max_joint_actions,
            observation_scaling,
            reward_scaling,
        )

    def _choose(self, obs: Float[Tensor, "env obs_dim"], env_steps: int) -> Float[Tensor, "env action_dim"]:
        return self._algorithm.explore(obs)

    def _store(self, rollout: Rollout) -> None:
        """Observations are kept as the policy saw them when it acted, or its probabilities would not be those."""
        self._rollout = rollout._replace(
            obs=self.observation_scaling(rollout.obs), next_obs=self.observation_scaling(rollout.next_obs)
        )

    def _batch(self) -> Rollout:
        return self._rollout._replace(reward=self._rollout.reward * self.reward_scaling.scale())
