"""A multilayer perceptron with batch renormalization."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from lightning_maxent.networks.layers import BatchRenorm, EnsembleLinear, Float32Output


class BatchRenormMLP(Float32Output):
    """Batch renormalization of the input and after the ReLU of every hidden layer.  Bhatt et al. 2019 (CrossQ).

    A critic with this network needs ``targets.JointPass``, which computes the batch statistics over (s,a) and (s',a').

    Args:
        members: number of independent networks.
        in_dim: size of the input.
        out_dim: size of the output.
        hidden_dims: widths of the hidden layers; 2 x 2048 for the critic in the paper, 2 x 256 for the policy.
        warmup: number of first passes with plain batch normalization; 100,000 in the authors' code.
    """

    def __init__(
        self,
        members: int,
        in_dim: int,
        out_dim: int,
        hidden_dims: Sequence[int] = (2048, 2048),
        warmup: int = 100_000,
    ):
        dims = [in_dim, *hidden_dims]
        hidden = [
            layer
            for pair in pairwise(dims)
            for layer in (EnsembleLinear(members, *pair), nn.ReLU(), BatchRenorm(members, pair[1], warmup=warmup))
        ]
        super().__init__(
            BatchRenorm(members, in_dim, warmup=warmup), *hidden, EnsembleLinear(members, dims[-1], out_dim)
        )
