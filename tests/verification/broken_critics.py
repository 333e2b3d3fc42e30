"""Critics with one mistake each, of the kinds that learn nonsense in silence."""

import torch

from lightning_maxent import TwinCritic
from lightning_maxent.critics.quantile import QuantileCritic
from lightning_maxent.networks import BatchRenormMLP


class Optimist(TwinCritic):
    """The larger member in place of the smaller."""

    def value(self, prediction):
        return prediction.amax(0)


class Attached(TwinCritic):
    """Lets gradients into the target."""

    def loss(self, prediction, target):
        return (prediction - target.mean()).square()


class Tied(TwinCritic):
    """Two members that are one."""

    def forward(self, obs, action):
        return super().forward(obs, action)[:1].expand(2, -1)


class WrongSign(QuantileCritic):
    """Forgets the absolute value of the weight in the quantile loss."""

    def loss(self, prediction, target):
        levels = (torch.arange(prediction.shape[-1]) + 0.5) / prediction.shape[-1]
        error = target.atoms.detach().unsqueeze(-2) - prediction.unsqueeze(-1)
        weight = levels.unsqueeze(-1) - (error < 0).float()
        return (weight * error.square() * target.probs.detach().unsqueeze(-2)).sum(-1).mean(-1)


class Resting(TwinCritic):
    """Normalises by running statistics even where it learns."""

    def __init__(self, obs_dim: int, action_dim: int):
        super().__init__(obs_dim, action_dim, network=BatchRenormMLP)

    def forward(self, obs, action):
        self.network.eval()
        return super().forward(obs, action)


class Leaking(TwinCritic):
    """A member's loss that moves the other."""

    def loss(self, prediction, target):
        return super().loss(prediction, target) + 0.1 * prediction.mean(0)
