"""Learning runs of minutes, on demand: pytest -m slow."""

import csv
from pathlib import Path

import pytest

from lightning_maxent.cli.command import main

REACHES = {  # environment steps of a configuration, and the mean of 10 deterministic episodes; docs/results has the seeds
    "value_sac/pendulum": (10_000, -200),
    "sac/pendulum": (10_000, -200),
    "continuous_soft_q/pendulum": (30_000, -250),
    "ddpg/pendulum": (20_000, -200),
    "td3/pendulum": (20_000, -200),
    "ppo/pendulum": (300_000, -300),
    "soft_q/cartpole": (50_000, 475),
    "discrete_sac/cartpole": (50_000, 475),
    "dqn/cartpole": (100_000, 475),
    "ppo/cartpole": (100_000, 475),
    "a2c/cartpole": (200_000, 450),
}


def last_evaluation() -> dict[str, str]:
    (run,) = Path().glob("*/*/a/metrics.csv")
    with run.open() as file:
        return [row for row in csv.DictReader(file) if row["eval/return_mean"]][-1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", REACHES)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_built_in_configuration_reaches_its_documented_return(name, seed):
    main(["fit", f"--config={name}", f"--seed_everything={seed}", "--runs_dir=.", "--name=a"])
    last = last_evaluation()
    steps, reached = REACHES[name]
    assert int(last["env_steps"]) >= steps
    assert float(last["eval/return_mean"]) >= reached


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("alpha", "lowest", "highest"), [(0.005, 0.5, 0.5), (0.05, 0.9, 1.0), (0.5, 0.45, 0.7)])
@pytest.mark.usefixtures("in_an_empty_folder")
def test_alpha_decides_between_the_near_reward_the_best_reward_and_a_random_walk(alpha, lowest, highest, seed):
    """A corridor that pays .5 beside the start and 1 at its far end; a random walk has .58 there."""
    main(
        [
            *("fit", "--config=a2c/frozen_lake", f"--seed_everything={seed}", "--runs_dir=.", "--name=a"),
            *(f"--model.temperature.init_args.alpha={alpha}", "--trainer.max_steps=50_000"),
            *("--data.eval_interval=50_000", "--data.eval_episodes=100"),
            '--data.env_kwargs={"desc": ["HSFFFFFG"], "is_slippery": false, "reward_schedule": [1, 0.5, 0]}',
        ]
    )
    assert lowest <= float(last_evaluation()["eval/sampled_return_mean"]) <= highest
