"""What holds on a GPU: every algorithm in full and in mixed precision, and checkpoints that go from one device to another."""

import pytest
import torch
from cli_helpers import metrics, saved
from every_algorithm import CONFIGURATIONS, FIRST, cut_ends_as_whole, fit, write
from helpers import same

from lightning_maxent.cli.command import main

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
