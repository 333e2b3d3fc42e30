"""The soft state value V(s)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.contracts import check_numbers, without_side_effects
from lightning_maxent.errors import MaxEntError, errors_of
from lightning_maxent.networks import MLP, NetworkBuilder
from lightning_maxent.networks.layers import float32_or_more

ValueBuilder = Callable[[int], nn.Module]
"""Builds V from ``obs_dim``."""


class StateValue(nn.Module):
    """V as a network.  Haarnoja et al. 2018a, section 4.2.

    Args:
        obs_dim: size of the flattened observation.
        network: builds the network, whose input is the observation.
    """

    def __init__(self, obs_dim: int, network: NetworkBuilder = MLP):
        super().__init__()
        self.network = network(1, obs_dim, 1)

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, " batch"]:
        """Soft values in units of reward, in float32 under every precision."""
        return float32_or_more(self.network(obs.unsqueeze(0)))[0, :, 0]


def build_value(builder: ValueBuilder, obs_dim: int) -> nn.Module:
    """Build V and check, on three random states, that it gives one number for each.

    Raises:
        MaxEntError: if it does not; the message gives the expected and the actual result.
    """
    with errors_of("Building the value"):
        value = builder(obs_dim)
    with without_side_effects(value, "three states"), torch.no_grad():
        given = value(torch.randn(3, obs_dim))
    method = f"{type(value).__name__}.forward"
    if not isinstance(given, Tensor):
        raise MaxEntError(
            f"{method} must give a tensor with one value for every state, but gave a {type(given).__name__}."
        )
    check_numbers(method, "a value for each of three states", given, (3,))
    return value
