"""Layers of several independent networks on ``[member, batch, in]``; every member has its own parameters."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lightning_maxent.errors import MaxEntError


class EnsembleLinear(nn.Module):
    """``member`` independent linear layers as one batched product: ``[member, batch, in] -> [member, batch, out]``.

    Members are initialized independently, uniformly in ``±1/sqrt(in)`` as in ``torch.nn.Linear``.

    Raises:
        MaxEntError: for a size below one.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int):
        super().__init__()
        if min(members, in_dim, out_dim) < 1:
            raise MaxEntError(
                f"A layer cannot have {members} networks from {in_dim} to {out_dim} units: widths must be at least 1."
            )
        bound = 1 / math.sqrt(in_dim)
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, out_dim).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "member batch in"]) -> Float[Tensor, "member batch out"]:
        return torch.baddbmm(self.bias, x, self.weight)


def float32_or_more(x: Tensor) -> Tensor:
    """``x`` in float32, or in float64 if it is float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Float32Output(nn.Sequential):
    """A sequence of layers; the last one computes in float32 or float64 under every precision.

    In bfloat16, a value of 1,003 would become 1,004, and small differences between two critics would disappear.
    """

    def forward(self, input: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        *hidden, last = self
        for layer in hidden:
            input = layer(input)
        with torch.autocast(input.device.type, enabled=False):
            return last(float32_or_more(input))


def orthogonal(layer: EnsembleLinear, gain: float = 1.0) -> EnsembleLinear:
    """Reinitialize a layer with orthogonal matrices times ``gain`` and zero bias, and return it."""
    for weight in layer.weight.data:
        nn.init.orthogonal_(weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def he_normal(layer: EnsembleLinear) -> EnsembleLinear:
    """Reinitialize a layer with weights from ``N(0, 2/in)`` and zero bias, and return it.  He et al. 2015, eq. 10."""
    nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.weight.shape[1]))
    nn.init.zeros_(layer.bias)
    return layer


def center(
    x: Float[Tensor, "member batch dim"],
) -> tuple[Float[Tensor, "member batch dim"], Float[Tensor, "member 1 dim"], Float[Tensor, "member 1 dim"]]:
    """The batch minus its mean, its mean, and its variance, divided by the batch size (not by the size minus one).

    ``torch.var_mean`` over the batch is several times slower on a CPU.
    """
    mean = x.mean(1, keepdim=True)
    centered = x - mean
    return centered, mean, centered.square().mean(1, keepdim=True)


class EnsembleLayerNorm(nn.Module):
    """Layer normalization (Ba et al. 2016, arXiv 1607.06450) with a scale and a shift for each member."""

    def __init__(self, members: int, dim: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, 1, dim))
        self.shift = nn.Parameter(torch.zeros(members, 1, dim))

    def forward(self, x: Float[Tensor, "member batch dim"]) -> Float[Tensor, "member batch dim"]:
        return torch.addcmul(self.shift, self.scale, functional.layer_norm(x, x.shape[-1:]))


class BatchRenorm(nn.Module):
    """Batch renormalization: training uses corrected batch statistics, evaluation the running statistics.

    Ioffe 2017 (arXiv 1702.03275).  In training, ``x' = (x - m) / s * r + d`` with the mean m and standard deviation s
    of the batch.  ``r = s / S`` and ``d = (m - M) / S`` correct towards the running mean M and standard deviation S;
    they are clipped and have no gradient.  In the first ``warmup`` passes ``r = 1`` and ``d = 0``, which is batch
    normalization.  In evaluation, ``x' = (x - M) / S``.  Statistics are float32.

    Args:
        members: number of independent networks.
        dim: size of the input.
        momentum: weight of the newest batch in the running statistics; .01 in CrossQ (Bhatt et al. 2019).
        epsilon: added to variances; .001 in CrossQ's code.
        r_max: ``r`` is clipped to ``[1 / r_max, r_max]``; 3 in CrossQ's code.
        d_max: ``d`` is clipped to ``[-d_max, d_max]``; 5 in CrossQ's code.
        warmup: number of first passes with plain batch normalization; 100,000 in CrossQ's code.
    """

    def __init__(
        self,
        members: int,
        dim: int,
        momentum: float = 0.01,
        epsilon: float = 1e-3,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup: int = 100_000,
    ):
        super().__init__()
        self.momentum, self.epsilon, self.r_max, self.d_max, self.warmup = momentum, epsilon, r_max, d_max, warmup
        self.scale = nn.Parameter(torch.ones(members, 1, dim))
        self.shift = nn.Parameter(torch.zeros(members, 1, dim))
        self.mean: Tensor
        self.variance: Tensor
        self.passes: Tensor
        self.register_buffer("mean", torch.zeros(members, 1, dim))
        self.register_buffer("variance", torch.ones(members, 1, dim))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Float[Tensor, "member batch dim"]) -> Float[Tensor, "member batch dim"]:
        x, std = float32_or_more(x), (self.variance + self.epsilon).sqrt()
        if not self.training:
            return torch.addcmul(self.shift, self.scale / std, x - self.mean)
        centered, mean, variance = center(x)
        batch_std = (variance + self.epsilon).sqrt()
        with torch.no_grad():
            warm = self.passes >= self.warmup
            r = torch.where(warm, (batch_std / std).clamp(1 / self.r_max, self.r_max), 1.0)
            d = torch.where(warm, ((mean - self.mean) / std).clamp(-self.d_max, self.d_max), 0.0)
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
            self.passes += 1
        return torch.addcmul(self.shift + self.scale * d, self.scale * r / batch_std, centered)


class AbstractConstraint(nn.Module, ABC):
    """A module whose parameters must satisfy a constraint that gradient steps violate."""

    @abstractmethod
    def project(self) -> None:
        """Project the parameters onto the constraint, in place; called after every update."""


class UnitLinear(AbstractConstraint):
    """A linear layer in which the weight vector of every output has norm 1.

    Args:
        members: number of independent networks.
        in_dim: size of the input.
        out_dim: size of the output.
        bias: whether to add an unconstrained bias, initially zero.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(members, 1, out_dim)) if bias else None
        for weight in self.weight.data:
            nn.init.orthogonal_(weight)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        self.weight.copy_(functional.normalize(self.weight, dim=1))

    def forward(self, x: Float[Tensor, "member batch in"]) -> Float[Tensor, "member batch out"]:
        return torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


class UnitBatchNorm(AbstractConstraint):
    """Batch normalization in which scale and shift together have the norm ``sqrt(dim)``.  Statistics are float32.

    Args:
        members: number of independent networks.
        dim: size of the input.
        momentum: weight of the newest batch in the running statistics.
        epsilon: added to variances.
    """

    def __init__(self, members: int, dim: int, momentum: float = 0.01, epsilon: float = 1e-5):
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.scale = nn.Parameter(torch.ones(members, 1, dim))
        self.shift = nn.Parameter(torch.zeros(members, 1, dim))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(members, 1, dim))
        self.register_buffer("variance", torch.ones(members, 1, dim))

    @torch.no_grad()
    def project(self) -> None:
        both = torch.cat((self.scale, self.shift), dim=-1)
        factor = math.sqrt(self.scale.shape[-1]) / both.norm(dim=-1, keepdim=True)
        self.scale.mul_(factor)
        self.shift.mul_(factor)

    def forward(self, x: Float[Tensor, "member batch dim"]) -> Float[Tensor, "member batch dim"]:
        x = float32_or_more(x)
        if self.training:
            centered, mean, variance = center(x)
            with torch.no_grad():
                batch = x.shape[1]
                self.mean.lerp_(mean, self.momentum)
                self.variance.lerp_(variance * (batch / max(batch - 1, 1)), self.momentum)
        else:
            centered, variance = x - self.mean, self.variance
        return torch.addcmul(self.shift, self.scale / (variance + self.epsilon).sqrt(), centered)


class UnitRMSNorm(AbstractConstraint):
    """Divides every input by its root mean square (Zhang & Sennrich 2019, arXiv 1910.07467).

    The root mean square of the scale is 1.
    """

    def __init__(self, members: int, dim: int, epsilon: float = 1e-6):
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(members, 1, dim))

    @torch.no_grad()
    def project(self) -> None:
        self.scale.mul_(math.sqrt(self.scale.shape[-1]) / self.scale.norm(dim=-1, keepdim=True))

    def forward(self, x: Float[Tensor, "member batch dim"]) -> Float[Tensor, "member batch dim"]:
        return self.scale * functional.rms_norm(x, x.shape[-1:], eps=self.epsilon)
