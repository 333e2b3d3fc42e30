"""The random numbers of a policy, made an input of it.

A policy draws its random numbers itself, by ``torch.randn`` and the like.  ``record_draws`` finds out which ones it
draws for one observation.  Under ``Supplied``, the policy gets these from a tensor of noise, a row for each
observation.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_maxent.errors import MaxEntError

DISTRIBUTIONS: dict[Any, str] = {
    torch.randn: "standard_normal",
    torch.randn_like: "standard_normal",
    Tensor.normal_: "standard_normal",
    Tensor.exponential_: "standard_exponential",
    torch.rand: "random",
    torch.rand_like: "random",
    Tensor.uniform_: "random",
}
"""Functions of torch that draw, and the methods of ``numpy.random.Generator`` that draw the same."""

IN_PLACE = (Tensor.normal_, Tensor.exponential_, Tensor.uniform_)
OTHERS = (torch.normal, torch.bernoulli, torch.multinomial, torch.poisson, torch.randint, torch.randperm)
OTHERS += (torch.randint_like, Tensor.random_, Tensor.bernoulli_)


class Draw(NamedTuple):
    """The random numbers of one call, for one observation."""

    distribution: str
    shape: tuple[int, ...]
    axis: int
    """The axis along which the numbers of further observations follow."""


class Recorded(TorchFunctionMode):
    """Inside, keeps all random numbers that are drawn.

    Raises:
        MaxEntError: for a distribution that is not in ``DISTRIBUTIONS``.
    """

    def __init__(self):
        super().__init__()
        self.drawn: list[tuple[str, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in OTHERS or (func in IN_PLACE and (args[1:] or kwargs)):
            raise MaxEntError(
                f"The policy draws random numbers by {func.__name__}, which an exported file cannot take from outside: "
                f"it can take those of torch.randn, torch.rand and exponential_()."
            )
        drawn = func(*args, **(kwargs or {}))
        if func in DISTRIBUTIONS:
            self.drawn.append((DISTRIBUTIONS[func], drawn.detach().clone()))
        return drawn

    def noise(self) -> Tensor:
        """All of them in one row; there must have been one observation."""
        return torch.cat([torch.empty(0), *(numbers.flatten().float().cpu() for _, numbers in self.drawn)])[None]


class Supplied(TorchFunctionMode):
    """Inside, random numbers are taken from ``noise``.

    Args:
        draws: what is drawn for one observation, in this order.
        noise: the numbers of one observation in each row, ``[batch, columns(draws)]``.
    """

    def __init__(self, draws: list[Draw], noise: Tensor):
        super().__init__()
        pieces = noise.split([prod(draw.shape) for draw in draws], 1) if draws else ()
        self._numbers = iter([_of_batch(draw, piece) for draw, piece in zip(draws, pieces)])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in IN_PLACE:
            return args[0].copy_(next(self._numbers))
        if func in DISTRIBUTIONS:
            return next(self._numbers)
        return func(*args, **(kwargs or {}))


def _of_batch(draw: Draw, rows: Tensor) -> Tensor:
    """The numbers of a draw for a batch: ``axis`` has those of the first observation, then those of the second."""
    each = rows.reshape(rows.shape[0], *draw.shape)
    return each.movedim(0, draw.axis).flatten(draw.axis, draw.axis + 1)


def record_draws(act: Callable[[Tensor], Tensor], obs: Tensor) -> tuple[list[Draw], Tensor]:
    """What a policy draws for one observation, and the numbers that it drew, ``[1, columns]``.

    Args:
        act: the policy.
        obs: two observations; calls with one and with both show along which axis the observations lie.

    Raises:
        MaxEntError: if a draw does not depend on the number of observations in this way, or has another distribution
            than those of ``DISTRIBUTIONS``.
    """
    with Recorded() as alone:
        act(obs[:1])
    with Recorded() as both:
        act(obs)
    if len(alone.drawn) != len(both.drawn):
        raise MaxEntError("The policy draws random numbers more often for two observations than for one.")
    draws = []
    for (distribution, one), (_, two) in zip(alone.drawn, both.drawn):
        axes = [axis for axis, (size, twice) in enumerate(zip(one.shape, two.shape)) if twice == 2 * size]
        if one.ndim != two.ndim or len(axes) != 1 or two.numel() != 2 * one.numel():
            raise MaxEntError(
                f"The policy draws numbers of the shape {tuple(one.shape)} for one observation and {tuple(two.shape)} for "
                f"two: an exported policy needs twice as many for two, along one axis."
            )
        draws.append(Draw(distribution, tuple(one.shape), axes[0]))
    return draws, alone.noise()


def columns(draws: list[Draw]) -> int:
    """The number of random numbers for one observation."""
    return sum(prod(draw.shape) for draw in draws)
