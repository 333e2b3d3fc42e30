"""Probabilities from a network's scores."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import FiniteActions
from lightning_maxent.networks import mlp
from lightning_maxent.policies.base import AbstractFinitePolicy


class Categorical(AbstractFinitePolicy):
    """The softmax of a ReLU network's outputs.  Christodoulou 2019, section 5.

    Factors of an action are drawn independently of each other: ``pi(a|s) = prod_i pi_i(a_i|s)``.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space.
        hidden_dims: widths of the hidden layers.
    """

    def __init__(self, obs_dim: int, actions: FiniteActions, hidden_dims: Sequence[int] = (256, 256)):
        super().__init__()
        self.network = mlp(obs_dim, hidden_dims, actions.dim)
        self.actions = actions

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        return self.actions.log_softmax(self.network(obs).float())
