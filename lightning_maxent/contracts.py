"""Whether a part keeps its contract, and a checkpoint fits a model; asking leaves no trace in either."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_maxent.errors import MaxEntError, errors_of


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


def check_numbers(method: str, what: str, numbers: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ``MaxEntError`` unless the numbers have the shape and are finite.

    Args:
        method: that gave them.
        what: they are, as in "an action".
        numbers: what it gave.
        shape: what was expected.
    """
    if numbers.shape != shape:
        raise MaxEntError(f"{method} must give {what} of shape {list(shape)}, but gave {list(numbers.shape)}.")
    if not torch.isfinite(numbers).all():
        raise MaxEntError(f"{method} must give {what} of finite numbers, but gave NaN or infinity.")


def check_same_tensors(checkpoint: Mapping[str, Any], model: nn.Module) -> None:
    """Raise ``MaxEntError`` unless the tensors of a checkpoint are those of this model."""
    own, saved = model.state_dict(), checkpoint.get("state_dict", {})
    parameters = [name for name, _ in model.named_parameters()]  # a buffer may have a row for each environment
    differ = [name for name in parameters if name in saved and own[name].shape != saved[name].shape]
    differ += [name for name in (*own, *saved) if name not in saved or name not in own]
    if differ:
        there, here = (
            "absent" if state is None else f"{list(state.shape)}"
            for state in (saved.get(differ[0]), own.get(differ[0]))
        )
        raise MaxEntError(
            f"The checkpoint holds another model: {len(differ)} of its tensors do not fit, e.g. {differ[0]} is "
            f"{there} there and {here} here; give the configuration that made it."
        )
