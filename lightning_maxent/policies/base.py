"""The contracts of a policy: over continuous actions, with a density or without, and over finite ones."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import FiniteActions
from lightning_maxent.objectives import categorical_entropy, tanh_log_det

CANDIDATES = 16  # among which the densest is the best guess; ours


class AbstractPolicy(nn.Module, ABC):
    """A distribution over actions in [-1, 1]^action_dim with a density, given an observation."""

    @abstractmethod
    def forward(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, "batch action_dim"], Float[Tensor, " batch"]]:
        """A reparameterized sample and its log-density in nats, float32 under every precision."""

    @abstractmethod
    def act(
        self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool = False
    ) -> Float[Tensor, "batch action_dim"]:
        """Actions to play, without gradients wanted: samples, or the policy's one best guess if ``deterministic``."""

    def samples(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        """``count`` actions for every state."""
        return self(obs.repeat_interleave(count, dim=0))[0].unflatten(0, (len(obs), count))


class AbstractComparablePolicy(AbstractPolicy, ABC):
    """A policy that can tell how far it has moved away from an earlier one of the same class."""

    @abstractmethod
    def divergence(self, obs: Float[Tensor, "batch obs_dim"], earlier: Any) -> Float[Tensor, " batch"]:
        """``KL(earlier(.|s) || self(.|s))`` in nats, float32."""


class AbstractSampler(nn.Module, ABC):
    """A distribution over actions in [-1, 1]^action_dim to draw from, given an observation; its density may be unknown."""

    @abstractmethod
    def unsquashed(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        """``count`` reparameterized samples ``u`` for every state, float32; the actions are ``tanh(u)``."""

    def samples(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        """``count`` actions for every state."""
        return self.unsquashed(obs, count).tanh()


class AbstractSquashedPolicy(AbstractPolicy, AbstractSampler, ABC):
    """``a = tanh(u)``, where ``u`` has a density.  The change of variables is Haarnoja et al. 2018a, eq. 21."""

    @abstractmethod
    def unsquashed_with_log_prob(
        self, obs: Float[Tensor, "batch obs_dim"], count: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        """``count`` reparameterized samples ``u`` for every state and their log-densities, float32."""

    def unsquashed(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        return self.unsquashed_with_log_prob(obs, count)[0]

    def samples(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        return self._squashed(obs, count)[0]

    def forward(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, "batch action_dim"], Float[Tensor, " batch"]]:
        action, log_prob = self._squashed(obs, 1)
        return action.squeeze(1), log_prob.squeeze(1)

    def act(
        self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool = False
    ) -> Float[Tensor, "batch action_dim"]:
        """Samples; if ``deterministic``, the densest of the same ``CANDIDATES`` each time: a mean may lie between modes."""
        if not deterministic:
            return self._squashed(obs, 1)[0].squeeze(1)
        with same_noise_each_time(obs.device):
            action, log_prob = self._squashed(obs, CANDIDATES)
        return action[torch.arange(len(obs), device=obs.device), log_prob.argmax(1)]

    def _squashed(
        self, obs: Float[Tensor, "batch obs_dim"], count: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        u, log_prob = self.unsquashed_with_log_prob(obs, count)
        return u.tanh(), log_prob - tanh_log_det(u).sum(-1)


class AbstractDistribution(ABC):
    """Distributions over actions, one for each of a batch of states; log-probabilities and entropies in nats, float32."""

    @abstractmethod
    def sample(self) -> Float[Tensor, "batch action_dim"]:
        """An action for every state, without gradients wanted."""

    @abstractmethod
    def mode(self) -> Float[Tensor, "batch action_dim"]:
        """The likeliest action of every state."""

    @abstractmethod
    def log_prob(self, action: Float[Tensor, "batch action_dim"]) -> Float[Tensor, " batch"]:
        """Of one action for every state."""

    @abstractmethod
    def entropy(self) -> Float[Tensor, " batch"]:
        """Exact."""


class FiniteDistribution(AbstractDistribution):
    """Over finite actions, one-hot for each factor, from log-probabilities ``[batch, action_dim]``."""

    def __init__(self, actions: FiniteActions, log_probs: Float[Tensor, "batch action_dim"]):
        self._actions, self._log_probs = actions, log_probs

    def sample(self) -> Float[Tensor, "batch action_dim"]:
        return self._actions.sample(self._log_probs)

    def mode(self) -> Float[Tensor, "batch action_dim"]:
        return self._actions.greedy(self._log_probs)

    def log_prob(self, action: Float[Tensor, "batch action_dim"]) -> Float[Tensor, " batch"]:
        return self._log_probs.masked_fill(action == 0, 0.0).sum(-1)

    def entropy(self) -> Float[Tensor, " batch"]:
        return categorical_entropy(self._log_probs)


class AbstractExplicitPolicy(nn.Module, ABC):
    """A policy that can tell the probability of any action and its own entropy: what learning on policy needs."""

    @abstractmethod
    def distribution(self, obs: Float[Tensor, "batch obs_dim"]) -> AbstractDistribution:
        """What actions are drawn from in every state."""


class AbstractFinitePolicy(AbstractExplicitPolicy, ABC):
    """Probabilities of finite actions, given an observation.

    Args:
        actions: the action space.
    """

    def __init__(self, actions: FiniteActions):
        super().__init__()
        self.actions = actions

    def distribution(self, obs: Float[Tensor, "batch obs_dim"]) -> FiniteDistribution:
        return FiniteDistribution(self.actions, self(obs))

    @abstractmethod
    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """Log-probabilities in nats of every action, or of every choice of each factor; float32 everywhere."""


@contextmanager
def same_noise_each_time(device: torch.device) -> Iterator[None]:
    """What is drawn inside is the same each time, and what is drawn after it, as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


PolicyBuilder = Callable[[int, int], AbstractPolicy]
"""Builds a policy from ``obs_dim`` and ``action_dim``."""

SamplerBuilder = Callable[[int, int], AbstractPolicy | AbstractSampler]
"""Builds a policy with a density or with samples before tanh from ``obs_dim`` and ``action_dim``."""

FinitePolicyBuilder = Callable[[int, FiniteActions], AbstractFinitePolicy]
"""Builds a policy from ``obs_dim`` and the action space."""

ExplicitPolicyBuilder = Callable[[int, Any], AbstractExplicitPolicy]
"""Builds a policy that tells probabilities from ``obs_dim`` and the action space."""
