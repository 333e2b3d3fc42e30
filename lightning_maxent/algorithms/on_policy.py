"""Base classes of the on-policy algorithms."""

import copy
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

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
    """Actions of a rollout with their advantages, and the returns, the regression targets of V."""

    obs: Float[Tensor, "batch obs_dim"]
    action: Float[Tensor, "batch action_dim"]
    advantage: Float[Tensor, " batch"]
    returns: Float[Tensor, " batch"]


def check_gae_lambda(gae_lambda: float) -> float:
    """Return lambda, or raise ``MaxEntError`` unless it lies in [0, 1]."""
    if not 0 <= gae_lambda <= 1:
        raise MaxEntError(f"gae_lambda must lie in [0, 1], but is {gae_lambda}.")
    return gae_lambda


def check_learns_as_it_plays(
    algorithm: AbstractAlgorithm, policy: AbstractExplicitPolicy | AbstractComparablePolicy, obs_dim: int
) -> None:
    """Raise ``MaxEntError`` if the probabilities of a policy differ between training mode and evaluation mode.

    Batch normalization uses the statistics of the minibatch in training and running statistics in a rollout; dropout
    leaves out other units in every pass.  Then the probability ratio to the policy that collected the rollout would not
    be 1 before the first update, and the mean of ``grad log pi`` over the actions would not be zero.
    """
    name, probe = type(policy).__name__, copy.deepcopy(policy).train()
    before = {buffer: state.clone() for buffer, state in probe.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        obs = torch.randn(256, obs_dim)  # many, because dropout may be rare
        if isinstance(probe, AbstractExplicitPolicy):
            action = probe.distribution(obs).sample()
            change = probe.distribution(obs).log_prob(action) - probe.distribution(obs).log_prob(action)
        else:
            change = probe.divergence(obs, copy.deepcopy(probe))
    moved = [buffer for buffer, state in probe.named_buffers() if not torch.equal(state, before[buffer])]
    if moved:
        raise MaxEntError(
            f"{type(algorithm).__name__} needs the same action probabilities in training and in rollouts, but {name} has "
            f"running statistics such as {moved[0]}: use a network without batch normalization."
        )
    if change.abs().max() > 1e-6:
        raise MaxEntError(
            f"{type(algorithm).__name__} needs the same action probabilities in training and in rollouts, but those of "
            f"{name} change from call to call: use a network without dropout."
        )


class OnPolicyAlgorithm(AbstractAlgorithm, ABC):
    """An algorithm that learns from rollouts of a policy with explicit action probabilities.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space, finite or continuous.
        policy: builds the policy.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        entropy_objective: builds the rule for the entropies of later states.
        optimizers: optimizers and learning-rate schedules of the networks.
        discount: gamma in [0, 1].

    Raises:
        MaxEntError: for a policy without explicit probabilities, or with batch normalization or dropout.
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
    ):
        super().__init__(temperature(actions), optimizers, discount)
        self.policy = build_explicit_policy(policy, obs_dim, actions)
        check_learns_as_it_plays(self, self.policy, obs_dim)
        self.entropy_objective = entropy_objective()

    @abstractmethod
    def estimate_advantages(self, rollout: Rollout, reward: Float[Tensor, "time env"]) -> Sample:
        """The advantages and returns of all actions in a rollout; called without gradients.

        Args:
            rollout: the rollout, on the device of the algorithm.
            reward: its rewards; each includes the discounted, weighted entropy of the next state.
        """

    def prepare(self, data: Rollout) -> Any:
        return self.sample(data)

    @torch.no_grad()
    def sample(self, rollout: Rollout) -> Sample:
        """The actions of a rollout with their advantages, ``[time * env]``."""
        with frozen_statistics(self):
            weight = self.entropy_objective.later_entropy_weight(self.temperature())
            later = weight * self.distribution(rollout.next_obs).entropy().view_as(rollout.reward)
            return self.estimate_advantages(
                rollout, soft_bellman_target(rollout.reward, rollout.terminated, later, self.discount)
            )

    def distribution(self, obs: Float[Tensor, "*batch obs_dim"]) -> AbstractDistribution:
        """The distribution over actions in all states, as one flat batch."""
        return self.policy.distribution(obs.flatten(0, -2))

    def _act(self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool) -> Float[Tensor, "batch action_dim"]:
        distribution = self.policy.distribution(obs)
        return distribution.mode() if deterministic else distribution.sample()


class AdvantageAlgorithm(OnPolicyAlgorithm, ABC):
    """An on-policy algorithm with V and generalized advantage estimates.

    V does not include the entropy of its own state: ``V(s) = E_pi[Q(s,a)]``, where Q includes the entropies of later
    states with the weight of the entropy objective.

    Args:
        value: builds V from ``obs_dim``.
        gae_lambda: lambda in [0, 1] of generalized advantage estimation (Schulman et al. 2016); 1 sums all rewards up
            to the end of the rollout.

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
    ):
        super().__init__(obs_dim, actions, policy, temperature, entropy_objective, optimizers, discount)
        self.value, self.gae_lambda = build_value(value, obs_dim), check_gae_lambda(gae_lambda)

    def estimate_advantages(self, rollout: Rollout, reward: Float[Tensor, "time env"]) -> Sample:
        value, next_value = (self.value(obs.flatten(0, 1)).view_as(reward) for obs in (rollout.obs, rollout.next_obs))
        error = soft_bellman_target(reward, rollout.terminated, next_value, self.discount) - value
        advantage = generalized_advantages(error, rollout.done, self.discount * self.gae_lambda)
        obs, action = rollout.obs.flatten(0, 1), rollout.action.flatten(0, 1)
        return Sample(obs, action, advantage.flatten(), (advantage + value).flatten())

    def estimates(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> dict[str, Float[Tensor, " batch"]]:
        return {"V": self.value(obs), "entropy": self.distribution(obs).entropy()}

    def episode_diagnostics(self, episode: Episode) -> tuple[Float[Tensor, " time"], dict[str, Tensor]]:
        """Entropies, ``value`` and ``value_bias``, the mean over time of ``V(s_t)`` minus the discounted return.

        The return includes later entropies with the weight of the entropy objective.  If a time limit ended the
        episode, V of the last state replaces the missing rest of the return.  This hides a share ``gamma^(T - t)`` of
        the bias at time t.
        """
        value, entropy = self.value(episode.obs), self.distribution(episode.obs).entropy()
        weight = self.entropy_objective.later_entropy_weight(self.temperature())
        bootstrap = torch.zeros_like(value[-1]) if episode.terminated else value[-1] + weight * entropy[-1]
        returns = soft_returns(episode.learner_reward, entropy[:-1], weight, self.discount, bootstrap)
        return entropy[:-1], {"value": value[:-1].mean(), "value_bias": (value[:-1] - returns).mean()}
