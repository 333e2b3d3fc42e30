"""Probabilities from a network's scores."""

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import FiniteActions
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.policies.base import AbstractFinitePolicy


class Categorical(AbstractFinitePolicy):
    """The softmax of a network's outputs.  Christodoulou 2019, section 5.

    Factors of an action are drawn independently of each other: ``pi(a|s) = prod_i pi_i(a_i|s)``.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space.
        network: builds the network over the observation.
    """

    def __init__(self, obs_dim: int, actions: FiniteActions, network: NetworkBuilder = MLP):
        super().__init__()
        self.network = network(1, obs_dim, actions.dim)
        self.actions = actions

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.actions.log_softmax(self.network(obs.unsqueeze(0)).squeeze(0).float())
