"""What the algorithms that learn from their own rollouts have in common."""

import copy
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.algorithms.feeding import AbstractFeeding, Rollouts
from lightning_maxent.entropy_objectives import EntropyObjectiveBuilder
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import generalized_advantages, soft_bellman_target, soft_returns
from lightning_maxent.optimizers import Optimizers
from lightning_maxent.policies.base import (
    AbstractComparablePolicy,
    AbstractDistribution,
    AbstractExplicitPolicy,
    ExplicitPolicyBuilder,
)
from lightning_maxent.policies.building import build_explicit_policy
from lightning_maxent.targets import frozen_statistics
from lightning_maxent.temperature import TemperatureBuilder
from lightning_maxent.transition import Episode, Rollout
from lightning_maxent.value import ValueBuilder, build_value


class Sample(NamedTuple):
    """What a policy gradient needs to know of the actions played; ``returns`` is what V regresses on."""

    obs: Float[Tensor, "batch obs_dim"]
    action: Float[Tensor, "batch action_dim"]
    advantage: Float[Tensor, " batch"]
    returns: Float[Tensor, " batch"]


def check_norm(norm: float) -> float:
    """Return the norm that gradients are shortened to, or raise ``MaxEntError`` unless it is positive."""
    if not norm > 0:
        raise MaxEntError(f"max_grad_norm must be positive, but is {norm}; .inf leaves gradients alone.")
    return norm


def check_gae_lambda(gae_lambda: float) -> float:
    """Return lambda, or raise ``MaxEntError`` unless it lies in [0, 1]."""
    if not 0 <= gae_lambda <= 1:
        raise MaxEntError(f"gae_lambda, lambda, must lie in [0, 1], but is {gae_lambda}.")
    return gae_lambda


def check_learns_as_it_plays(
    algorithm: AbstractAlgorithm, policy: AbstractExplicitPolicy | AbstractComparablePolicy, obs_dim: int
) -> None:
    """Raise ``MaxEntError`` if a policy that learns is another one than the same policy when it plays.

    With batch normalization a minibatch would be normalized by its own statistics and the rollout by running ones, with
    dropout another part of it would be left out: a ratio to the policy that played were not 1 before the first step, and the
    mean of ``grad log pi`` over the actions played not zero.
    """
    name, probe = type(policy).__name__, copy.deepcopy(policy).train()
    before = {buffer: state.clone() for buffer, state in probe.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        obs = torch.randn(256, obs_dim)  # many, since dropout may be rare
        if isinstance(probe, AbstractExplicitPolicy):
            action = probe.distribution(obs).sample()
            change = probe.distribution(obs).log_prob(action) - probe.distribution(obs).log_prob(action)
        else:
            change = probe.divergence(obs, copy.deepcopy(probe))
    moved = [buffer for buffer, state in probe.named_buffers() if not torch.equal(state, before[buffer])]
    if moved:
        raise MaxEntError(
            f"{type(algorithm).__name__} learns from what its very policy played, which running statistics such as {moved[0]} "
            f"of {name} forbid: give it a network without batch normalization."
        )
    if change.abs().max() > 1e-6:
        raise MaxEntError(
            f"{type(algorithm).__name__} learns from what its very policy played, but {name} tells other probabilities each "
            f"time that it is asked: give it a network without dropout."
        )


def clip_gradients(optimizers: dict[str, Optimizer], norm: float) -> dict[str, Optimizer]:
    """The same optimizers, each of which shortens its gradient to ``norm`` before a step."""

    def clip(optimizer: Optimizer, *_: Any) -> None:
        nn.utils.clip_grad_norm_([each for group in optimizer.param_groups for each in group["params"]], norm)

    for optimizer in optimizers.values():
        optimizer.register_step_pre_hook(clip)
    return optimizers


class OnPolicyAlgorithm(AbstractAlgorithm, ABC):
    """A policy that tells probabilities, and learns from its own rollouts.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space, finite or continuous.
        policy: builds the policy.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        entropy_objective: builds the weight of later states' entropies.
        optimizers: how to optimize the networks.
        discount: gamma.
        max_grad_norm: the gradient of each network is shortened to this norm.

    Raises:
        MaxEntError: for a norm that is not positive, or a policy that cannot tell probabilities or learns as another one than
            plays, by batch normalization or dropout.
    """

    feeding: AbstractFeeding = Rollouts()

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        policy: ExplicitPolicyBuilder,
        temperature: TemperatureBuilder,
        entropy_objective: EntropyObjectiveBuilder,
        optimizers: Optimizers,
        discount: float,
        max_grad_norm: float,
    ):
        super().__init__(temperature(actions), optimizers, discount)
        self.policy = build_explicit_policy(policy, obs_dim, actions)
        check_learns_as_it_plays(self, self.policy, obs_dim)
        self.entropy_objective = entropy_objective()
        self.max_grad_norm = check_norm(max_grad_norm)

    @abstractmethod
    def estimate_advantages(self, rollout: Rollout, reward: Float[Tensor, "time env"]) -> Sample:
        """What every action of a rollout was worth; without gradients.

        Args:
            rollout: on the learner's device.
            reward: its rewards, each with what the entropy of the state behind it is worth.
        """

    def build_optimizers(self) -> dict[str, Optimizer]:
        return clip_gradients(super().build_optimizers(), self.max_grad_norm)

    def prepare(self, data: Rollout) -> Any:
        return self.sample(data)

    @torch.no_grad()
    def sample(self, rollout: Rollout) -> Sample:
        """The actions ``[time * env]`` of a rollout with their advantages."""
        with frozen_statistics(self):
            weight = self.entropy_objective.later_entropy_weight(self.temperature())
            later = weight * self.distribution(rollout.next_obs).entropy().view_as(rollout.reward)
            return self.estimate_advantages(
                rollout, soft_bellman_target(rollout.reward, rollout.terminated, later, self.discount)
            )

    def distribution(self, obs: Float[Tensor, "*batch obs_dim"]) -> AbstractDistribution:
        """The policy in every one of the states, of whatever shape."""
        return self.policy.distribution(obs.flatten(0, -2))

    def _act(self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool) -> Float[Tensor, "batch action_dim"]:
        distribution = self.policy.distribution(obs)
        return distribution.mode() if deterministic else distribution.sample()


class AdvantageAlgorithm(OnPolicyAlgorithm, ABC):
    """A policy and V, an optimizer each; actions are judged by generalized advantages.

    V is what a state is worth before its own entropy: ``V(s) = E_pi[Q(s,a)]``, where Q pays for the entropies of later
    states as the objective wants it.

    Args:
        value: builds V from ``obs_dim``.
        gae_lambda: lambda in [0, 1] of Schulman et al. 2016; 1 sums the rewards up to the end of the rollout.

    Raises:
        MaxEntError: for a lambda outside [0, 1].
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        policy: ExplicitPolicyBuilder,
        value: ValueBuilder,
        temperature: TemperatureBuilder,
        entropy_objective: EntropyObjectiveBuilder,
        optimizers: Optimizers,
        discount: float,
        gae_lambda: float,
        max_grad_norm: float,
    ):
        super().__init__(obs_dim, actions, policy, temperature, entropy_objective, optimizers, discount, max_grad_norm)
        self.value, self.gae_lambda = build_value(value, obs_dim), check_gae_lambda(gae_lambda)

    def estimate_advantages(self, rollout: Rollout, reward: Float[Tensor, "time env"]) -> Sample:
        value, next_value = (self.value(obs.flatten(0, 1)).view_as(reward) for obs in (rollout.obs, rollout.next_obs))
        error = soft_bellman_target(reward, rollout.terminated, next_value, self.discount) - value
        advantage = generalized_advantages(error, rollout.done, self.discount * self.gae_lambda)
        obs, action = rollout.obs.flatten(0, 1), rollout.action.flatten(0, 1)
        return Sample(obs, action, advantage.flatten(), (advantage + value).flatten())

    def episode_diagnostics(self, episode: Episode) -> tuple[Float[Tensor, " time"], dict[str, Tensor]]:
        """``value``, and ``value_bias``: the mean over time of ``V(s_t)`` less the discounted return that followed, in
        which later entropies count as in the objective.

        Where a time limit cut the episode, V of its last state stands for the rest, which hides a share
        ``gamma^(T - t)`` of the bias at time t.
        """
        value, entropy = self.value(episode.obs), self.distribution(episode.obs).entropy()
        weight = self.entropy_objective.later_entropy_weight(self.temperature())
        bootstrap = torch.zeros_like(value[-1]) if episode.terminated else value[-1] + weight * entropy[-1]
        returns = soft_returns(episode.learner_reward, entropy[:-1], weight, self.discount, bootstrap)
        return entropy[:-1], {"value": value[:-1].mean(), "value_bias": (value[:-1] - returns).mean()}
