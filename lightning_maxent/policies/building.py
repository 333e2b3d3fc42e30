"""Builds policies for algorithms, and checks on a few states that they keep their contracts."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_maxent.actions import AbstractActions, FiniteActions
from lightning_maxent.contracts import check_numbers, without_side_effects
from lightning_maxent.errors import MaxEntError, errors_of
from lightning_maxent.policies.base import (
    AbstractComparablePolicy,
    AbstractExplicitPolicy,
    AbstractFinitePolicy,
    AbstractPolicy,
    AbstractSampler,
    ExplicitPolicyBuilder,
    FinitePolicyBuilder,
    PolicyBuilder,
    SamplerBuilder,
)


def build_policy(builder: PolicyBuilder, obs_dim: int, action_dim: int) -> AbstractPolicy:
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
    check_numbers(f"{name}.forward", "an action", action, (3, action_dim))
    _check_range(f"{name}.forward", action)
    return policy


def build_sampler(builder: SamplerBuilder, obs_dim: int, action_dim: int) -> AbstractPolicy | AbstractSampler:
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
        check_numbers(f"{name}.unsquashed", "two samples for each of three states", u, (3, 2, action_dim))
    if isinstance(sampler, AbstractPolicy):
        _check_policy(sampler, obs_dim, action_dim)
    return sampler


def build_explicit_policy(
    builder: ExplicitPolicyBuilder, obs_dim: int, actions: AbstractActions
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
        check_numbers(f"{name}.distribution(obs).sample", "an action", action, (3, actions.dim))
        check_numbers(f"{name}.distribution(obs).best", "an action", distribution.mode(), (3, actions.dim))
        check_numbers(f"{name}.distribution(obs).log_prob", "a log-density", distribution.log_prob(action), (3,))
        check_numbers(f"{name}.distribution(obs).entropy", "an entropy", distribution.entropy(), (3,))
        _check_reaches(policy, f"{name}.distribution(obs).log_prob", distribution.log_prob(action))
    return policy


def build_finite_policy(builder: FinitePolicyBuilder, obs_dim: int, actions: FiniteActions) -> AbstractFinitePolicy:
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
    check_numbers(name, "a divergence", divergence, (3,))
    _check_reaches(policy, name, divergence)
    if (largest := float(divergence.detach().abs().max())) > 1e-4:
        raise MaxEntError(f"{name} from a policy's own copy must be zero, but is {largest:.3g} nats.")


def _check_policy(policy: AbstractPolicy, obs_dim: int, action_dim: int) -> None:
    name = type(policy).__name__
    with without_side_effects(policy, "three states"), torch.enable_grad():
        obs = torch.randn(3, obs_dim)
        action, log_prob = policy(obs)
        _check_reaches(policy, f"{name}.forward", action)
        check_numbers(f"{name}.forward", "an action", action, (3, action_dim))
        check_numbers(f"{name}.forward", "a log-density", log_prob, (3,))
        for deterministic in (False, True):
            played = policy.act(obs, deterministic)
            check_numbers(f"{name}.act", "an action", played, (3, action_dim))
            _check_range(f"{name}.act", played)
    _check_range(f"{name}.forward", action)


def _check_range(method: str, action: Tensor) -> None:
    if (largest := float(action.detach().abs().max())) > 1:
        raise MaxEntError(
            f"{method} must give actions in [-1, 1], but gave {largest:.3g}: squash them, e.g. "
            f"by tanh, and correct the log-density, if it has one."
        )


def _check_reaches(policy: nn.Module, method: str, numbers: Tensor) -> None:
    learns = any(parameter.requires_grad for parameter in policy.parameters())
    if learns and not numbers.requires_grad:
        raise MaxEntError(f"{method} must have a gradient in the policy's parameters, but was cut off from them.")


def _check_probabilities(policy: AbstractFinitePolicy, obs_dim: int) -> None:
    method, actions = f"{type(policy).__name__}.forward", policy.actions
    probs = policy(torch.randn(3, obs_dim)).detach().exp()
    check_numbers(method, "log-probabilities", probs, (3, actions.dim))
    for factor in probs.split(actions.counts, -1):
        total = float(factor[0].sum())
        if not math.isclose(total, 1, abs_tol=1e-3):
            raise MaxEntError(
                f"{method} must give log-probabilities, but those of a choice's alternatives make {total:.3g} in all: give "
                f"actions.log_softmax(scores)."
            )
