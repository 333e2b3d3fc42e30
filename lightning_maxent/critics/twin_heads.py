"""Two independent soft Q-functions with an output for every finite action."""

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.networks.layers import float32_or_more
from lightning_maxent.objectives import Error, squared_error


class TwinHeadsCritic(AbstractCritic):
    """Two networks Q1 and Q2 with one output per action; the minimum of each action reduces overestimation.

    One output per action as in DQN (Mnih et al. 2015), two networks as in SAC for finite actions (Christodoulou 2019,
    section 5).  Without hidden layers and with one-hot observations, this is a table.

    For an action of several factors, Q is the sum of one output per factor, and the minimum is taken for each factor
    separately, because the minimum of the sums is not itself a sum over factors.  This minimum is lower: its
    underestimation grows in proportion to the number F of factors, that of the minimum of the sums only with sqrt(F).
    Example: ten factors with three choices each, a uniform policy, and independent errors whose sum has a standard
    deviation of 1.  The underestimation is then -1.49 instead of -.57.  A ``pessimism`` of 1 / sqrt(F), .32 for ten
    factors, gives -.47.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: number of outputs: the number of actions, or the sum of the numbers of choices of all factors.
        network: builds the two networks, whose input is the observation.
        error: the error of a prediction against its target; ``objectives.huber_error`` gives less weight to rare, very
            low returns.
        pessimism: 0 for the mean of Q1 and Q2, 1 for their minimum; values between interpolate linearly.

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
        with torch.autocast(obs.device.type, enabled=False):  # actions are zeros and ones: the product must be exact
            return heads @ actions.T

    def _heads(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "member batch action_dim"]:
        return float32_or_more(self.network(obs.expand(2, *obs.shape)))

    def value(self, prediction: Float[Tensor, "member batch"]) -> Float[Tensor, " batch"]:
        return prediction.mean(0).lerp(prediction.amin(0), self.pessimism)

    def loss(
        self, prediction: Float[Tensor, "member batch"], target: ReturnDistribution
    ) -> Float[Tensor, "member batch"]:
        return self.error(prediction, target.mean())
