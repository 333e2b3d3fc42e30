"""Learning runs of minutes, on demand: pytest -m slow."""

import csv
from pathlib import Path

import pytest

from lightning_maxent.cli import main

REACHES = {  # environment steps of a configuration, and the mean of 10 deterministic episodes; docs/results has the seeds
    "sac/pendulum": (10_000, -200),
    "target_critic_sac/pendulum": (10_000, -200),
    "continuous_soft_q/pendulum": (30_000, -250),
    "ddpg/pendulum": (20_000, -200),
    "td3/pendulum": (20_000, -200),
    "ppo/pendulum": (300_000, -300),
    "soft_q/cartpole": (50_000, 475),
    "sac_discrete/cartpole": (50_000, 475),
    "ppo/cartpole": (100_000, 475),
    "a2c/cartpole": (200_000, 450),
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", REACHES)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_built_in_configuration_reaches_what_is_said_of_it(name, seed):
    main(["fit", f"--config={name}", f"--seed_everything={seed}", "--runs_dir=.", "--name=a"])
    (run,) = Path().glob("*/*/a/metrics.csv")
    with run.open() as file:
        last = [row for row in csv.DictReader(file) if row["eval/return_mean"]][-1]
    steps, reached = REACHES[name]
    assert int(last["env_steps"]) >= steps
    assert float(last["eval/return_mean"]) >= reached
