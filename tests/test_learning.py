"""Learning runs of minutes, on demand: pytest -m slow."""

import csv
import sys
from pathlib import Path

import pytest

from lightning_maxent.cli import main


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("algorithm", ["sac", "target_critic_sac"])
def test_the_default_configuration_swings_up_the_pendulum_within_ten_thousand_steps(
    algorithm, seed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-maxent"])
    main(["fit", "--config", f"{algorithm}/pendulum", "--seed_everything", str(seed), "--name", "a"])
    with Path(f"runs/{algorithm}/Pendulum-v1/a/metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert last["env_steps"] == "10000"
    assert float(last["eval/return_mean"]) >= -200  # mean of 10 deterministic episodes
