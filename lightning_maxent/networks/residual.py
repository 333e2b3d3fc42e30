"""Residual networks with layer normalization."""

from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.networks.layers import EnsembleLayerNorm, EnsembleLinear, Float32Output, he_normal, orthogonal


class Residual(nn.Sequential):
    """``x + f(x)``, where f is the sequence of the given layers."""

    def forward(self, input: Float[Tensor, "member batch dim"]) -> Float[Tensor, "member batch dim"]:
        return input + super().forward(input)


class SimBa(Float32Output):
    """A residual network with layer normalization before each block.  Lee et al. 2024, section 4.

    SimBa (arXiv 2410.09754): embedding, blocks ``x + W2 relu(W1 LayerNorm(x))``, layer normalization, output.

    Args:
        members: number of independent networks.
        in_dim: size of the input.
        out_dim: size of the output.
        width: width of the residual path; in the paper 512 for the critic and 128 for the policy.
        blocks: number of residual blocks; in the paper 2 for the critic and 1 for the policy.
        expansion: width of the inner layer of a block divided by ``width``; 4 in the paper.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int, width: int = 512, blocks: int = 2, expansion: int = 4):
        def block() -> Residual:
            return Residual(
                EnsembleLayerNorm(members, width),
                he_normal(EnsembleLinear(members, width, expansion * width)),
                nn.ReLU(),
                he_normal(EnsembleLinear(members, expansion * width, width)),
            )

        super().__init__(
            orthogonal(EnsembleLinear(members, in_dim, width)),
            *[block() for _ in range(blocks)],
            EnsembleLayerNorm(members, width),
            orthogonal(EnsembleLinear(members, width, out_dim)),
        )


class BroNet(Float32Output):
    """A residual network with layer normalization at the end of each block.

    Nauman et al. 2024 (BRO, arXiv 2405.16158), section 3: linear, layer normalization, ReLU; blocks
    ``x + LayerNorm(W2 relu(LayerNorm(W1 x)))``; output.

    Args:
        members: number of independent networks.
        in_dim: size of the input.
        out_dim: size of the output.
        width: width of all layers; in the paper 512 for the critic and 256 for the policy.
        blocks: number of residual blocks; in the paper 2 for the critic and 1 for the policy.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int, width: int = 512, blocks: int = 2):
        def layer(in_dim: int) -> tuple[nn.Module, nn.Module]:
            return orthogonal(EnsembleLinear(members, in_dim, width), 2**0.5), EnsembleLayerNorm(members, width)

        super().__init__(
            *layer(in_dim),
            nn.ReLU(),
            *[Residual(*layer(width), nn.ReLU(), *layer(width)) for _ in range(blocks)],
            orthogonal(EnsembleLinear(members, width, out_dim), 2**0.5),
        )
