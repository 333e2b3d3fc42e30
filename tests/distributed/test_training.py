"""Runs of two processes: equal models, own data, joint clocks, one folder."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import SMALL, metrics
from ranks import in_processes

from lightning_maxent import AbstractAlgorithm
from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import run
from lightning_maxent.distributed import own_buffers

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
TWO = [*SMALL, "--data.learning_starts=40", "--trainer.devices=2", "--trainer.strategy=auto"]
SCALED = [
    "--data.observation_scaling=lightning_maxent.StandardizedObservations",
    "--data.reward_scaling=lightning_maxent.ReturnScaledRewards",
]
ROLLOUTS = [
    *(each for each in TWO if not any(word in each for word in ("capacity", "batch_size", "starts", "critic"))),
    "--data.steps_per_round=20",
    "--data.num_envs=2",
]


def digest(state: dict[str, torch.Tensor]) -> str:
    together = hashlib.sha256()
    for name, tensor in state.items():
        together.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return together.hexdigest()


def fitted(*args: str) -> dict[str, Any]:
    """What a process has at the end of a run, and a digest of all that must be equal after every update."""
    update, digests = AbstractAlgorithm.update, []

    def watched(self, batch, optimizers):
        update(self, batch, optimizers)
        own = own_buffers(self)
        digests.append(digest({name: each for name, each in self.state_dict().items() if name not in own}))

    AbstractAlgorithm.update = watched
    cli = run(resolve_arguments(["fit", *args]))
    AbstractAlgorithm.update = update
    data = cli.datamodule
    return {
        "digests": digests,
        "model": {name: each.clone() for name, each in cli.model.state_dict().items()},
        "own": {name: each.clone() for name, each in own_buffers(cli.model).items()},
        "scalings": [scaling.state_dict() for scaling in data._scalings.values()],
        "env_steps": data.env_steps,
        "seeds": [torch.initial_seed(), data._seed("train"), data._seed("mode")],
        "rows": data.buffer.storage[:]["action"].clone() if hasattr(data, "buffer") else None,
        "metrics": {name: float(each) for name, each in cli.trainer.callback_metrics.items()},
        "folder": str(cli.run_dir),
    }


def test_x():
    a = in_processes(2, lambda rank: fitted("sac/pendulum", *TWO, *SCALED, "--trainer.max_steps=80", "--name=a"))
    assert a[0]["digests"] == a[1]["digests"]
    print(a[0]["seeds"], a[1]["seeds"], a[0]["metrics"], a[0]["scalings"], len(a[0]["digests"]))
    print(os.listdir())
    print(Path("rank-1.log").read_text())
    assert 0
