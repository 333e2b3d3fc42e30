"""How updates run: all ways give the same numbers, and what cannot be used is replaced by eager updates."""

import contextlib
import copy
import logging
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from helpers import made_up
from small_algorithms import ACTIONS, ALGORITHMS_AND_CRITICS, OBS, batches, built
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_maxent import MaxEntError, execution
from lightning_maxent.execution import (
    MOST_SHAPES,
    WARM_UP,
    Compiled,
    CudaGraph,
    Eager,
    chosen_execution,
    make_capturable,
)

CPU = torch.device("cpu")
aten = torch.ops.aten
WAITS = {  # operations that copy from or to the device, or whose results have a size that depends on numbers
    aten._local_scalar_dense.default,
    aten.lift_fresh.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten._unique2.default,
}


class Operations(TorchDispatchMode):
    """Lists the operations, with the shapes of their results."""

    def __init__(self):
        super().__init__()
        self.listed: list[tuple[object, tuple[torch.Size, ...]]] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        tensors = results if isinstance(results, (tuple, list)) else [results]
        self.listed.append((operation, tuple(each.shape for each in tensors if isinstance(each, torch.Tensor))))
        return results


class Listed(Eager):
    """Runs eagerly what a CUDA graph captures, and keeps the list of its operations for each phase."""

    def __init__(self):
        self.operations: dict[object, list[object]] = {}

    def update(self, algorithm, batch, optimizers):
        with Operations() as operations:
            metrics = super().update(algorithm, batch, optimizers)
        self.operations.setdefault(algorithm.phase, []).append(operations.listed)
        return metrics


@pytest.mark.parametrize(("name", "kind", "critic"), ALGORITHMS_AND_CRITICS)
def test_updates_do_not_wait_for_the_device_and_repeat_their_operations(name, kind, critic):
    """What a CUDA graph needs: no operation depends on the numbers of a batch."""
    algorithm = built(name, kind, critic)
    listed = algorithm._execution = Listed()
    optimizers = algorithm.build_optimizers()
    for batch in batches(algorithm, kind, 8):
        algorithm.update(batch, optimizers)
    for operations in listed.operations.values():
        *_, captured, later = operations  # the first update makes the state of the optimizers
        assert not WAITS & {operation for operation, _ in captured}
        if name != "REINFORCE":  # learns from the steps of ended episodes, whose number differs
            assert captured == later


@pytest.mark.parametrize(
    ("chosen", "hooks", "scales", "sentence"),
    [
        (Compiled(), [], True, "Compiled cannot scale gradients as the precision 16-mixed does"),
        (Compiled(), ["on_after_backward"], False, "Compiled cannot call the hook on_after_backward"),
        (CudaGraph(), [], False, "CudaGraph needs a CUDA device, but the model is on cpu"),
    ],
)
def test_an_execution_that_cannot_be_used_is_replaced_by_eager_updates_and_a_line_says_so(
    chosen, hooks, scales, sentence, caplog
):
    with caplog.at_level(logging.INFO):
        assert isinstance(chosen_execution([chosen], hooks, scales, CPU), Eager)
    assert f"{sentence}, so updates run eagerly." in caplog.text


@pytest.mark.parametrize(
    ("hooks", "scales", "sentence"),
    [([], True, "cannot scale gradients"), (["on_before_optimizer_step"], False, "on_before_optimizer_step")],
)
def test_a_cuda_graph_refuses_a_gradient_scaler_and_hooks(hooks, scales, sentence):
    assert sentence in CudaGraph().obstacle(hooks, scales, torch.device("cuda"))
    assert CudaGraph().obstacle([], False, torch.device("cuda")) is None


def test_compiled_updates_allow_the_hook_before_a_step():
    chosen = Compiled()
    assert chosen_execution([Eager(), chosen], ["on_before_optimizer_step"], False, CPU) is chosen


def test_two_executions_and_an_unknown_backend_are_refused():
    with pytest.raises(MaxEntError, match="2 executions of updates, Compiled and CudaGraph: give one"):
        chosen_execution([Compiled(), CudaGraph()], [], False, CPU)
    with pytest.raises(MaxEntError, match=r"no backend fast of torch.compile: choose .*inductor"):
        Compiled("fast")


def updated(algorithm, optimizers, data) -> dict[str, torch.Tensor]:
    for seed, batch in enumerate(data):
        torch.manual_seed(seed)
        algorithm.update(batch, optimizers)
    return algorithm.state_dict()


def test_losses_that_cannot_be_compiled_are_computed_eagerly_and_one_line_says_so(caplog):
    """The compiler cannot follow a branch on the number of a tensor, as this algorithm has one."""
    algorithm, ended = built("SAC", "box", None), []
    losses = type(algorithm).losses
    for chosen in (Eager(), Compiled("eager")):
        each = copy.deepcopy(algorithm)
        each.losses = lambda batch, each=each: losses(each, batch) if float(batch.reward.sum()) < 1e9 else {}
        each._execution = chosen
        with caplog.at_level(logging.INFO, "pytorch_lightning"):
            ended.append(updated(each, each.build_optimizers(), batches(each, "box", 4)))
    assert_close(*ended, rtol=0, atol=0)
    assert caplog.text.count("The losses cannot be compiled, so updates run eagerly") == 1


def test_a_loss_with_a_gradient_in_another_network_is_refused_before_it_is_compiled():
    """Compiled updates would leave this gradient out, and eager ones would add it."""
    algorithm = built("SAC", "box", None)
    losses = type(algorithm).losses
    algorithm.losses = lambda batch: (
        losses(algorithm, batch) | {"policy": algorithm.q_value(batch.obs, batch.action).mean()}
    )
    algorithm._execution = Compiled("eager")
    with pytest.raises(MaxEntError, match="The loss 'policy' of SAC has a gradient in critic"):
        updated(algorithm, algorithm.build_optimizers(), batches(algorithm, "box", 1))


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_compiled_updates_give_way_to_the_search_for_anomalies():
    with torch.autograd.detect_anomaly(check_nan=False):
        assert Compiled().obstacle([], False, CPU) == "Compiled cannot be used with detect_anomaly"


def test_a_copy_of_an_algorithm_runs_eagerly():
    """Compiled code belongs to the tensors of the original."""
    algorithm = built("SAC", "box", None)
    algorithm._execution = Compiled()
    assert type(copy.deepcopy(algorithm)._execution) is Eager
    assert type(pickle.loads(pickle.dumps(CudaGraph()))) is Eager


class CapturedInTheTest:
    """Stands for a captured graph: repeats the update on the batch that it is given, and counts."""

    replays: ClassVar[list[object]] = []

    def __init__(self, inner, algorithm, batch, optimizers):
        self.again = lambda given: inner.update(algorithm, given, optimizers)
        self.phase = algorithm.phase

    def replay(self, batch):
        self.replays.append(self.phase)
        return self.again(batch)


class NoStream:
    """Stands for a CUDA stream."""

    def wait_stream(self, other):
        pass

    __enter__ = __exit__ = lambda self, *args: None


@pytest.fixture
def graphs_in_the_test(monkeypatch):
    monkeypatch.setattr(execution, "_Captured", CapturedInTheTest)
    monkeypatch.setattr(execution, "make_capturable", lambda optimizers: None)
    monkeypatch.setattr(CapturedInTheTest, "replays", [])
    for name in ("Stream", "current_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *args: NoStream())


def test_each_phase_has_a_graph_of_its_own_after_its_eager_updates(graphs_in_the_test):
    """TD3 updates its policy every second time."""
    algorithm = built("TD3", "box", None)
    copied, data = copy.deepcopy(algorithm), batches(algorithm, "box", 2 * WARM_UP + 4)
    copied._execution = CudaGraph()
    ended = [updated(each, each.build_optimizers(), data) for each in (algorithm, copied)]
    assert CapturedInTheTest.replays == [False, True, False, True]
    assert_close(*ended, rtol=0, atol=0)
    assert_close(copied.drain_metrics(), algorithm.drain_metrics(), rtol=0, atol=0)


def test_batches_of_many_shapes_have_graphs_for_the_first_of_them_only(graphs_in_the_test):
    algorithm = built("SAC", "box", None)
    algorithm._execution = CudaGraph()
    optimizers = algorithm.build_optimizers()
    for size in range(2, MOST_SHAPES + 4):
        updated(algorithm, optimizers, [made_up(OBS, ACTIONS["box"], size)] * (WARM_UP + 1))
    assert len(CapturedInTheTest.replays) == len(algorithm._execution._graphs) == MOST_SHAPES


def test_compiled_code_is_kept_for_the_first_shapes_only(monkeypatch):
    compiled = []
    monkeypatch.setattr(
        execution, "_compiled_gradients", lambda *args: compiled.append(args) or (lambda batch: ({}, ((), 0)))
    )
    algorithm = built("SAC", "box", None)
    algorithm._execution = Compiled("eager")
    optimizers = algorithm.build_optimizers()
    for size in range(2, MOST_SHAPES + 4):
        algorithm._execution.update(algorithm, made_up(OBS, ACTIONS["box"], size), optimizers)
    assert len(compiled) == MOST_SHAPES


def test_a_captured_update_reads_the_batch_that_is_replayed(monkeypatch):
    """The capture itself needs a GPU; here nothing is captured, and replay does nothing."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph", contextlib.nullcontext)
    algorithm = built("SAC", "box", None)
    first, second = batches(algorithm, "box", 2)
    kept = first.reward.clone()
    captured = execution._Captured(Eager(), algorithm, first, algorithm.build_optimizers())
    metrics = captured.replay(second)
    assert_close(captured._batch, second, rtol=0, atol=0)
    assert_close(first.reward, kept, rtol=0, atol=0)
    assert "loss/critic" in metrics.names


def test_a_schedule_changes_the_learning_rate_that_a_captured_step_reads():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    make_capturable({"policy": optimizer})
    read = optimizer.param_groups[0]["lr"]
    torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=10)
    assert optimizer.param_groups[0]["lr"] is read
    assert optimizer.param_groups[0]["capturable"]
    assert_close(read, torch.tensor(0.05))


def test_an_optimizer_that_cannot_be_captured_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(MaxEntError, match="SGD, the optimizer of policy, cannot run in a CUDA graph: choose one with"):
        make_capturable({"policy": optimizer})


def test_compiled_updates_of_every_algorithm_and_critic_give_the_numbers_of_eager_ones():
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "compiled_updates.py"]
    ended = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert f"{len(ALGORITHMS_AND_CRITICS) + 1} passed" in ended.stdout
