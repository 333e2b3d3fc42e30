"""The only shared layer code."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class EnsembleLinear(nn.Module):
    """``member`` independent linear layers as one batched product: ``[member, batch, in] -> [member, batch, out]``.

    Each member is initialised on its own, uniformly in ``±1/sqrt(in)`` like ``torch.nn.Linear``.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int):
        super().__init__()
        bound = 1 / math.sqrt(in_dim)
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, out_dim).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "member batch in"]) -> Float[Tensor, "member batch out"]:
        return torch.baddbmm(self.bias, x, self.weight)


def mlp(in_dim: int, hidden_dims: Sequence[int], out_dim: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    dims = [in_dim, *hidden_dims, out_dim]
    layers = [layer for pair in pairwise(dims) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def ensemble_mlp(members: int, in_dim: int, hidden_dims: Sequence[int], out_dim: int) -> nn.Sequential:
    """The same for ``member`` networks side by side, on ``[member, batch, in]``."""
    dims = [in_dim, *hidden_dims, out_dim]
    layers = [layer for pair in pairwise(dims) for layer in (EnsembleLinear(members, *pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
