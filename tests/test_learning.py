"""Learning runs of minutes, on demand: pytest -m slow."""

import csv
from pathlib import Path

import pytest

from lightning_maxent.cli import main

PENDULUM = {  # environment steps of its configuration, and what it reaches: the mean of 10 deterministic episodes
    "sac": (10_000, -200),
    "target_critic_sac": (10_000, -200),
    "continuous_soft_q": (30_000, -250),
    "ddpg": (20_000, -200),
    "td3": (20_000, -200),
    "ppo": (300_000, -300),
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("algorithm", PENDULUM)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_the_default_configuration_swings_up_the_pendulum(algorithm, seed):
    main(["fit", f"--config={algorithm}/pendulum", f"--seed_everything={seed}", "--runs_dir=.", "--name=a"])
    (run,) = Path().glob("*/Pendulum-v1/a/metrics.csv")
    with run.open() as file:
        last = [row for row in csv.DictReader(file) if row["eval/return_mean"]][-1]
    steps, reached = PENDULUM[algorithm]
    assert int(last["env_steps"]) >= steps
    assert float(last["eval/return_mean"]) >= reached
