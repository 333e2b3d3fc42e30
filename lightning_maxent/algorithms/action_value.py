"""The base class of the algorithms with a critic."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.algorithms.feeding import AbstractFeeding, Replay
from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import Scalar, soft_bellman_target, soft_returns
from lightning_maxent.transition import Episode, Transition


def check_delay(delay: int) -> int:
    """Return ``delay``, or raise ``MaxEntError`` unless it is at least 1."""
    if delay < 1:
        raise MaxEntError(
            f"policy_delay, the number of updates of Q per update of the policy, must be at least 1, but is {delay}."
        )
    return delay


class ActionValueAlgorithm(AbstractAlgorithm, ABC):
    """An algorithm with a critic.  It learns from a replay buffer unless a subclass sets another ``feeding``."""

    critic: AbstractCritic
    feeding: AbstractFeeding = Replay()
    policy_delay: int = 1
    """Number of updates of Q per update of the policy and the temperature."""
    policy_is_due: bool = True
    """Whether the losses of this update include those of the policy and the temperature; set by ``update``."""

    @abstractmethod
    def q_value(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, " batch"]:
        """The soft action value that the policy maximizes."""

    @abstractmethod
    def value_and_entropy(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Soft value ``E_pi[Q - alpha log pi]`` and entropy (nats) of every state, or unbiased estimates of both."""

    def backup(self, batch: Transition, next_value: ReturnDistribution) -> ReturnDistribution:
        """The distribution of ``r + gamma (1 - d) Z``, where Z is the soft return of the next state."""
        terminated = batch.terminated.unsqueeze(-1)
        atoms = soft_bellman_target(batch.reward.unsqueeze(-1), terminated, next_value.atoms, self.discount)
        probs = next_value.probs.masked_fill(terminated, 1 / atoms.shape[-1])  # all atoms are r there
        return ReturnDistribution(atoms, probs)

    def critic_loss(self, prediction: Float[Tensor, "member batch *atom"], target: ReturnDistribution) -> Scalar:
        """The critic's loss: the sum over members of the mean over the batch."""
        if (clipped := self.critic.clipped_share(target)) is not None:
            self.record({"critic/clipped": clipped.mean()})
        return self.critic.loss(prediction, target).sum(0).mean()

    @abstractmethod
    def follow_targets(self) -> None:
        """Update the target networks; called once after every update."""

    def update(self, batch: Any, optimizers: dict[str, Optimizer]) -> None:
        self.policy_is_due = (self.gradient_steps + 1) % self.policy_delay == 0
        super().update(batch, optimizers)

    @property
    def phase(self) -> Hashable:
        return self.policy_is_due

    def estimates(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> dict[str, Float[Tensor, " batch"]]:
        value, entropy = self.value_and_entropy(obs)
        return {"V": value, "Q": self.q_value(obs, action), "entropy": entropy}

    def episode_diagnostics(self, episode: Episode) -> tuple[Float[Tensor, " time"], dict[str, Tensor]]:
        """Entropies, ``q`` and ``q_bias``, the mean over time of ``Q(s_t, a_t)`` minus the discounted soft return.

        If a time limit ended the episode, the soft value of the last state replaces the missing rest of the return.
        This hides a share ``gamma^(T - t)`` of the bias at time t.
        """
        alpha = self.temperature()
        value, entropy = self.value_and_entropy(episode.obs)
        bootstrap = torch.zeros_like(value[-1]) if episode.terminated else value[-1]
        entropy = entropy[:-1]
        q = self.q_value(episode.obs[:-1], episode.action)
        returns = soft_returns(episode.learner_reward, entropy, alpha, self.discount, bootstrap)
        return entropy, {"q": q.mean(), "q_bias": (q - returns).mean()}
