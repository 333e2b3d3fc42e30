"""The soft state value V(s)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.networks import mlp


class StateValue(nn.Module):
    """V as a ReLU network; 2 x 256 in Haarnoja et al. 2018a, table 1.

    Args:
        obs_dim: size of the flattened observation.
        hidden_dims: widths of the hidden layers.
    """

    def __init__(self, obs_dim: int, hidden_dims: Sequence[int] = (256, 256)):
        super().__init__()
        self.network = mlp(obs_dim, hidden_dims, 1)

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, " batch"]:
        """Soft values in float32 under every precision."""
        return self.network(obs).float().squeeze(-1)
