"""Critics that users might write, each with a mistake."""

import torch
from torch import Tensor

from lightning_maxent import AbstractCritic
from lightning_maxent.critics.base import ReturnDistribution


class ColumnCritic(AbstractCritic):
    """Forgets to drop the last dimension, which would broadcast."""

    def __init__(self, obs_dim: int, action_dim: int):
        super().__init__()
        self.network = torch.nn.Linear(obs_dim + action_dim, 1)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.network(torch.cat((obs, action), -1)).unsqueeze(0)

    def value(self, prediction: Tensor) -> Tensor:
        return prediction.mean(0)


class FailingCritic(AbstractCritic):
    """Right, but raises at one of its later losses."""

    def __init__(self, obs_dim: int, action_dim: int, after: int):
        super().__init__()
        self.network = torch.nn.Linear(obs_dim + action_dim, 1)
        self.losses_left = after

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.network(torch.cat((obs, action), -1)).T

    def value(self, prediction: Tensor) -> Tensor:
        return prediction.mean(0)

    def loss(self, prediction: Tensor, target: ReturnDistribution) -> Tensor:
        self.losses_left -= 1
        if self.losses_left == 0:
            raise ArithmeticError("a mistake on purpose")
        return super().loss(prediction, target)
