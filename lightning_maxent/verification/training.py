"""Training an algorithm on batches of a world that is known, without environments."""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.targets import AbstractJointTarget, TargetBuilder
from lightning_maxent.transition import Transition

LARGEST_STEP, SMALLEST_STEP = 3e-3, 1e-5


def set_step(optimizer: Optimizer, passed: float) -> None:
    """Set the step size for a moment between 0, the start, and 1, the end."""
    for group in optimizer.param_groups:
        group["lr"] = SMALLEST_STEP + (1 + math.cos(math.pi * passed)) / 2 * (LARGEST_STEP - SMALLEST_STEP)


def train(
    algorithm: AbstractAlgorithm, draw: Callable[[], Transition], updates: int, tick: Callable[[int], None]
) -> None:
    """So many updates of every network, with steps that shrink along a cosine.

    Args:
        algorithm: with Adam as its optimizers.
        draw: gives a batch.
        updates: how many.
        tick: told how many updates were carried out since it was told last.
    """
    optimizers = dict(zip(algorithm.trained_networks(), algorithm.configure_optimizers()))
    algorithm.train()
    for update in range(updates):
        for optimizer in optimizers.values():
            set_step(optimizer, update / updates)
        algorithm.update(draw(), optimizers)
        tick(1)
    algorithm.eval()


def follows_v(target: TargetBuilder) -> bool:
    """Whether the target can be the slow copy of V; one that asks a critic for both pairs of a transition cannot."""
    return not isinstance(target(nn.Linear(1, 1)), AbstractJointTarget)
