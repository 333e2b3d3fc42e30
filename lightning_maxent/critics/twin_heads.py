"""Two independent soft Q-functions with an output for every finite action."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, Returns
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.objectives import Error, squared_error


class TwinHeadsCritic(AbstractCritic):
    """Q1 and Q2 of all actions in one pass; the minimum, action by action, counters overestimation.

    The outputs and the two networks are those of Christodoulou 2019, section 5 (SAC) and of Mnih et al. 2015 (DQN).
    For an action of several factors Q is the sum of one output for each, and the minimum is taken factor by factor.
    Without hidden layers and on one-hot observations this is a table.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: number of outputs: of actions, or of the choices of all factors together.
        network: builds the two networks over the observation.
        error: of a prediction against its target; ``objectives.huber_error`` heeds rare catastrophes less.
    """

    def __init__(self, obs_dim: int, action_dim: int, network: NetworkBuilder = MLP, error: Error = squared_error):
        super().__init__()
        self.error = error
        self.network = network(2, obs_dim, action_dim)

    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch"]:
        return (self._heads(obs) * action).sum(-1)

    def every_action(
        self, obs: Float[Tensor, "batch obs_dim"], actions: Float[Tensor, "action action_dim"]
    ) -> Float[Tensor, "member batch action"]:
        heads = self._heads(obs)
        with torch.autocast(obs.device.type, enabled=False):  # a product with zeros and ones must not round
            return heads @ actions.T

    def _heads(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "member batch action_dim"]:
        return self.network(obs.expand(2, *obs.shape)).float()

    def value(self, prediction: Float[Tensor, "member batch"]) -> Float[Tensor, " batch"]:
        return prediction.amin(0)

    def loss(self, prediction: Float[Tensor, "member batch"], target: Returns) -> Float[Tensor, "member batch"]:
        return self.error(prediction, target.mean())
