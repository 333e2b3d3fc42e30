"""How the updates of an algorithm run: operation by operation, compiled, or as CUDA graphs."""

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Container, Hashable, Iterable, Set
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer

from lightning_maxent.distributed import processes
from lightning_maxent.errors import MaxEntError
from lightning_maxent.optimizers import parameters_of

WARM_UP = 3  # eager updates before a capture, as in PyTorch's notes on CUDA graphs
MOST_CHARACTERS = 300  # of the compiler's message, which has pages
MOST_SHAPES = 8  # batches of further shapes run eagerly; REINFORCE has a new one in nearly every update


class Metrics(NamedTuple):
    """Numbers that one update recorded."""

    names: tuple[str, ...]
    values: Float[Tensor, " name"]


@runtime_checkable
class Updates(Protocol):
    """What an execution needs of an algorithm."""

    @property
    def phase(self) -> Hashable:
        """Differs between updates with different losses, such as those with and without a loss of the policy."""
        ...

    def checked_losses(self, batch: Any, optimizers: Container[str]) -> dict[str, Tensor]:
        """The losses of a batch for networks with an optimizer, which are recorded."""
        ...

    def compute_gradients(self, batch: Any, optimizers: dict[str, Optimizer]) -> Set[str]:
        """Compute the losses of a batch and their gradients; returns the names of the networks that have one."""
        ...

    def apply_gradients(self, names: Set[str], optimizers: dict[str, Optimizer]) -> None:
        """Step the optimizers of some networks, then restore their constraints and update the target networks."""
        ...

    def take_metrics(self) -> Metrics:
        """The numbers recorded since the last call."""
        ...


class AbstractExecution(pl.Callback, ABC):
    """How the updates of an algorithm run.

    It is one of the Trainer's callbacks: ``--execution Compiled`` on the command line, or
    ``make_trainer(..., callbacks=[Compiled()])``.  Without one, updates run as in ``Eager``.
    """

    def __reduce__(self) -> tuple[type["Eager"], tuple[()]]:
        """A copy of an algorithm runs eagerly, because compiled code and graphs belong to the tensors of the original."""
        return Eager, ()

    @abstractmethod
    def update(self, algorithm: Updates, batch: Any, optimizers: dict[str, Optimizer]) -> Metrics:
        """Take one gradient step in every network that has a loss.

        Args:
            algorithm: the algorithm.
            batch: the input of its losses, a named tuple of tensors.
            optimizers: the optimizers of the networks by their names, the same ones at every call.
        """

    def obstacle(self, hooks: Collection[str], scales: bool, device: torch.device) -> str | None:
        """The reason why this execution cannot be used in a run, or None.

        Args:
            hooks: Lightning's hooks around a gradient step that somebody overrides.
            scales: whether a gradient scaler is used, as with the precision 16-mixed.
            device: the device of the algorithm.
        """
        return None


class Eager(AbstractExecution):
    """Python starts one operation after another."""

    def update(self, algorithm: Updates, batch: Any, optimizers: dict[str, Optimizer]) -> Metrics:
        algorithm.apply_gradients(algorithm.compute_gradients(batch, optimizers), optimizers)
        return algorithm.take_metrics()


class Compiled(AbstractExecution):
    """``torch.compile`` fuses the operations of the losses and their gradients; optimizers run as in ``Eager``.

    The first update of every phase takes half a minute or more, so this pays for long runs only.  Random numbers are
    those of ``Eager``, and other numbers differ by rounding.  If the losses cannot be compiled as one graph, updates run
    eagerly, and the log says so in one line.

    Args:
        backend: backend of ``torch.compile``.

    Raises:
        MaxEntError: for an unknown backend.
    """

    def __init__(self, backend: str = "inductor"):
        if backend not in (known := torch.compiler.list_backends(exclude_tags=())):
            raise MaxEntError(f"There is no backend {backend} of torch.compile: choose {', '.join(known)}.")
        self.backend = backend
        self._compiled: dict[Hashable, Any] = {}
        self.failed = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._compiled, self.failed = {}, False

    def obstacle(self, hooks: Collection[str], scales: bool, device: torch.device) -> str | None:
        if torch.is_anomaly_enabled():
            return "Compiled cannot be used with detect_anomaly"
        if scales:
            return "Compiled cannot scale gradients as the precision 16-mixed does"
        if unheard := sorted(set(hooks) - {"on_before_optimizer_step"}):
            return f"Compiled cannot call the hook {unheard[0]}"
        return None

    def update(self, algorithm: Updates, batch: Any, optimizers: dict[str, Optimizer]) -> Metrics:
        key = algorithm.phase, _shapes(batch)
        if self.failed or (key not in self._compiled and len(self._compiled) == MOST_SHAPES):
            return Eager().update(algorithm, batch, optimizers)
        try:
            if key not in self._compiled:
                _check_eagerly(algorithm, batch, optimizers)
                self._compiled[key] = _compiled_gradients(algorithm, optimizers, self.backend)
            gradients, metrics = self._compiled[key](batch)
        except MaxEntError:
            raise
        except Exception as error:  # if the losses are at fault, the eager update below raises their own error
            metrics = Eager().update(algorithm, batch, optimizers)
            reason = " ".join(str(error).split())[:MOST_CHARACTERS] or type(error).__name__
            rank_zero_info(f"The losses cannot be compiled, so updates run eagerly: {reason}")
            self.failed = True
            return metrics
        for name, of_network in gradients.items():
            for parameter, gradient in zip(parameters_of(optimizers[name]), of_network):
                parameter.grad = gradient
        algorithm.apply_gradients(gradients.keys(), optimizers)
        return Metrics(*metrics)


def _check_eagerly(algorithm: Updates, batch: Any, optimizers: dict[str, Optimizer]) -> None:
    """Check the losses of a copy of the algorithm, because the compiler drops the errors of the checks."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        copy.deepcopy(algorithm).compute_gradients(batch, optimizers)


def _compiled_gradients(algorithm: Updates, optimizers: dict[str, Optimizer], backend: str) -> Any:
    """The compiled function from a batch to the gradients of each network's parameters and the metrics."""
    parameters = {name: parameters_of(optimizer) for name, optimizer in optimizers.items()}

    def gradients(batch: Any) -> tuple[dict[str, tuple[Tensor, ...]], Metrics]:
        losses = algorithm.checked_losses(batch, parameters)
        slopes = {name: torch.autograd.grad(loss, parameters[name], allow_unused=True) for name, loss in losses.items()}
        return slopes, algorithm.take_metrics()

    gradients.__code__ = gradients.__code__.replace()  # torch.compile limits the compilations of one code object
    options: Any = {"fallback_random": True} if backend == "inductor" else None  # the same random numbers as eagerly
    compiled = torch.compile(gradients, fullgraph=True, dynamic=False, backend=backend, options=options)
    return torch._dynamo.config.patch(trace_autograd_ops=True)(compiled)


class CudaGraph(AbstractExecution):
    """A CUDA graph repeats all operations of an update, from the losses to the target networks, in one call.

    The first updates of every phase run eagerly, and then one is captured.  On replay no Python code runs, so ``losses``
    must not depend on Python variables that change between updates of the same phase.  This has been tested as far as a
    CPU allows: it has not yet run on a GPU.

    Args:
        inner: runs the updates that are captured, such as ``Compiled()``.
    """

    def __init__(self, inner: AbstractExecution | None = None):
        self.inner = inner or Eager()
        self._graphs: dict[Hashable, _Captured] = {}
        self._eager_updates: Counter[Hashable] = Counter()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._graphs, self._eager_updates = {}, Counter()
        self.inner.setup(trainer, pl_module, stage)

    def obstacle(self, hooks: Collection[str], scales: bool, device: torch.device) -> str | None:
        if device.type != "cuda":
            return f"CudaGraph needs a CUDA device, but the model is on {device.type}"
        if processes() > 1:
            return "CudaGraph cannot average the gradients of several processes"
        if scales:
            return "CudaGraph cannot scale gradients as the precision 16-mixed does"
        if hooks:
            return f"CudaGraph cannot call the hook {sorted(hooks)[0]}"
        return None

    def update(self, algorithm: Updates, batch: Any, optimizers: dict[str, Optimizer]) -> Metrics:
        key = algorithm.phase, _shapes(batch)
        if key in self._graphs:
            return self._graphs[key].replay(batch)
        if self._eager_updates[key] >= WARM_UP and len(self._graphs) < MOST_SHAPES:
            self._graphs[key] = _Captured(self.inner, algorithm, batch, optimizers)
            return self._graphs[key].replay(batch)
        make_capturable(optimizers)
        self._eager_updates[key] += 1
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            metrics = self.inner.update(algorithm, batch, optimizers)
        torch.cuda.current_stream().wait_stream(stream)
        return metrics


class _Captured:
    """A captured update with its own copy of the batch."""

    def __init__(self, inner: AbstractExecution, algorithm: Updates, batch: Any, optimizers: dict[str, Optimizer]):
        self._batch = type(batch)(*(field.clone() for field in batch))
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._metrics = inner.update(algorithm, self._batch, optimizers)

    def replay(self, batch: Any) -> Metrics:
        for own, given in zip(self._batch, batch):
            own.copy_(given)
        self._graph.replay()
        return self._metrics


def make_capturable(optimizers: dict[str, Optimizer]) -> None:
    """Let the steps of optimizers be captured, with learning rates as tensors, so that schedules change them.

    Raises:
        MaxEntError: for an optimizer whose step cannot be captured.
    """
    for name, optimizer in optimizers.items():
        for group in optimizer.param_groups:
            if "capturable" not in group:
                raise MaxEntError(
                    f"{type(optimizer).__name__}, the optimizer of {name}, cannot run in a CUDA graph: choose one with "
                    f"the argument capturable, such as torch.optim.Adam, or leave out CudaGraph."
                )
            group["capturable"] = True
            group["lr"] = torch.as_tensor(group["lr"], device=group["params"][0].device)


def _shapes(batch: Any) -> tuple[torch.Size, ...]:
    return tuple(field.shape for field in batch)


def chosen_execution(
    callbacks: Iterable[pl.Callback], hooks: Collection[str], scales: bool, device: torch.device
) -> AbstractExecution:
    """The execution among callbacks; ``Eager`` if there is none, or if it cannot be used, which the log says.

    Args:
        callbacks: the callbacks of the Trainer.
        hooks: Lightning's hooks around a gradient step that somebody overrides.
        scales: whether a gradient scaler is used.
        device: the device of the algorithm.

    Raises:
        MaxEntError: if there is more than one.
    """
    found = [each for each in callbacks if isinstance(each, AbstractExecution) and not isinstance(each, Eager)]
    if len(found) > 1:
        names = " and ".join(type(each).__name__ for each in found)
        raise MaxEntError(f"The Trainer has {len(found)} executions of updates, {names}: give one.")
    chosen = found[0] if found else Eager()
    if obstacle := chosen.obstacle(hooks, scales, device):
        rank_zero_info(f"{obstacle}, so updates run eagerly.")
        return Eager()
    return chosen
