"""Multilayer perceptrons: with ReLU, with tanh, and with dropout and layer normalization."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from lightning_maxent.networks.layers import EnsembleLayerNorm, EnsembleLinear, Float32Output, orthogonal


class MLP(Float32Output):
    """Linear layers with ReLU between them.

    Args:
        members: number of independent networks.
        in_dim: size of the input.
        out_dim: size of the output.
        hidden_dims: widths of the hidden layers; 2 x 256 in Haarnoja et al. 2018a, table 1.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int, hidden_dims: Sequence[int] = (256, 256)):
        dims = [in_dim, *hidden_dims]
        hidden = [layer for pair in pairwise(dims) for layer in (EnsembleLinear(members, *pair), nn.ReLU(inplace=True))]
        super().__init__(*hidden, EnsembleLinear(members, dims[-1], out_dim))


class TanhMLP(Float32Output):
    """Linear layers with tanh between them and orthogonal initialization.  Huang et al. 2022 ("The 37 Implementation
    Details of Proximal Policy Optimization", ICLR blog track), details 2 and continuous 1.

    Args:
        members: number of independent networks.
        in_dim: size of the input.
        out_dim: size of the output.
        hidden_dims: widths of the hidden layers; 2 x 64 in Schulman et al. 2017b, section 6.1.
        out_gain: gain of the last layer; in Huang et al. .01 for policies, which makes all actions equally likely at
            first, and 1 for V.
    """

    def __init__(
        self,
        members: int,
        in_dim: int,
        out_dim: int,
        hidden_dims: Sequence[int] = (64, 64),
        out_gain: float = 0.01,
    ):
        dims = [in_dim, *hidden_dims]
        hidden = [
            layer
            for pair in pairwise(dims)
            for layer in (orthogonal(EnsembleLinear(members, *pair), math.sqrt(2)), nn.Tanh())
        ]
        super().__init__(*hidden, orthogonal(EnsembleLinear(members, dims[-1], out_dim), out_gain))


class DropoutMLP(Float32Output):
    """Every hidden layer is linear, dropout, layer normalization, ReLU.  Hiraoka et al. 2021 (DroQ), figure 1.

    Dropout is active in all updates: those of the critic, and those of other networks that use its values.

    Args:
        members: number of independent networks.
        in_dim: size of the input.
        out_dim: size of the output.
        hidden_dims: widths of the hidden layers; 2 x 256 in the paper.
        dropout: probability that a unit is dropped.  The authors published two codes: one has .01, the other .0001 to
            .1 depending on the task.
    """

    def __init__(
        self, members: int, in_dim: int, out_dim: int, hidden_dims: Sequence[int] = (256, 256), dropout: float = 0.01
    ):
        dims = [in_dim, *hidden_dims]
        hidden = [
            layer
            for pair in pairwise(dims)
            for layer in (
                EnsembleLinear(members, *pair),
                nn.Dropout(dropout),
                EnsembleLayerNorm(members, pair[1]),
                nn.ReLU(),
            )
        ]
        super().__init__(*hidden, EnsembleLinear(members, dims[-1], out_dim))
