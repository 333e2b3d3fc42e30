"""A policy for environments with finite or continuous actions."""

from lightning_maxent.actions import AbstractActions, FiniteActions
from lightning_maxent.networks import NetworkBuilder, TanhMLP
from lightning_maxent.policies.base import AbstractExplicitPolicy
from lightning_maxent.policies.categorical import Categorical
from lightning_maxent.policies.gaussian import Gaussian


class GaussianOrCategorical(AbstractExplicitPolicy):
    """Builds ``Categorical`` for finite actions and ``Gaussian`` for continuous actions.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space.
        network: builds the network, whose input is the observation.
        initial_std: standard deviation of ``Gaussian`` at the start; not used for finite actions.
        largest_std: upper bound of the standard deviation; not used for finite actions.
    """

    def __new__(
        cls,
        obs_dim: int,
        actions: AbstractActions,
        network: NetworkBuilder = TanhMLP,
        initial_std: float = 1.0,
        largest_std: float = 2.0,
    ) -> AbstractExplicitPolicy:
        if isinstance(actions, FiniteActions):
            return Categorical(obs_dim, actions, network)
        return Gaussian(obs_dim, actions, network, initial_std, largest_std)

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        network: NetworkBuilder = TanhMLP,
        initial_std: float = 1.0,
        largest_std: float = 2.0,
    ):
        """Never called, because ``__new__`` returns another class; the command line reads the arguments from here."""
