"""Regression of a critic on noisy returns: minimizing its loss must bring its value to their mean."""

from collections.abc import Callable, Iterator

import torch
from torch.optim import Adam

from lightning_maxent.critics.base import CriticBuilder, ReturnDistribution
from lightning_maxent.targets import TargetBuilder
from lightning_maxent.verification.measurement import Measurement
from lightning_maxent.verification.training import set_step

BATCH, OBS_DIM, ACTION_DIM = 256, 3, 1


def regression(
    critic: CriticBuilder, target: TargetBuilder, updates: int, tick: Callable[[int], None]
) -> Iterator[Measurement]:
    """Measures the distance between ``value`` and f, relative to the standard deviation of f.

    Returns are ``f(s, a)`` plus skewed noise with mean zero.  A loss with the wrong sign makes the distance grow
    without limit.  A loss whose minimum is not at the mean of returns leaves a distance.

    Args:
        critic: builds Q.
        target: not used; every check has the same arguments.
        updates: number of updates, of 256 returns each.
        tick: called with the number of updates since its last call.
    """
    built = critic(OBS_DIM, ACTION_DIM)
    optimizer = Adam(built.parameters())
    for update in range(updates):
        set_step(optimizer, update / updates)
        obs, action = torch.randn(BATCH, OBS_DIM), torch.rand(BATCH, ACTION_DIM) * 2 - 1
        noise = (torch.empty(BATCH).exponential_() - 1) / 2
        optimizer.zero_grad()
        built.loss(built(obs, action), ReturnDistribution.certain(_truth(obs, action) + noise)).sum(0).mean().backward()
        optimizer.step()
        tick(1)
    built.eval()
    obs, action = torch.randn(1000, OBS_DIM), torch.rand(1000, ACTION_DIM) * 2 - 1
    with torch.no_grad():
        error, truth = built.value(built(obs, action)) - _truth(obs, action), _truth(obs, action)
    yield Measurement(
        "regression: distance to the mean",
        float(error.square().mean().sqrt() / truth.std()),
        0.0,
        0.2,
        "minimizing loss does not bring value to the mean of returns, or it needs more updates",
    )


def _truth(obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    return torch.sin(obs[:, 0]) + action[:, 0] * obs[:, 1].tanh()
