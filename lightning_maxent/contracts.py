"""Checks of models, their parts and their checkpoints, without side effects."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_maxent.errors import MaxEntError, errors_of


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


def check_numbers(method: str, what: str, numbers: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ``MaxEntError`` unless the numbers have the expected shape and are finite.

    Args:
        method: name of the method that returned them, for the message.
        what: what they are, such as "an action", for the message.
        numbers: the returned numbers.
        shape: the expected shape.
    """
    if numbers.shape != shape:
        raise MaxEntError(f"{method} must give {what} of shape {list(shape)}, but gave {list(numbers.shape)}.")
    if not torch.isfinite(numbers).all():
        raise MaxEntError(f"{method} must give {what} of finite numbers, but gave NaN or infinity.")


def check_same_tensors(checkpoint: Mapping[str, Any], model: nn.Module) -> None:
    """Raise ``MaxEntError`` unless the checkpoint and the model have the same tensors with the same shapes."""
    own, saved = model.state_dict(), checkpoint.get("state_dict", {})
    parameters = [name for name, _ in model.named_parameters()]  # not buffers, which may have one row per environment
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
