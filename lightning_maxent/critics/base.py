"""The contract of a critic: what every soft Q-function plugs in as."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn


class AbstractCritic(nn.Module, ABC):
    """A soft Q-function: an ensemble of ``member`` predictions of the return, each described by ``atom`` numbers.

    An algorithm calls ``forward`` for predictions, hands predictions to the other three methods, and never looks
    inside one.  All results are float32 under every precision.
    """

    @abstractmethod
    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch *atom"]:
        """Predictions of the soft return of ``action`` in ``obs``; members must start different."""

    @abstractmethod
    def value(self, prediction: Float[Tensor, "member batch *atom"]) -> Float[Tensor, " batch"]:
        """The one value that the policy climbs and V regresses on."""

    @abstractmethod
    def target(self, prediction: Float[Tensor, "member batch *atom"]) -> Float[Tensor, "batch target_atom"]:
        """What of the prediction for the next state enters the backup; one atom for a scalar critic."""

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "member batch *atom"], target: Float[Tensor, "batch target_atom"]
    ) -> Float[Tensor, "member batch"]:
        """The error of every member against the backed-up target."""


CriticBuilder = Callable[[int, int], AbstractCritic]
"""Builds a critic from ``obs_dim`` and ``action_dim``."""
