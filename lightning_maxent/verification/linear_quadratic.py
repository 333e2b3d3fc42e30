"""The linear-quadratic world: compares the learned Q and the learned policy with the closed form."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_maxent.actions import BoxActions
from lightning_maxent.algorithms.continuous import ActorCritic
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.algorithms.value_sac import ValueSAC
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exact import LinearQuadratic, solve_linear_quadratic
from lightning_maxent.networks import MLP
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.targets import TargetBuilder
from lightning_maxent.temperature import FixedTemperature
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue
from lightning_maxent.verification.measurement import LOOK, Measurement
from lightning_maxent.verification.training import follows_v, train

WORLD = LinearQuadratic(  # a mass on a line; these costs keep soft returns within (-5, 5) and actions far from +-1
    dynamics=np.array([[1.0, 0.2], [0.0, 0.8]]),
    control=np.array([[0.0], [0.5]]),
    state_cost=0.3 * np.eye(2),
    action_cost=np.array([[1.2]]),
    discount=0.8,
)
ALPHA, BATCH, WIDTH = 0.1, 128, 0.8
SMALL = partial(MLP, hidden_dims=(64, 64))


def linear_quadratic(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """``SAC`` on transitions from uniformly distributed states and actions.

    Args:
        critic: builds Q.
        target: builds the target, which gives the value of the next state.
        updates: number of updates, of 128 transitions each.
        tick: called with the number of updates since its last call.
    """
    yield from errors(SAC(critic=critic, target=target, **_parts()), updates, tick)


def linear_quadratic_with_value(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """The same with ``ValueSAC``; no check if the target cannot be a copy of V."""
    if follows_v(target):
        value = partial(StateValue, network=SMALL)
        yield from errors(ValueSAC(critic=critic, target=target, value=value, **_parts()), updates, tick)
    else:
        tick(updates)


def _parts() -> dict[str, Any]:
    return {
        "obs_dim": 2,
        "actions": BoxActions(1),
        "policy": partial(SquashedGaussian, network=SMALL),
        "temperature": partial(FixedTemperature, alpha=ALPHA),
        "discount": WORLD.discount,
    }


def errors(algorithm: ActorCritic, updates: int, tick: Callable[[int], None]) -> Iterator[Measurement]:
    """Train an algorithm, and compare its Q and its policy with the exact ones for its temperature."""
    name = f"linear-quadratic, {type(algorithm).__name__}"
    train(algorithm, _draw, updates, tick)
    exact = solve_linear_quadratic(WORLD, float(algorithm.temperature().detach()))
    batch = _uniform(2000, 2, WIDTH), _uniform(2000, 1, 1.0)
    obs = _uniform(2000, 2, WIDTH / 2)
    with torch.no_grad():
        q = algorithm.q_value(*batch)
        mean = algorithm.act(obs, deterministic=True)
        samples = torch.stack([algorithm.act(obs) for _ in range(50)])
    truth = torch.as_tensor(exact.q_value(*(x.numpy() for x in batch))).float()
    error = (q - truth).abs().mean() / (truth.max() - truth.min())
    yield Measurement(f"{name}: error of Q over its range", float(error), 0.0, 0.03, LOOK)
    right = torch.as_tensor(exact.policy.mean(obs.numpy())).float()
    std = float(exact.policy.covariance[0, 0] ** 0.5)
    yield Measurement(
        f"{name}: error of actions over their spread",
        float((mean - right).abs().mean() / std),
        0.0,
        0.15,
        "the gradient of value in the action is wrong",
    )
    yield Measurement(
        f"{name}: spread of actions",
        float(samples.std(0).mean()),
        std,
        0.1 * std,
        "the curvature of value in the action is wrong",
    )


def _draw() -> Transition:
    obs, action = _uniform(BATCH, 2, WIDTH), _uniform(BATCH, 1, 1.0)
    reward, following = WORLD.reward(obs.numpy(), action.numpy()), WORLD.mean_after(obs.numpy(), action.numpy())
    return Transition(
        obs,
        action,
        torch.as_tensor(reward).float(),
        torch.as_tensor(following).float(),
        torch.zeros(BATCH, dtype=torch.bool),
    )


def _uniform(count: int, dim: int, width: float) -> Tensor:
    return (torch.rand(count, dim) * 2 - 1) * width
