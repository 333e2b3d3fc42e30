"""A random finite MDP: compares the learned Q and policy with soft value iteration, and measures the bias by noise."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_maxent.actions import FiniteActions
from lightning_maxent.algorithms.discrete_sac import DiscreteSAC
from lightning_maxent.algorithms.discrete_value_sac import DiscreteValueSAC
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.algorithms.soft_q_learning import SoftQLearning
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exact import FiniteMDP, random_mdp, soft_value_iteration
from lightning_maxent.networks import MLP
from lightning_maxent.policies.categorical import Categorical
from lightning_maxent.targets import TargetBuilder
from lightning_maxent.temperature import FixedTemperature
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue
from lightning_maxent.verification.measurement import LOOK, Measurement
from lightning_maxent.verification.training import follows_v, train

STATES, ACTIONS, DISCOUNT, ALPHA, BATCH = 8, 3, 0.8, 0.3, 128
SMALL = partial(MLP, hidden_dims=(64, 64))
POLICY = partial(Categorical, network=SMALL)


def tabular(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """``SoftQLearning`` on transitions from uniform states and actions of a random MDP.

    The observation of a state is a random feature vector; the vectors of different states are orthogonal.

    Args:
        critic: builds Q.
        target: builds the target, which gives the value of the next state.
        updates: number of updates, of 128 transitions each.
        tick: called with the number of updates since its last call.
    """
    yield from errors(SoftQLearning(critic=critic, target=target, **_parts()), updates, tick)


def tabular_with_policy(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """The same with ``DiscreteSAC``."""
    yield from errors(DiscreteSAC(critic=critic, target=target, policy=POLICY, **_parts()), updates, tick)


def tabular_with_value(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """The same with ``DiscreteValueSAC``; no check if the target cannot be a copy of V."""
    if follows_v(target):
        value = partial(StateValue, network=SMALL)
        algorithm = DiscreteValueSAC(critic=critic, target=target, policy=POLICY, value=value, **_parts())
        yield from errors(algorithm, updates, tick)
    else:
        tick(updates)


def noisy_tabular(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """``tabular`` with noise of standard deviation 1 on every reward: measures the mean error of Q.

    A critic that takes the maximum of noisy estimates has a positive mean error.
    """
    algorithm = SoftQLearning(critic=critic, target=target, **_parts())
    q, _, truth, _ = _learned_and_exact(algorithm, updates, 1.0, tick)
    bias = (q - truth).mean() / (truth.max() - truth.min())
    yield Measurement(
        "noisy tabular: bias of Q over its range",
        float(bias),
        0.0,
        0.05,
        "target, value or loss turn the noise of rewards into a bias",
    )


def _parts() -> dict[str, Any]:
    return {
        "obs_dim": STATES,
        "actions": FiniteActions((ACTIONS,)),
        "temperature": partial(FixedTemperature, alpha=ALPHA),
        "discount": DISCOUNT,
    }


def errors(algorithm: FiniteAlgorithm, updates: int, tick: Callable[[int], None]) -> Iterator[Measurement]:
    """Train an algorithm, and compare its Q and its policy with the exact ones for its temperature."""
    name = f"tabular, {type(algorithm).__name__}"
    q, log_probs, truth, policy = _learned_and_exact(algorithm, updates, 0.0, tick)
    error = (q - truth).abs().max() / (truth.max() - truth.min())
    yield Measurement(f"{name}: error of Q over its range", float(error), 0.0, 0.05, LOOK)
    if algorithm.temperature() == 0:  # the divergence of a greedy policy is infinite where two actions are nearly equal
        lost = (truth.amax(-1) - (log_probs.exp() * truth).sum(-1)).max() / (truth.max() - truth.min())
        yield Measurement(f"{name}: Q lost by the policy over its range", float(lost), 0.0, 0.05, LOOK)
        return
    divergence = float((policy * (policy.log() - log_probs)).sum(-1).max())
    yield Measurement(
        f"{name}: KL of the policy (nats)", divergence, 0.0, 0.02, "differences of Q between actions are wrong"
    )


def _learned_and_exact(
    algorithm: FiniteAlgorithm, updates: int, noise: float, tick: Callable[[int], None]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The learned Q and log-probabilities, and the exact Q and policy, of all states that are not terminal."""
    world = random_mdp(STATES, ACTIONS, seed=0, discount=DISCOUNT, terminal_states=1)
    features = torch.linalg.qr(torch.randn(STATES, STATES))[0] * STATES**0.5
    train(algorithm, _drawing(world, features, noise), updates, tick)
    exact = soft_value_iteration(world, float(algorithm.temperature().detach()))  # a learned temperature has moved
    lasting = torch.tensor(~world.terminal)
    with torch.no_grad():
        obs = features[lasting]
        log_probs = algorithm.log_probs(obs)
        q = algorithm.every_value(algorithm.every_action(algorithm.critic, obs))
    return q, log_probs, torch.tensor(exact.q).float()[lasting], torch.tensor(exact.policy).float()[lasting]


def _drawing(world: FiniteMDP, features: Tensor, noise: float) -> Callable[[], Transition]:
    """A function that draws a batch of transitions of the MDP."""
    lasting, terminal = torch.tensor(np.flatnonzero(~world.terminal)), torch.tensor(world.terminal)
    transition, rewards = torch.tensor(world.transition.toarray()).float(), torch.tensor(world.reward).float()
    one_hots = torch.eye(ACTIONS)

    def draw() -> Transition:
        state, action = lasting[torch.randint(len(lasting), (BATCH,))], torch.randint(ACTIONS, (BATCH,))
        following = torch.multinomial(transition[state * ACTIONS + action], 1).squeeze(1)
        reward = rewards[state, action] + noise * torch.randn(BATCH)
        return Transition(features[state], one_hots[action], reward, features[following], terminal[following])

    return draw
