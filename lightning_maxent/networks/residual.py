"""Residual networks with layer normalization."""

from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.networks.layers import EnsembleLayerNorm, EnsembleLinear, Float32Output, he_normal, orthogonal


class Residual(nn.Sequential):
    """``x + f(x)``, with the given layers as f."""

    def forward(self, input: Float[Tensor, "member batch dim"]) -> Float[Tensor, "member batch dim"]:
        return input + super().forward(input)


class SimBa(Float32Output):
    """A linear path from input to output, on which blocks of normalized features are added.  Lee et al. 2024, section 4.

    SimBa (arXiv 2410.09754): embedding, blocks ``x + W2 relu(W1 LayerNorm(x))``, layer normalization, output.

    Args:
        members: networks side by side.
        in_dim: size of the input.
        out_dim: size of the output.
        width: of the path; 512 for the critic in the paper, 128 for the policy.
        blocks: how many; 2 for the critic in the paper, 1 for the policy.
        expansion: width of a block's inner layer over that of the path; 4 in the paper.
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
    """Blocks that end in layer normalization.  Nauman et al. 2024 (BRO, arXiv 2405.16158), section 3.

    Linear, layer normalization, ReLU; blocks ``x + LayerNorm(W2 relu(LayerNorm(W1 x)))``; output.

    Args:
        members: networks side by side.
        in_dim: size of the input.
        out_dim: size of the output.
        width: 512 for the critic in the paper, 256 for the policy.
        blocks: how many; 2 for the critic in the paper, 1 for the policy.
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
