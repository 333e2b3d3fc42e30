"""What the processes of a run tell each other; with one process, every function leaves things as they are.

All functions but ``processes``, ``rank`` and those about a single module are collective: every process must call them,
in the same order.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightning_maxent.errors import MaxEntError

AFTER_THE_SAME_ROUND = "all processes stop after the same round"  # argument of the exceptions that do so

Own = TypeVar("Own")


class LostProcessError(MaxEntError):
    """Another process of the run has ended, so that this one cannot go on."""


def processes() -> int:
    """The number of processes that train one model together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0 on; process 0 writes the files of the run."""
    return dist.get_rank() if processes() > 1 else 0


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Raise ``LostProcessError`` for an error of a collective operation, which means that a process has ended."""
    try:
        yield
    except MaxEntError:
        raise
    except RuntimeError as error:
        raise LostProcessError(
            "Another process of this run ended without a message, perhaps because memory ran out: see what the system "
            "says of it, and resume from the last checkpoint."
        ) from error


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace every tensor by its mean over all processes, with one exchange for all of them.

    Args:
        tensors: tensors of any shapes on one device; every process gives the same shapes in the same order.
    """
    if processes() > 1 and tensors:
        flat = torch.cat([each.reshape(-1) for each in tensors])
        with lost_processes_named():
            dist.all_reduce(flat)
        flat /= processes()
        for each, mean in zip(tensors, flat.split([each.numel() for each in tensors])):
            each.copy_(mean.view_as(each))


@torch.no_grad()
def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Replace every tensor by that of process 0."""
    if processes() > 1:
        with lost_processes_named():
            for each in tensors:
                dist.broadcast(each, 0)


def gathered(own: Own) -> list[Own]:
    """The objects of all processes, in the order of their ranks."""
    if processes() == 1:
        return [own]
    of_all: list = [None] * processes()
    with lost_processes_named():
        dist.all_gather_object(of_all, own)
    return of_all


def gathered_rows(own: Tensor, dim: int) -> Tensor:
    """The tensors of all processes, of one shape and on the CPU, joined along ``dim`` in the order of their ranks."""
    if processes() == 1:
        return own
    of_all = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(processes())]
    with lost_processes_named():
        dist.all_gather(of_all, own.contiguous())
    return torch.cat(of_all, dim)


def highest(number: int) -> int:
    """The largest number of all processes."""
    if processes() == 1:
        return number
    of_all = torch.tensor(number)
    with lost_processes_named():
        dist.all_reduce(of_all, dist.ReduceOp.MAX)
    return int(of_all)


@contextmanager
def raised_on_all(kind: type[MaxEntError]) -> Iterator[None]:
    """Raise an error of this kind on all processes if one of them raises it inside."""
    try:
        yield
    except kind as error:
        gathered(str(error))
        raise
    for text in gathered(""):
        if text:
            raise kind(text)


def is_first_to_fail(error: Exception) -> bool:
    """Whether this process is the one that tells the error of a run, since none has called this before.

    Every process that fails calls it; the others need not.  If a process was lost, process 0 tells it.
    """
    if rank() > 0 and isinstance(error, LostProcessError):
        return False
    try:
        return dist.distributed_c10d._get_default_store().add("failed", 1) == 1
    except RuntimeError:  # process 0, which holds the store, has just ended, and has told its error
        return False


def seed_by_rank() -> None:
    """Give every process but 0 a seed of its own, which follows from that of process 0.

    From it follow the seeds of environments, the noise of actions and updates, and the draws from replay buffers.
    """
    seed = gathered(torch.initial_seed())[0]
    if rank() > 0:
        own = int(np.random.SeedSequence([seed, rank()]).generate_state(1)[0])
        random.seed(own)
        np.random.seed(own)  # noqa: NPY002  the generator of environments that do not use their own
        torch.manual_seed(own)


def end_group() -> None:
    """End the talk with the other processes; an exit without it may abort."""
    if dist.is_initialized():
        dist.destroy_process_group()


# ---- the tensors of a model -----------------------------------------------------------------------------------------


def own_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that differ between processes, such as the state of a noise, by their names in the model.

    A module lists their names in the class attribute ``own_buffers``.
    """
    return {
        f"{path}.{name}".lstrip("."): getattr(module, name)
        for path, module in model.named_modules()
        for name in getattr(module, "own_buffers", ())
    }


def shared_tensors(model: nn.Module) -> list[Tensor]:
    """All parameters and buffers but ``own_buffers``."""
    own = own_buffers(model)
    named = [*model.named_parameters(), *model.named_buffers()]
    return [tensor.data for name, tensor in named if name not in own]


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The buffers that the data of a process change: those of floating point in the ``state_dict``, but its own."""
    own, saved = own_buffers(model), model.state_dict().keys()
    named = [(name, buffer) for name, buffer in model.named_buffers() if name in saved and name not in own]
    return [buffer for _, buffer in named if buffer.is_floating_point()]
