"""The contracts of a policy: over continuous and over finite actions."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import FiniteActions


class AbstractPolicy(nn.Module, ABC):
    """A distribution over actions in [-1, 1]^action_dim, given an observation."""

    @abstractmethod
    def forward(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, "batch action_dim"], Float[Tensor, " batch"]]:
        """A reparameterised sample and its log-density in nats, float32 under every precision."""

    @abstractmethod
    def act(
        self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool = False
    ) -> Float[Tensor, "batch action_dim"]:
        """Actions to play, without gradients wanted: samples, or the policy's one best guess if ``deterministic``."""


class AbstractFinitePolicy(nn.Module, ABC):
    """Probabilities of finite actions, given an observation."""

    @abstractmethod
    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """Log-probabilities in nats of every action, or of every choice of each factor; float32 everywhere."""


PolicyBuilder = Callable[[int, int], AbstractPolicy]
"""Builds a policy from ``obs_dim`` and ``action_dim``."""

FinitePolicyBuilder = Callable[[int, FiniteActions], AbstractFinitePolicy]
"""Builds a policy from ``obs_dim`` and the action space."""
