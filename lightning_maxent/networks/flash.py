"""The network of FlashSAC, which bounds the norms of weights and features."""

from torch import nn

from lightning_maxent.networks.layers import Float32Output, UnitBatchNorm, UnitLinear, UnitRMSNorm
from lightning_maxent.networks.residual import Residual


class FlashNet(Float32Output):
    """Inverted residual blocks with unit-norm weights and batch normalization before every ReLU.  FlashSAC.

    FlashSAC (arXiv 2604.04539) and its published code: batch normalization of the input, embedding, blocks
    ``x + relu(BN(W2 relu(BN(W1 x))))``, RMS normalization, output with an unconstrained bias.  A critic with this
    network needs ``targets.JointPolyakTarget``.

    Args:
        members: number of independent networks.
        in_dim: size of the input.
        out_dim: size of the output.
        width: width of the residual path; in the code 256 for the critic and 128 for the policy.
        blocks: number of residual blocks; 2 in the code.
        expansion: width of the inner layer of a block divided by ``width``; 4 in the code.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int, width: int = 256, blocks: int = 2, expansion: int = 4):
        def layer(in_dim: int, out_dim: int) -> tuple[nn.Module, ...]:
            return UnitLinear(members, in_dim, out_dim), UnitBatchNorm(members, out_dim), nn.ReLU()

        inner = expansion * width
        super().__init__(
            UnitBatchNorm(members, in_dim),
            UnitLinear(members, in_dim, width),
            *[Residual(*layer(width, inner), *layer(inner, width)) for _ in range(blocks)],
            UnitRMSNorm(members, width),
            UnitLinear(members, width, out_dim, bias=True),
        )
