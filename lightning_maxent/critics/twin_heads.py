"""Two independent soft Q-functions with an output for every finite action."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.objectives import Error, squared_error


class TwinHeadsCritic(AbstractCritic):
    """Q1 and Q2 of all actions in one pass; the minimum, action by action, counters overestimation.

    The outputs and the two networks are those of Christodoulou 2019, section 5 (SAC) and of Mnih et al. 2015 (DQN).
    Without hidden layers and on one-hot observations this is a table.

    For an action of several factors Q is the sum of one output for each, and the minimum is taken factor by factor,
    since that of their sums is none.  Its underestimate grows as the number F of factors, where that of the minimum of
    sums grows as sqrt(F): with members whose errors are independent and add up to a deviation of 1, three choices
    per factor and a uniform policy, it is -1.49 for ten factors in place of -.57.  A ``pessimism`` of 1 / sqrt(F), .32 for ten, gives -.47.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: number of outputs: of actions, or of the choices of all factors together.
        network: builds the two networks over the observation.
        error: of a prediction against its target; ``objectives.huber_error`` heeds rare catastrophes less.
        pessimism: the way from the mean of the two, 0, to their minimum, 1.

    Raises:
        MaxEntError: for a pessimism outside [0, 1].
    """

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        network: NetworkBuilder = MLP,
        error: Error = squared_error,
        pessimism: float = 1.0,
    ):
        super().__init__()
        if not 0 <= pessimism <= 1:
            raise MaxEntError(f"pessimism must lie between 0, the mean, and 1, the minimum, but is {pessimism}.")
        self.error, self.pessimism = error, pessimism
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
        return prediction.mean(0).lerp(prediction.amin(0), self.pessimism)

    def loss(
        self, prediction: Float[Tensor, "member batch"], target: ReturnDistribution
    ) -> Float[Tensor, "member batch"]:
        return self.error(prediction, target.mean())
