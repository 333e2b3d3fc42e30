"""Base classes of policies: for continuous actions, with or without a density, and for finite actions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import FiniteActions
from lightning_maxent.objectives import categorical_entropy, tanh_log_det

CANDIDATES = 16  # samples; the one with the highest density is the deterministic action.  Our choice


class AbstractPolicy(nn.Module, ABC):
    """A distribution over actions in ``[-1, 1]^action_dim`` with a known density, given an observation."""

    @abstractmethod
    def forward(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, "batch action_dim"], Float[Tensor, " batch"]]:
        """A reparameterized sample for every state and its log-density in nats, float32 under every precision."""

    @abstractmethod
    def act(
        self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool = False
    ) -> Float[Tensor, "batch action_dim"]:
        """Actions sampled from the policy, or its deterministic actions; gradients are not needed."""

    def samples(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        """``count`` actions for every state."""
        return self(obs.repeat_interleave(count, dim=0))[0].unflatten(0, (obs.shape[0], count))


class AbstractComparablePolicy(AbstractPolicy, ABC):
    """A policy with a divergence from an earlier policy of the same class."""

    @abstractmethod
    def divergence(self, obs: Float[Tensor, "batch obs_dim"], earlier: Any) -> Float[Tensor, " batch"]:
        """``KL(earlier(.|s) || self(.|s))`` in nats, float32."""


class AbstractSampler(nn.Module, ABC):
    """A distribution over actions in ``[-1, 1]^action_dim``, given an observation; its density may be unknown."""

    @abstractmethod
    def unsquashed(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        """``count`` reparameterized samples ``u`` for every state, float32; actions are ``tanh(u)``."""

    def samples(self, obs: Float[Tensor, "batch obs_dim"], count: int) -> Float[Tensor, "batch particle action_dim"]:
        """``count`` actions for every state."""
        return self.unsquashed(obs, count).tanh()


class AbstractSquashedPolicy(AbstractPolicy, AbstractSampler, ABC):
    """A policy ``a = tanh(u)`` where ``u`` has a density.  Change of variables: Haarnoja et al. 2018a, eq. 21."""

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
        """Samples; if ``deterministic``, the sample with the highest density among ``CANDIDATES`` with fixed noise.

        The mean could lie between modes.
        """
        if not deterministic:
            return self._squashed(obs, 1)[0].squeeze(1)
        with same_noise_each_time(obs.device):
            action, log_prob = self._squashed(obs, CANDIDATES)
        return action[torch.arange(obs.shape[0], device=obs.device), log_prob.argmax(1)]

    def _squashed(
        self, obs: Float[Tensor, "batch obs_dim"], count: int
    ) -> tuple[Float[Tensor, "batch particle action_dim"], Float[Tensor, "batch particle"]]:
        u, log_prob = self.unsquashed_with_log_prob(obs, count)
        return u.tanh(), log_prob - tanh_log_det(u).sum(-1)


class AbstractDistribution(ABC):
    """A batch of distributions over actions, one per state; log-probabilities and entropies are in nats, float32."""

    @abstractmethod
    def sample(self) -> Float[Tensor, "batch action_dim"]:
        """A sampled action for every state; gradients are not needed."""

    @abstractmethod
    def mode(self) -> Float[Tensor, "batch action_dim"]:
        """The most probable action in every state."""

    @abstractmethod
    def log_prob(self, action: Float[Tensor, "batch action_dim"]) -> Float[Tensor, " batch"]:
        """The log-probability of the given action in every state."""

    @abstractmethod
    def entropy(self) -> Float[Tensor, " batch"]:
        """The exact entropy in every state."""


class FiniteDistribution(AbstractDistribution):
    """Distributions over finite actions, one-hot for each factor, given log-probabilities ``[batch, action_dim]``."""

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
    """A policy with known log-probabilities of all actions and known entropy, for on-policy algorithms."""

    @abstractmethod
    def distribution(self, obs: Float[Tensor, "batch obs_dim"]) -> AbstractDistribution:
        """The distribution over actions in every state."""


class AbstractFinitePolicy(AbstractExplicitPolicy, ABC):
    """A distribution over finite actions, given an observation.

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
        """Log-probabilities in nats of all actions, or of all choices of each factor; float32 under every precision."""


@contextmanager
def same_noise_each_time(device: torch.device) -> Iterator[None]:
    """Draw the same random numbers in every call, and restore the random state afterwards."""
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
"""Builds a policy with explicit probabilities from ``obs_dim`` and the action space."""
