"""A policy for finite actions: the softmax of a network's outputs."""

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions, FiniteActions
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.networks.layers import float32_or_more
from lightning_maxent.policies.base import AbstractFinitePolicy


class Categorical(AbstractFinitePolicy):
    """The softmax of a network's outputs.  Christodoulou 2019, section 5.

    The factors of an action are independent: ``pi(a|s) = prod_i pi_i(a_i|s)``.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be finite.
        network: builds the network, whose input is the observation.

    Raises:
        MaxEntError: for continuous actions.
    """

    def __init__(self, obs_dim: int, actions: AbstractActions, network: NetworkBuilder = MLP):
        if not isinstance(actions, FiniteActions):
            raise MaxEntError("Categorical is for finite actions, but this environment's are continuous: use Gaussian.")
        super().__init__(actions)
        self.network = network(1, obs_dim, actions.dim)

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.actions.log_softmax(float32_or_more(self.network(obs.unsqueeze(0)).squeeze(0)))
