"""Two independent soft Q-functions; their minimum is used."""

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution, ask_members
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.objectives import Error, squared_error


class TwinCritic(AbstractCritic):
    """Two networks Q1 and Q2; their minimum reduces overestimation.  Haarnoja et al. 2018a, section 4.2.

    In the code published with that paper, the policy maximizes Q1.  Here, as in Haarnoja et al. 2018b, it maximizes the
    minimum.

    Args:
        obs_dim: size of the flattened observation.
        action_dim: size of the action.
        network: builds the two networks, whose input is the observation and the action.
        error: the error of a prediction against its target; ``objectives.huber_error`` gives less weight to rare, very
            low returns.
    """

    def __init__(self, obs_dim: int, action_dim: int, network: NetworkBuilder = MLP, error: Error = squared_error):
        super().__init__()
        self.error = error
        self.network = network(2, obs_dim + action_dim, 1)

    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch"]:
        return ask_members(self.network, 2, obs, action).squeeze(-1)

    def value(self, prediction: Float[Tensor, "member batch"]) -> Float[Tensor, " batch"]:
        return prediction.amin(0)

    def loss(
        self, prediction: Float[Tensor, "member batch"], target: ReturnDistribution
    ) -> Float[Tensor, "member batch"]:
        return self.error(prediction, target.mean())
