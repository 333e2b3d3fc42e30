"""Looking at a part that somebody else wrote, without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lightning_maxent.errors import blamed


def diverged(model: nn.Module) -> list[str]:
    """Names of the parts of a model that hold numbers that are not finite."""
    return [
        name
        for name, part in model.named_children()
        if not all(state.isfinite().all() for state in part.state_dict().values())
    ]


@contextmanager
def looked_at(part: nn.Module, asked_for: str) -> Iterator[None]:
    """Looking changes neither statistics nor modes, those of parts included, nor the random state.

    What the part raises is named with what it was ``asked_for``.
    """
    training = [module for module in part.modules() if module.training]
    part.eval()
    with torch.random.fork_rng(devices=[]), blamed(f"{type(part).__name__}, asked for {asked_for},"):
        yield
    for module in training:
        module.training = True
