"""Critics with one mistake each, of the kinds that do not raise an error and learn wrong values."""

from functools import partial

import torch

from lightning_maxent import TwinCritic
from lightning_maxent.critics.quantile import QuantileCritic
from lightning_maxent.networks import MLP, BatchRenormMLP


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
    """Normalizes by running statistics even where it learns."""

    def __init__(self, obs_dim: int, action_dim: int):
        super().__init__(obs_dim, action_dim, network=BatchRenormMLP)

    def forward(self, obs, action):
        self.network.eval()
        return super().forward(obs, action)


class Leaking(TwinCritic):
    """A member's loss that moves the other."""

    def loss(self, prediction, target):
        return super().loss(prediction, target) + 0.1 * prediction.mean(0)


class Clipping(TwinCritic):
    """Sees actions within .3 of the middle only."""

    def forward(self, obs, action):
        return super().forward(obs, action.clamp(-0.3, 0.3))


class UpperHalf(TwinCritic):
    """Sees the upper half of the box."""

    def forward(self, obs, action):
        return super().forward(obs, action.clamp(min=0))


class Edgeless(TwinCritic):
    """Sees only the part of the box without the outermost tenths."""

    def forward(self, obs, action):
        return super().forward(obs, action.clamp(-0.8, 0.8))


class OneDimension(TwinCritic):
    """Leaves the second of two dimensions out."""

    def forward(self, obs, action):
        return super().forward(obs, torch.cat((action[:, :1], 0 * action[:, 1:]), -1))


class OneEntryLess(TwinCritic):
    """Leaves the third entry of the observation out."""

    def forward(self, obs, action):
        return super().forward(torch.cat((obs[:, :2], 0 * obs[:, 2:3], obs[:, 3:]), -1), action)


class Blind(TwinCritic):
    """Sees the action alone."""

    def forward(self, obs, action):
        return super().forward(torch.zeros_like(obs), action)


class Rounding(TwinCritic):
    """Rounds to tenths, and lets the gradient through."""

    def forward(self, obs, action):
        return super().forward(obs, action + ((10 * action).round() / 10 - action).detach())


class Signs(TwinCritic):
    """Uses only the signs of the action."""

    def forward(self, obs, action):
        return super().forward(obs, action + (action.sign() - action).detach())


class StartsAtZero(TwinCritic):
    """Right: its last layer starts with weights of zero, as published value heads do."""

    def __init__(self, obs_dim: int, action_dim: int):
        super().__init__(obs_dim, action_dim)
        with torch.no_grad():
            self.network[-1].weight.zero_()


class Narrow(TwinCritic):
    """Right: two networks of four ReLUs."""

    def __init__(self, obs_dim: int, action_dim: int):
        super().__init__(obs_dim, action_dim, network=partial(MLP, hidden_dims=(4,)))
