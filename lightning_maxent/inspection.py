"""Inspects models and their parts without changing them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lightning_maxent.errors import errors_of


def diverged(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the parts of a model whose ``state_dict`` holds numbers that are not finite."""
    return list(dict.fromkeys(name.partition(".")[0] for name, state in weights.items() if not state.isfinite().all()))


@contextmanager
def without_side_effects(part: nn.Module, asked_for: str) -> Iterator[None]:
    """Inside, ``part`` is in evaluation mode; afterwards all modes and the random state are as before.

    Errors of the part are raised as ``MaxEntError`` with a message that names what it was ``asked_for``.
    """
    training = [module for module in part.modules() if module.training]
    part.eval()
    with torch.random.fork_rng(devices=[]), errors_of(f"{type(part).__name__}, asked for {asked_for},"):
        yield
    for module in training:
        module.training = True
