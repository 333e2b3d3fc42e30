"""The on-policy DataModule: what one policy met, once."""

from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import LazyTensorStorage

from lightning_maxent.data.environment import EnvironmentDataModule
from lightning_maxent.transition import Rollout


class RolloutDataModule(EnvironmentDataModule):
    """Environments and evaluation; the Trainer's module plays through ``explore`` and ``act``.

    A round is ``steps_per_round`` environment steps of the policy, which one training step learns from; they lie in a
    TorchRL storage, ``[time, env]``, where the next round overwrites them.

    Its arguments are those of ``EnvironmentDataModule``; ``steps_per_round`` is the length of a rollout, over all copies.
    """

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            self._storage = LazyTensorStorage(self.steps_per_round, ndim=2)

    def _choose(self, obs: Float[Tensor, "env obs_dim"], env_steps: int) -> Float[Tensor, "env action_dim"]:
        return self._algorithm.explore(obs)

    def _store(self, rollout: Rollout) -> None:
        """Observations are kept as the policy saw them when it acted, or its probabilities would not be those."""
        seen = rollout._replace(
            obs=self.observation_scaling(rollout.obs), next_obs=self.observation_scaling(rollout.next_obs)
        )
        self._storage.set(slice(None), TensorDict(seen._asdict(), batch_size=seen.reward.shape))

    def _batch(self) -> Rollout:
        rows = self._storage[:]
        rollout = Rollout(*(rows[name] for name in Rollout._fields))
        return rollout._replace(reward=rollout.reward * self.reward_scaling.scale())
