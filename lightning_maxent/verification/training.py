"""Trains an algorithm on given batches, without an environment."""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import Optimizer

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.targets import AbstractJointTarget, TargetBuilder
from lightning_maxent.transition import Transition

LARGEST_STEP, SMALLEST_STEP = 3e-3, 1e-5


def set_step(optimizer: Optimizer, passed: float) -> None:
    """Set the learning rate of a cosine schedule.

    Args:
        optimizer: the optimizer.
        passed: the part of training that has passed, in [0, 1].
    """
    for group in optimizer.param_groups:
        group["lr"] = SMALLEST_STEP + (1 + math.cos(math.pi * passed)) / 2 * (LARGEST_STEP - SMALLEST_STEP)


def train(
    algorithm: AbstractAlgorithm, draw: Callable[[], Transition], updates: int, tick: Callable[[int], None]
) -> None:
    """Update every network, with learning rates that follow a cosine from ``LARGEST_STEP`` to ``SMALLEST_STEP``.

    Args:
        algorithm: its optimizers must be Adam, for which these learning rates were chosen.
        draw: returns a batch.
        updates: number of updates.
        tick: called with the number of updates since its last call.
    """
    optimizers = algorithm.build_optimizers()
    algorithm.train()
    for update in range(updates):
        for optimizer in optimizers.values():
            set_step(optimizer, update / updates)
        algorithm.update(draw(), optimizers)
        tick(1)
    algorithm.eval()


def follows_v(target: TargetBuilder) -> bool:
    """Whether the target can be a slow copy of V; a target that needs both pairs of a transition cannot."""
    return not isinstance(target(nn.Linear(1, 1)), AbstractJointTarget)
