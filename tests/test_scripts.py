"""Scripts that people run: do they do what they say, in small?"""

import csv
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_maxent.cli import parse

ROOT = Path(__file__).parent.parent


def carry_out(script: str, *arguments: str) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def small_figure_33(out: Path, *further: str) -> str:
    small = ["--out", str(out), "--trainer.max_steps=60", "--data.warmup_steps=40", "--data.batch_size=8"]
    small += ["--data.eval_episodes=1", "--trainer.enable_progress_bar=false"]
    return carry_out("figure33.py", *small, *further)


def test_figure_33_draws_prints_one_line_and_does_not_train_twice(tmp_path):
    (line,) = small_figure_33(tmp_path).splitlines()
    numbers = json.loads(line)
    assert json.loads((tmp_path / "figure33.json").read_text()) == numbers
    assert (tmp_path / "figure33.png").stat().st_size > 50_000
    for shares in ("goals", "exact_goals", "deterministic_goals"):
        assert len(numbers[shares]) == 4
        assert sum(numbers[shares]) <= 1 + 1e-9
    assert sum(numbers["exact_goals"]) > 0.99
    assert numbers["exact_return"] == pytest.approx(-192.6, abs=5)
    origin = numbers["probes"]["[0.0, 0.0]"]
    assert origin["exact_entropy"] == pytest.approx(1.285, abs=0.003)
    assert origin["kl"] > 0.05  # hardly trained
    checkpoints = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/*/checkpoints/last.ckpt")}
    assert len(checkpoints) == 2
    (again,) = small_figure_33(tmp_path).splitlines()
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    assert json.loads(again)["probes"]["[0.0, 0.0]"]["exact_value"] == origin["exact_value"]


@pytest.mark.parametrize("proposal", ["uniform", "policy"])
@pytest.mark.parametrize("policy", ["stein", "flow", "mixture", "gaussian"])
def test_every_policy_of_figure_33_is_a_configuration_that_holds_together(policy, proposal, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    figure33 = importlib.import_module("figure33")
    parse(["fit", "--config=continuous_soft_q/multi_goal", *figure33.PROPOSALS[proposal], *figure33.POLICIES[policy]])


def test_figure_33_refuses_a_flag_that_only_one_of_its_agents_knows_before_either_is_trained(tmp_path):
    with pytest.raises(AssertionError, match=r"figure33.py: error: .*particles"):
        small_figure_33(tmp_path, "--model.particles=lightning_maxent.particles.PolicyExpectation")
    assert not list(tmp_path.iterdir())


def test_figure_33_takes_no_run_with_other_settings_for_its_own(tmp_path):
    small_figure_33(tmp_path)
    with pytest.raises(AssertionError, match=r"figure33.py: error: The run .* was carried out with other settings"):
        small_figure_33(tmp_path, "--trainer.max_steps=80")


def test_figure_33_goes_on_with_a_run_that_was_cut_off(tmp_path):
    small_figure_33(tmp_path)
    for finished in tmp_path.glob("runs/*/*/*/finished"):
        finished.unlink()
    small_figure_33(tmp_path, "--trainer.max_steps=80")
    (metrics,) = tmp_path.glob("runs/continuous_soft_q_learning/*/*/metrics.csv")
    rows = csv.DictReader(metrics.read_text().splitlines())
    assert [row["env_steps"] for row in rows if row["eval/return_mean"]] == ["60", "80"]


def test_samplers_compare_every_policy_with_exact_samples(tmp_path):
    carry_out("samplers.py", "--dims", "1", "--seeds", "0", "--updates", "5", "--out", str(tmp_path / "found"))
    rows = (tmp_path / "found.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 6
    assert rows[0].startswith("modes,dim,policy,particles,seed,updates,energy_distance,baseline,share_error")
    assert (tmp_path / "found.png").exists()


def test_particles_tell_bias_and_cost_for_both_proposals(tmp_path):
    small = ["--repeats", "200", "--updates", "2", "--timed", "2", "--out", str(tmp_path / "found")]
    carry_out("particles.py", *small)
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 7
    uniform = [float(row["bias"]) for row in rows if row["proposal"] == "uniform" and row["state"] == "(-2.5, 0.0)"]
    assert uniform[0] < -0.4  # two particles, of which most miss the one mode
    assert abs(uniform[-1]) < 0.06
    assert (tmp_path / "found.png").exists()


def test_the_warm_start_goes_through_every_goal_and_repeats_nothing(tmp_path):
    small = ["--seeds", "0", "--before", "70", "--after", "250", "--runs_dir", str(tmp_path / "runs")]
    small += [
        "--out",
        str(tmp_path / "found"),
        "--data.batch_size=8",
        "--data.eval_episodes=1",
        "--data.updates_per_round=0",
    ]
    small.append("--data.warmup_steps=64")
    carry_out("warm_start.py", *small)
    with (tmp_path / "found.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 4  # agents and goals
    assert (tmp_path / "found.png").exists()
    runs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*/*/metrics.csv")}
    assert len(runs) == 2 + 16
    carry_out("warm_start.py", *small)
    assert {path: path.stat().st_mtime_ns for path in runs} == runs


def test_the_temperature_sweep_draws_the_optimum_of_the_objective_that_was_trained(tmp_path, monkeypatch):
    """On FrozenLake, at alpha .05, the two optima have very different entropies (nats, to three digits)."""
    run = ["--config", "a2c/frozen_lake", "--alphas", "0.05", "--seeds", "0", "--jobs", "1"]
    run += ["--trainer.max_steps=400", "--data.eval_interval=400", "--data.eval_episodes=2"]
    carry_out("temperature_sweep.py", *run, "--runs_dir", str(tmp_path / "runs"), "--out", str(tmp_path / "sweep"))
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    (row,) = csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines())
    assert (row["objective"], row["alpha"], row["env_steps"]) == ("CurrentEntropy", "0.05", "400")
    monkeypatch.syspath_prepend(ROOT / "scripts")
    exact_curve = importlib.import_module("temperature_sweep").exact_curve
    for objective, entropy in (("CurrentEntropy", 1.335), ("TrajectoryEntropy", 0.794)):
        assert exact_curve("FrozenLake-v1", 0.95, objective, [0.05])[0, 1] == pytest.approx(entropy, abs=1e-3)
