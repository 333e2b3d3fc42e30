"""Helpers for tests of the command line: a small run, its error messages and files, and commands in a process of their
own.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.cli.command import main

TESTS = Path(__file__).parent
SMALL = [
    "--data.env_id=probe_envs:probe/Counting-v0",
    "--data.capacity=500",
    "--data.batch_size=16",
    "--data.learning_starts=20",
    "--data.eval_interval=40",
    "--data.eval_episodes=2",
    "--model.critic.init_args.network.init_args.hidden_dims=[16]",
    "--model.policy.init_args.network.init_args.hidden_dims=[16]",
    "--checkpoint.every_n_steps=30",
    "--training_log.every_n_steps=20",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
SMALL_PENDULUM = [
    "--data.batch_size=16",
    "--data.learning_starts=64",
    "--data.eval_interval=200",
    "--data.eval_episodes=1",
    "--data.observation_scaling=StandardizedObservations",
    "--trainer.max_steps=200",
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def fit_pendulum(name: str, *args: str) -> Path:
    """The folder of a small run of SAC on Pendulum with standardized observations."""
    main(["fit", "sac/pendulum", *SMALL_PENDULUM, f"--name={name}", *args])
    return Path("runs/sac/Pendulum-v1").absolute() / name


def fit(*args: str, algorithm: str = "value_sac", steps: int = 100) -> Path:
    main(["fit", "--config", f"{algorithm}/pendulum", *SMALL, f"--trainer.max_steps={steps}", "--name=a", *args])
    return Path("runs") / algorithm / "probe-Counting-v0" / "a"


def refused(capsys, *args: str) -> str:
    """The one sentence with which a command is refused."""
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert stop.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("lightning-maxent: error: ")
    return error


def verify(capsys, arguments: str) -> tuple[int, list[dict]]:
    """Exit status and what was printed, a dictionary for every check."""
    status = 0
    try:
        main(["verify", "--json", *arguments.split()])
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def saved(run: Path) -> dict[str, Any]:
    """Its last checkpoint, with the replay buffer."""
    return AtomicCheckpointIO().load_checkpoint(run / "checkpoints" / "last.ckpt")


def metrics(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def without_speed(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.startswith("speed/")} for row in rows]


def command(*args: str) -> list[str]:
    return [sys.executable, "-c", "from lightning_maxent.cli.command import main; main()", *args]


def environment(*folders: Path) -> dict[str, str]:
    path = os.pathsep.join(map(str, (*folders, TESTS, TESTS.parent)))  # the package beside these tests, if no other
    return os.environ | {"PYTHONPATH": path, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}


def python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], env=environment(), capture_output=True, text=True)
