"""The interface of critics, which are soft Q-functions."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.networks.layers import float32_or_more
from lightning_maxent.objectives import squared_error


class ReturnDistribution(NamedTuple):
    """Distributions over returns, each given by values (atoms) and their probabilities, which sum to one."""

    atoms: Float[Tensor, "*batch atom"]
    probs: Float[Tensor, "*batch atom"]

    @classmethod
    def certain(cls, value: Float[Tensor, "*batch"]) -> "ReturnDistribution":
        """Distributions with a single value of probability one."""
        return cls.equally_likely(value.unsqueeze(-1))

    @classmethod
    def equally_likely(cls, atoms: Float[Tensor, "*batch atom"]) -> "ReturnDistribution":
        return cls(atoms, torch.full_like(atoms, 1 / atoms.shape[-1]))

    def mean(self) -> Float[Tensor, "*batch"]:
        return (self.probs * self.atoms).sum(-1)


class AbstractCritic(nn.Module, ABC):
    """A soft Q-function: an ensemble of ``member`` predictions of the return, each of one or of ``atom`` numbers.

    An algorithm calls ``forward`` for predictions and passes predictions to the other methods; only the critic knows
    what they mean.  A critic whose members predict one number each only has to define ``forward`` and ``value``.  All
    results are float32 under every precision.
    """

    @abstractmethod
    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch *atom"]:
        """Predictions of the soft return of ``action`` in ``obs``.  Members must differ from the start."""

    def every_action(
        self, obs: Float[Tensor, "batch obs_dim"], actions: Float[Tensor, "action action_dim"]
    ) -> Float[Tensor, "member batch action *atom"]:
        """Predictions for each of finitely many actions in every state, ``[member, batch, action, *atom]``.

        The default calls ``forward`` for every pair.  A critic with one output per action overrides this to compute all
        predictions in one pass.
        """
        batch, count = obs.shape[0], actions.shape[0]
        prediction = self(obs.repeat_interleave(count, dim=0), actions.repeat(batch, 1))
        return prediction.unflatten(1, (batch, count))

    @abstractmethod
    def value(self, prediction: Float[Tensor, "member batch *atom"]) -> Float[Tensor, " batch"]:
        """Q(s,a), the value that the policy maximizes; it depends on no other pair of the batch."""

    def target(self, prediction: Float[Tensor, "member batch *atom"]) -> ReturnDistribution:
        """The distribution ``[batch, atom]`` that enters the soft Bellman backup; by default ``value``.

        An algorithm without V computes it for the next state and an action of the current policy, and Q regresses on
        it.  An algorithm with V computes it for the same state and an action of the current policy, and V regresses on
        its mean.  It may be random, such as the minimum over a few random members.  It is called without gradients.
        """
        return ReturnDistribution.certain(self.value(prediction))

    def loss(
        self, prediction: Float[Tensor, "member batch *atom"], target: ReturnDistribution
    ) -> Float[Tensor, "member batch"]:
        """The error of every member against the target; by default the squared error against the mean of the target."""
        return squared_error(prediction, target.mean())

    def clipped_share(self, target: ReturnDistribution) -> Float[Tensor, " batch"] | None:
        """The probability of each target outside the range that the critic can predict; None if there is no range."""
        return None


def ask_members(
    network: nn.Module, members: int, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
) -> Float[Tensor, "member batch out"]:
    """The outputs of every member of a network for the same pairs of observation and action, in float32."""
    pair = torch.cat((obs, action), dim=-1)
    return float32_or_more(network(pair.expand(members, *pair.shape)))


CriticBuilder = Callable[[int, int], AbstractCritic]
"""Builds a critic from ``obs_dim`` and ``action_dim``."""
