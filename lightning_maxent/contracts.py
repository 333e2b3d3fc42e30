"""Looking at a part that somebody else wrote, without a trace."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lightning_maxent.errors import errors_of


def diverged(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the parts of a model, given its ``state_dict``, that hold numbers that are not finite."""
    return list(dict.fromkeys(name.partition(".")[0] for name, state in weights.items() if not state.isfinite().all()))


@contextmanager
def without_side_effects(part: nn.Module, asked_for: str) -> Iterator[None]:
    """Looking changes neither statistics nor modes, those of parts included, nor the random state.

    What the part raises is named with what it was ``asked_for``.
    """
    training = [module for module in part.modules() if module.training]
    part.eval()
    with torch.random.fork_rng(devices=[]), errors_of(f"{type(part).__name__}, asked for {asked_for},"):
        yield
    for module in training:
        module.training = True
