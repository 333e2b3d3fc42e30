"""Training an algorithm on batches of a world that is known, without environments."""

import math
from collections.abc import Callable

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.transition import Transition

LARGEST_STEP, SMALLEST_STEP = 3e-3, 1e-5


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
        weight = (1 + math.cos(math.pi * update / updates)) / 2
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = SMALLEST_STEP + weight * (LARGEST_STEP - SMALLEST_STEP)
        algorithm.update(draw(), optimizers)
        tick(1)
    algorithm.eval()
