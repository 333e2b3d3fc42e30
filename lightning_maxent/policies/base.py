"""The contracts of a policy: over continuous actions, with a density or without, and over finite ones."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import AbstractActions, FiniteActions
from lightning_maxent.contracts import without_side_effects
from lightning_maxent.errors import MaxEntError, errors_of
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


def build_policy(builder: "PolicyBuilder", obs_dim: int, action_dim: int) -> AbstractPolicy:
    """Build a policy and see, on a few states, that it has a density and keeps its contract.

    Raises:
        MaxEntError: names the method, what it returned and what was expected.
    """
    with errors_of("Building the policy"):
        policy = builder(obs_dim, action_dim)
    if not isinstance(policy, AbstractPolicy):
        raise MaxEntError(
            f"{type(policy).__name__} knows no density of its actions, which this algorithm needs: use SquashedGaussian, "
            f"MixtureOfGaussians or FlowPolicy, or ContinuousSoftQLearning with uniform particles."
        )
    _check_policy(policy, obs_dim, action_dim)
    return policy


def build_deterministic_policy(builder: Callable[[int, int], nn.Module], obs_dim: int, action_dim: int) -> nn.Module:
    """Build a policy that gives one action for every state and see, on a few of them, that it does.

    Raises:
        MaxEntError: says what it gave and what was expected.
    """
    with errors_of("Building the policy"):
        policy = builder(obs_dim, action_dim)
    name = type(policy).__name__
    with without_side_effects(policy, "three states"), torch.enable_grad():
        action = policy(torch.randn(3, obs_dim))
    if not isinstance(action, Tensor):
        raise MaxEntError(
            f"{name} gives a {type(action).__name__} and not one action for every state, which this algorithm needs: use "
            f"Deterministic, or an algorithm for stochastic policies such as SAC."
        )
    _check_reaches(policy, f"{name}.forward", action)
    _check_numbers(f"{name}.forward", "an action", action, (3, action_dim))
    _check_range(f"{name}.forward", action)
    return policy


def _check_policy(policy: AbstractPolicy, obs_dim: int, action_dim: int) -> None:
    name = type(policy).__name__
    with without_side_effects(policy, "three states"), torch.enable_grad():
        obs = torch.randn(3, obs_dim)
        action, log_prob = policy(obs)
        _check_reaches(policy, f"{name}.forward", action)
        _check_numbers(f"{name}.forward", "an action", action, (3, action_dim))
        _check_numbers(f"{name}.forward", "a log-density", log_prob, (3,))
        for deterministic in (False, True):
            played = policy.act(obs, deterministic)
            _check_numbers(f"{name}.act", "an action", played, (3, action_dim))
            _check_range(f"{name}.act", played)
    _check_range(f"{name}.forward", action)


def _check_range(method: str, action: Tensor) -> None:
    if (largest := float(action.detach().abs().max())) > 1:
        raise MaxEntError(
            f"{method} must give actions in [-1, 1], but gave {largest:.3g}: squash them, e.g. "
            f"by tanh, and correct the log-density, if it has one."
        )


def build_sampler(builder: "SamplerBuilder", obs_dim: int, action_dim: int) -> AbstractPolicy | AbstractSampler:
    """Build a policy with or without a density and see, on a few states, that it keeps its contract.

    Raises:
        MaxEntError: names the method, what it returned and what was expected.
    """
    with errors_of("Building the policy"):
        sampler = builder(obs_dim, action_dim)
    name = type(sampler).__name__
    if not isinstance(sampler, AbstractPolicy | AbstractSampler):
        raise MaxEntError(
            f"{name} has neither a density over actions nor samples before tanh: use SteinSampler, FlowPolicy, "
            f"MixtureOfGaussians or SquashedGaussian, or derive your policy from AbstractPolicy or AbstractSampler."
        )
    if isinstance(sampler, AbstractSampler):
        with without_side_effects(sampler, "three states"), torch.enable_grad():
            u = sampler.unsquashed(torch.randn(3, obs_dim), 2)
            _check_reaches(sampler, f"{name}.unsquashed", u)
        _check_numbers(f"{name}.unsquashed", "two samples for each of three states", u, (3, 2, action_dim))
    if isinstance(sampler, AbstractPolicy):
        _check_policy(sampler, obs_dim, action_dim)
    return sampler


def build_explicit_policy(
    builder: "ExplicitPolicyBuilder", obs_dim: int, actions: AbstractActions
) -> AbstractExplicitPolicy:
    """Build a policy that tells probabilities and see, on a few states, that it keeps its contract.

    Raises:
        MaxEntError: names the method, what it returned and what was expected.
    """
    with errors_of("Building the policy"):
        policy = builder(obs_dim, actions)
    name = type(policy).__name__
    if not isinstance(policy, AbstractExplicitPolicy):
        raise MaxEntError(
            f"{name} cannot tell the probability of a given action, which this algorithm needs: use Gaussian for "
            f"continuous actions and Categorical for finite ones."
        )
    with without_side_effects(policy, "three states"), torch.enable_grad():
        if isinstance(policy, AbstractFinitePolicy):
            _check_probabilities(policy, obs_dim)
        distribution = policy.distribution(torch.randn(3, obs_dim))
        action = distribution.sample()
        _check_numbers(f"{name}.distribution(obs).sample", "an action", action, (3, actions.dim))
        _check_numbers(f"{name}.distribution(obs).best", "an action", distribution.mode(), (3, actions.dim))
        _check_numbers(f"{name}.distribution(obs).log_prob", "a log-density", distribution.log_prob(action), (3,))
        _check_numbers(f"{name}.distribution(obs).entropy", "an entropy", distribution.entropy(), (3,))
        _check_reaches(policy, f"{name}.distribution(obs).log_prob", distribution.log_prob(action))
    return policy


def build_finite_policy(builder: "FinitePolicyBuilder", obs_dim: int, actions: FiniteActions) -> AbstractFinitePolicy:
    """Build a policy that gives the log-probabilities of all actions and see, on a few states, that it keeps its contract.

    Raises:
        MaxEntError: names the method, what it returned and what was expected.
    """
    policy = build_explicit_policy(builder, obs_dim, actions)
    if not isinstance(policy, AbstractFinitePolicy):
        raise MaxEntError(
            f"{type(policy).__name__} does not give the log-probabilities of all actions, which this algorithm needs: use "
            f"Categorical, or derive your policy from AbstractFinitePolicy."
        )
    return policy


def check_divergence(policy: AbstractComparablePolicy, obs_dim: int) -> None:
    """See, on a few states, that a policy tells how far it has moved.

    Raises:
        MaxEntError: says what it returned and what was expected.
    """
    name = f"{type(policy).__name__}.divergence"
    with without_side_effects(policy, "its divergence in three states"), torch.enable_grad():
        divergence = policy.divergence(torch.randn(3, obs_dim), copy.deepcopy(policy))
    _check_numbers(name, "a divergence", divergence, (3,))
    _check_reaches(policy, name, divergence)
    if (largest := float(divergence.detach().abs().max())) > 1e-4:
        raise MaxEntError(f"{name} from a policy's own copy must be zero, but is {largest:.3g} nats.")


def _check_reaches(policy: nn.Module, method: str, numbers: Tensor) -> None:
    learns = any(parameter.requires_grad for parameter in policy.parameters())
    if learns and not numbers.requires_grad:
        raise MaxEntError(f"{method} must have a gradient in the policy's parameters, but was cut off from them.")


def _check_probabilities(policy: AbstractFinitePolicy, obs_dim: int) -> None:
    method, actions = f"{type(policy).__name__}.forward", policy.actions
    probs = policy(torch.randn(3, obs_dim)).detach().exp()
    _check_numbers(method, "log-probabilities", probs, (3, actions.dim))
    for factor in probs.split(actions.counts, -1):
        total = float(factor[0].sum())
        if not math.isclose(total, 1, abs_tol=1e-3):
            raise MaxEntError(
                f"{method} must give log-probabilities, but those of a choice's alternatives make {total:.3g} in all: give "
                f"actions.log_softmax(scores)."
            )


def _check_numbers(method: str, what: str, numbers: Tensor, shape: tuple[int, ...]) -> None:
    if numbers.shape != shape:
        raise MaxEntError(f"{method} must give {what} of shape {list(shape)}, but gave {list(numbers.shape)}.")
    if not torch.isfinite(numbers).all():
        raise MaxEntError(f"{method} must give {what} of finite numbers, but gave NaN or infinity.")


PolicyBuilder = Callable[[int, int], AbstractPolicy]
"""Builds a policy from ``obs_dim`` and ``action_dim``."""

SamplerBuilder = Callable[[int, int], AbstractPolicy | AbstractSampler]
"""Builds a policy with a density or with samples before tanh from ``obs_dim`` and ``action_dim``."""

FinitePolicyBuilder = Callable[[int, FiniteActions], AbstractFinitePolicy]
"""Builds a policy from ``obs_dim`` and the action space."""

ExplicitPolicyBuilder = Callable[[int, Any], AbstractExplicitPolicy]
"""Builds a policy that tells probabilities from ``obs_dim`` and the action space."""
