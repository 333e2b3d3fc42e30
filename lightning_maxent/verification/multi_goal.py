"""The multi-goal world: compares the learned V with the exact one, and checks that all four modes are sampled."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from lightning_maxent.actions import BoxActions
from lightning_maxent.algorithms.continuous_soft_q_learning import ContinuousSoftQLearning
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exact import MultiGoal, solve_multi_goal
from lightning_maxent.networks import MLP
from lightning_maxent.particles import UniformParticles
from lightning_maxent.policies.stein_sampler import SteinSampler
from lightning_maxent.policy_updates import SteinUpdate
from lightning_maxent.targets import TargetBuilder
from lightning_maxent.temperature import FixedTemperature
from lightning_maxent.transition import Transition
from lightning_maxent.verification.measurement import LOOK, Measurement
from lightning_maxent.verification.training import train

ALPHA, SCALE, DISCOUNT, BATCH, WIDTH = 0.2, 0.02, 0.8, 64, 5.0  # soft returns within (-5, 5)


def multi_goal(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """``ContinuousSoftQLearning`` on transitions from uniformly distributed states and actions.

    Args:
        critic: builds Q.
        target: builds the target, which gives the value of the next state.
        updates: number of updates, of 64 transitions each.
        tick: called with the number of updates since its last call.
    """
    world = MultiGoal()
    algorithm = ContinuousSoftQLearning(
        2,
        BoxActions(2),
        critic=critic,
        policy=partial(SteinSampler, network=partial(MLP, hidden_dims=(64, 64))),
        policy_update=SteinUpdate(16),
        target=target,
        particles=UniformParticles(32),  # with 16, the accumulated bias of V is half the tolerance
        temperature=partial(FixedTemperature, alpha=ALPHA),
        discount=DISCOUNT,
    )
    train(algorithm, partial(_draw, world), updates, tick)
    exact = solve_multi_goal(world, ALPHA, SCALE, DISCOUNT)
    algorithm.particles = UniformParticles(256)  # to compute V from Q
    obs = _uniform(300, WIDTH)
    obs = obs[torch.as_tensor(~world.there(obs.numpy()))]
    with torch.no_grad():
        value = algorithm.value_and_entropy(obs)[0]
    truth = torch.as_tensor(exact.value(obs.numpy())).float()
    error = (value - truth).abs().mean() / (truth.max() - truth.min())
    yield Measurement("multi-goal: error of V over its range", float(error), 0.0, 0.05, LOOK)
    action = algorithm.act(torch.zeros(4000, 2))
    shares = torch.bincount(
        (action @ torch.tensor([[1.0, 1.0], [1.0, -1.0]]) > 0).long() @ torch.tensor([1, 2]), minlength=4
    )
    yield Measurement(
        "multi-goal: rarest of four directions",
        float(shares.min()) / len(action),
        0.25,
        0.1,
        "value prefers some of the four equivalent goals",
    )


def _draw(world: MultiGoal) -> Transition:
    obs, action = _uniform(BATCH, WIDTH), _uniform(BATCH, 1.0)
    following = world.after(obs.numpy(), action.numpy())
    return Transition(
        obs,
        action,
        torch.as_tensor(SCALE * world.reward(obs.numpy(), action.numpy())).float(),
        torch.as_tensor(following).float(),
        torch.as_tensor(world.there(following)),
    )


def _uniform(count: int, width: float) -> Tensor:
    return (torch.rand(count, 2) * 2 - 1) * width
