"""The soft state value V(s)."""

from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.networks import MLP, NetworkBuilder


class StateValue(nn.Module):
    """V as a network.  Haarnoja et al. 2018a, section 4.2.

    Args:
        obs_dim: size of the flattened observation.
        network: builds the network over the observation.
    """

    def __init__(self, obs_dim: int, network: NetworkBuilder = MLP):
        super().__init__()
        self.network = network(1, obs_dim, 1)

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, " batch"]:
        """Soft values in float32 under every precision."""
        return self.network(obs.unsqueeze(0)).float()[0, :, 0]
