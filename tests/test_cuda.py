"""What holds on a GPU: every algorithm in full and in mixed precision, and checkpoints that go from one device to another."""

import copy

import pytest
import torch
from cli_helpers import metrics, saved
from every_algorithm import CONFIGURATIONS, FIRST, cut_ends_as_whole, fit, write
from helpers import same
from small_algorithms import ALGORITHMS_AND_CRITICS, batches, built
from torch.testing import assert_close

from lightning_maxent.cli.command import main
from lightning_maxent.execution import WARM_UP, CudaGraph

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.usefixtures("in_an_empty_folder"),
]
PRECISIONS = ["32-true", "bf16-mixed"]


def on_gpu(name: str, precision: str) -> list[str]:
    on_policy = "RolloutDataModule" in CONFIGURATIONS[name]["data"]["class_path"]
    overlay = "trainer/gpu_bf16_on_policy" if on_policy else "trainer/gpu_bf16"
    return [f"--config={overlay}", f"--trainer.precision={precision}"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_a_resumed_run_on_a_gpu_ends_bit_for_bit_as_an_uninterrupted_one(name, kind, precision):
    rows = cut_ends_as_whole(name, kind, *on_gpu(name, precision))
    losses = [value for row in rows for column, value in row.items() if column.startswith("loss/")]
    assert losses
    assert torch.tensor(losses).isfinite().all()


@pytest.mark.filterwarnings("ignore:GPU available but not used")  # so it is meant
@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_a_run_resumes_from_a_gpu_on_a_cpu_and_back(name, kind):
    """The random states of the device are not restored, so the run may end differently; the weights are restored
    exactly.
    """
    run = fit(write(name, kind), 80, *on_gpu(name, "32-true"))
    weights = saved(run)["state_dict"]
    main(["test", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", "--trainer.accelerator=cpu"])
    same(saved(run)["state_dict"], weights)
    for steps, device in ((120, "cpu"), (160, "cuda")):
        main(["fit", "--ckpt_path=last", f"--trainer.max_steps={steps}", f"--trainer.accelerator={device}"])
        assert metrics(run)[-1]["env_steps"] == steps


@pytest.mark.parametrize(("name", "kind", "critic"), ALGORITHMS_AND_CRITICS)
def test_a_cuda_graph_gives_the_numbers_of_eager_updates(name, kind, critic):
    algorithm = built(name, kind, critic).cuda()
    data, copied = batches(algorithm, kind, 2 * WARM_UP + 4), copy.deepcopy(algorithm)
    graph = copied._execution = CudaGraph()
    for each in (algorithm, copied):
        optimizers = each.build_optimizers()
        for seed, batch in enumerate(data):
            torch.manual_seed(seed)
            each.update(type(batch)(*(field.cuda() for field in batch)), optimizers)
    assert graph._graphs or name == "REINFORCE"  # whose batches differ in size
    assert_close(copied.state_dict(), algorithm.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_a_run_with_cuda_graphs_trains_and_resumes(name, kind):
    run = fit(write(name, kind), 80, *on_gpu(name, "32-true"), "--execution=CudaGraph")
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=120"])
    assert metrics(run)[-1]["env_steps"] == 120
