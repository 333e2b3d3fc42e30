"""A random finite world, in features: is the soft optimum of value iteration learnt, and is Q biased by noise?"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lightning_maxent.actions import FiniteActions
from lightning_maxent.algorithms.soft_q_learning import SoftQLearning
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exact import FiniteMDP, random_mdp, soft_value_iteration
from lightning_maxent.targets import TargetBuilder
from lightning_maxent.temperature import FixedTemperature
from lightning_maxent.transition import Transition
from lightning_maxent.verification.measurement import LOOK, Measurement
from lightning_maxent.verification.training import train

STATES, ACTIONS, DISCOUNT, ALPHA, BATCH = 8, 3, 0.8, 0.3, 128


def tabular(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """``SoftQLearning`` on transitions drawn evenly from a random MDP whose states are seen as random features.

    Args:
        critic: builds Q.
        target: builds what Q regresses on.
        updates: of 128 transitions each.
        tick: told of every update.
    """
    q, log_probs, truth, policy = _learnt_and_exact(critic, target, updates, 0.0, tick)
    error = (q - truth).abs().max() / (truth.max() - truth.min())
    yield Measurement("tabular: error of Q over its range", float(error), 0.0, 0.05, LOOK)
    divergence = float((policy * (policy.log() - log_probs)).sum(-1).max())
    yield Measurement(
        "tabular: KL of the policy (nats)", divergence, 0.0, 0.02, "differences of Q between actions are off"
    )


def noisy_tabular(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """The same with noise of deviation 1 on every reward: the mean error of Q, which a maximum would make positive."""
    q, _, truth, _ = _learnt_and_exact(critic, target, updates, 1.0, tick)
    bias = (q - truth).mean() / (truth.max() - truth.min())
    yield Measurement(
        "noisy tabular: bias of Q over its range",
        float(bias),
        0.0,
        0.05,
        "target, value or loss take the noise for worth",
    )


def _learnt_and_exact(
    critic: CriticBuilder, target: TargetBuilder, updates: int, noise: float, tick: Callable[[int], None]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Q and log-probabilities that were learnt, and Q and policy of soft value iteration, for all lasting states."""
    world = random_mdp(STATES, ACTIONS, seed=0, discount=DISCOUNT, terminal_states=1)
    exact = soft_value_iteration(world, ALPHA)
    features = torch.linalg.qr(torch.randn(STATES, STATES))[0] * STATES**0.5
    algorithm = SoftQLearning(
        STATES,
        FiniteActions((ACTIONS,)),
        critic=critic,
        target=target,
        temperature=partial(FixedTemperature, alpha=ALPHA),
        discount=DISCOUNT,
    )
    train(algorithm, _drawing(world, features, noise), updates, tick)
    lasting = torch.tensor(~world.terminal)
    with torch.no_grad():
        obs = features[lasting]
        log_probs = algorithm.log_probs(obs)
        q = algorithm.every_value(algorithm.every_action(algorithm.critic, obs))
    return q, log_probs, torch.tensor(exact.q).float()[lasting], torch.tensor(exact.policy).float()[lasting]


def _drawing(world: FiniteMDP, features: Tensor, noise: float) -> Callable[[], Transition]:
    """What draws a batch of the world's transitions."""
    lasting, terminal = torch.tensor(np.flatnonzero(~world.terminal)), torch.tensor(world.terminal)
    transition, rewards = torch.tensor(world.transition.toarray()).float(), torch.tensor(world.reward).float()
    one_hots = torch.eye(ACTIONS)

    def draw() -> Transition:
        state, action = lasting[torch.randint(len(lasting), (BATCH,))], torch.randint(ACTIONS, (BATCH,))
        following = torch.multinomial(transition[state * ACTIONS + action], 1).squeeze(1)
        reward = rewards[state, action] + noise * torch.randn(BATCH)
        return Transition(features[state], one_hots[action], reward, features[following], terminal[following])

    return draw
