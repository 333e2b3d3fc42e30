"""The strategy of Lightning for a run on several devices."""

import atexit
from abc import ABC
from datetime import timedelta
from typing import Any

from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from lightning_maxent.distributed import (
    AFTER_THE_SAME_ROUND,
    copy_from_first,
    end_group,
    lost_processes_named,
    seed_by_rank,
    shared_tensors,
)
from lightning_maxent.lightning_internals import end_started_processes, set_backend

SECONDS_TO_END = 30  # for the processes that Lightning has started, when all stop together


class JointCheckpointIO(CheckpointIO, ABC):
    """Writes the parts of a checkpoint that differ between processes: every process calls ``save_checkpoint``."""


class GradientAveragingStrategy(DDPStrategy):
    """One process per device; each has its own environments and data, and all take the same gradient steps.

    Lightning's DDPStrategy wraps the model, which then expects a gradient in every parameter after every backward pass,
    but an update may train only some networks.  Here the model is not wrapped: it begins with the weights of process 0,
    and ``GradientStep`` averages the gradients.  It was tested with the processes of one CPU, and not yet measured on
    GPUs.

    Args:
        process_group_backend: how processes talk to each other; None for gloo on CPUs, and nccl on GPUs with gloo for
            what lies on the CPU.
        timeout: time after which a process that waits for another one gives up.
    """

    def __init__(self, process_group_backend: str | None = None, timeout: timedelta = timedelta(minutes=30)):
        super().__init__(process_group_backend=process_group_backend, timeout=timeout)

    def setup_distributed(self) -> None:
        """Start to talk to the other processes, and take a seed of one's own."""
        if self.process_group_backend is None and self.root_device.type == "cuda":
            set_backend(self, "cpu:gloo,cuda:nccl")
        with lost_processes_named():
            super().setup_distributed()
        atexit.register(end_group)
        seed_by_rank()

    def configure_ddp(self) -> None:
        """Take the weights of process 0; there is no wrapper around the model."""
        assert self.model is not None
        copy_from_first(shared_tensors(self.model))

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Save on every process if the CheckpointIO writes a part for each, else on process 0."""
        if isinstance(self.checkpoint_io, JointCheckpointIO):
            self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options=storage_options)
        else:
            super().save_checkpoint(checkpoint, filepath, storage_options)

    def on_exception(self, exception: BaseException) -> None:
        """Let the others end if all stop together; Lightning would kill them in the middle of it."""
        if AFTER_THE_SAME_ROUND in exception.args:
            end_started_processes(self, SECONDS_TO_END)

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        with lost_processes_named():
            super().barrier(*args, **kwargs)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        with lost_processes_named():
            return super().broadcast(obj, src)

    def reduce(self, tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Tensor:
        with lost_processes_named():
            return super().reduce(tensor, group, reduce_op)
