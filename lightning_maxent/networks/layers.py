"""Layers of several networks side by side, on ``[member, batch, in]``: every member has parameters of its own."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lightning_maxent.errors import MaxEntError


class EnsembleLinear(nn.Module):
    """``member`` independent linear layers as one batched product: ``[member, batch, in] -> [member, batch, out]``.

    Each member is initialized on its own, uniformly in ``±1/sqrt(in)`` like ``torch.nn.Linear``.

    Raises:
        MaxEntError: for a size below one.
    """

    def __init__(self, members: int, in_dim: int, out_dim: int):
        super().__init__()
        if min(members, in_dim, out_dim) < 1:
            raise MaxEntError(
                f"A layer of {members} networks from {in_dim} to {out_dim} units cannot be: widths must be at least 1."
            )
        bound = 1 / math.sqrt(in_dim)
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, out_dim).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "member batch in"]) -> Float[Tensor, "member batch out"]:
        return torch.baddbmm(self.bias, x, self.weight)


class Float32Output(nn.Sequential):
    """Layers one after the other, of which the last computes in float32 under every precision.

    In bfloat16 a value of 1,003 would be 1,004, and two critics that differ by less than a step would agree.
    """

    def forward(self, input: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        *hidden, last = self
        for layer in hidden:
            input = layer(input)
        with torch.autocast(input.device.type, enabled=False):
            return last(input.to(torch.promote_types(input.dtype, torch.float32)))


def orthogonal(layer: EnsembleLinear, gain: float = 1.0) -> EnsembleLinear:
    """The layer with weights drawn anew as orthogonal matrices times ``gain``, and no bias."""
    for weight in layer.weight.data:
        nn.init.orthogonal_(weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def he_normal(layer: EnsembleLinear) -> EnsembleLinear:
    """The layer with weights drawn anew from ``N(0, 2/in)``, and no bias.  He et al. 2015 (arXiv 1502.01852), eq. 10."""
    nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.weight.shape[1]))
    nn.init.zeros_(layer.bias)
    return layer


def center(
    x: Float[Tensor, "member batch dim"],
) -> tuple[Float[Tensor, "member batch dim"], Float[Tensor, "member 1 dim"], Float[Tensor, "member 1 dim"]]:
    """The batch without its mean, its mean, and its variance (over all, not all but one).

    ``torch.var_mean`` over the batch took several times as long on a CPU.
    """
    mean = x.mean(1, keepdim=True)
    centered = x - mean
    return centered, mean, centered.square().mean(1, keepdim=True)


class EnsembleLayerNorm(nn.Module):
    """Layer normalization (Ba et al. 2016, arXiv 1607.06450) with scale and shift for every member."""

    def __init__(self, members: int, dim: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, 1, dim))
        self.shift = nn.Parameter(torch.zeros(members, 1, dim))

    def forward(self, x: Float[Tensor, "member batch dim"]) -> Float[Tensor, "member batch dim"]:
        return torch.addcmul(self.shift, self.scale, functional.layer_norm(x, x.shape[-1:]))


class BatchRenorm(nn.Module):
    """Batch normalization that comes to agree with its own running statistics.  Ioffe 2017 (arXiv 1702.03275).

    While training, ``x' = (x - m) / s * r + d`` with mean m and deviation s of the batch, and with
    ``r = s / S`` and ``d = (m - M) / S`` held constant, clipped, from the running M and S; in the first ``warmup`` passes
    ``r = 1`` and ``d = 0``, which is batch normalization.  Otherwise ``x' = (x - M) / S``.  Statistics are float32.

    Args:
        members: networks side by side.
        dim: size of the input.
        momentum: weight of the newest batch in the running statistics; .01 in CrossQ (Bhatt et al. 2019).
        epsilon: added to variances; .001 in CrossQ's code.
        r_max: largest ``r``, and 1 / its smallest; 3 in CrossQ's code.
        d_max: largest ``|d|``; 5 in CrossQ's code.
        warmup: passes of plain batch normalization; 100,000 in CrossQ's code.
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
        x, std = x.float(), (self.variance + self.epsilon).sqrt()
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
    """A module whose parameters must stay in a set that gradient steps leave."""

    @abstractmethod
    def project(self) -> None:
        """Bring the parameters back, in place; called after every update."""


class UnitLinear(AbstractConstraint):
    """A linear layer in which the weights of every output have norm 1.

    Args:
        members: networks side by side.
        in_dim: size of the input.
        out_dim: size of the output.
        bias: whether a free bias, at first zero, is added.
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
    """Batch normalization whose scale and shift together have norm ``sqrt(dim)``.  Statistics are float32.

    Args:
        members: networks side by side.
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
        x = x.float()
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
    """Every input divided by its root mean square (Zhang & Sennrich 2019, arXiv 1910.07467); the scale's is 1."""

    def __init__(self, members: int, dim: int, epsilon: float = 1e-6):
        super().__init__()
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(members, 1, dim))

    @torch.no_grad()
    def project(self) -> None:
        self.scale.mul_(math.sqrt(self.scale.shape[-1]) / self.scale.norm(dim=-1, keepdim=True))

    def forward(self, x: Float[Tensor, "member batch dim"]) -> Float[Tensor, "member batch dim"]:
        return self.scale * functional.rms_norm(x, x.shape[-1:], eps=self.epsilon)
