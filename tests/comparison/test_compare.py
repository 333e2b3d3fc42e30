"""``lightning-maxent compare`` as users see it, with runs that really train."""

import csv
import os
import sys
from pathlib import Path

import pytest
import yaml

from lightning_maxent.cli.command import main
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS
from lightning_maxent.comparison.specification import make_comparison

TESTS = Path(__file__).parent.parent
OPTIONS = """
  - --data.env_id=probe_envs:probe/Counting-v0
  - --data.capacity=500
  - --data.batch_size=16
  - --data.learning_starts=20
  - --data.eval_interval=40
  - --data.eval_episodes=1
  - --training_log.every_n_steps=20
  - --trainer.max_steps=80
  - --trainer.accelerator=cpu
"""
BEGUN = f"variants: {{V: [value_sac/pendulum], no V: [sac/pendulum]}}\nseeds: [1]\nsettings:{OPTIONS}"
BROKEN = BEGUN.replace("no V:", "broken: [value_sac/pendulum, --model.discount=2], no V:")


def test_compare_trains_resumes_and_reports_failures_of_all_variants_and_seeds(monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])))
    monkeypatch.setattr(sys, "argv", ["lightning-maxent"])
    Path("mine.yaml").write_text(BEGUN)
    main(["compare", "mine.yaml", "--out=out", "--jobs=2"])
    with open("out/evaluations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["env_steps"], row["eval/return_mean"]) for row in rows] == 2 * [("40", "15.0"), ("80", "15.0")]
    assert [row["gradient_steps"] for row in rows[:2]] == ["20.0", "60.0"]
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert "Drawn: out/page.html" in capsys.readouterr().out

    run = Path("out/runs/V/probe_envs-probe-Counting-v0/seed1")
    assert (next(run.glob("*/*/run")) / "config.yaml").exists()
    (run / "finished").unlink()
    before = {path: path.stat().st_mtime_ns for path in Path("out/runs/no-V").rglob("*")}
    Path("mine.yaml").write_text(BROKEN)
    with pytest.raises(SystemExit) as stop:
        main(["compare", "mine.yaml", "--out=out", "--jobs=2"])
    assert stop.value.code == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Failed:")]
    assert error.startswith(
        "Failed: broken, probe_envs:probe/Counting-v0, seed 1 (exit code 1: The discount must lie in"
    )
    assert error.endswith("broken/probe_envs-probe-Counting-v0/seed1/log.txt.")
    assert "Resuming from" in (run / "log.txt").read_text()
    assert "at 80 environment steps" in (run / "log.txt").read_text()
    assert (run / "finished").exists()
    assert {path: path.stat().st_mtime_ns for path in Path("out/runs/no-V").rglob("*")} == before


def test_a_mistake_ends_in_one_sentence_without_a_traceback(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", "compare/pendulum", "--jbs", "2"])
    assert stop.value.code == 1
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("lightning-maxent: error: There is no option --jbs; did you mean --jobs?")


def test_help_lists_compare_and_its_options(capsys):
    main(["--help"])
    assert "  compare    train several algorithms on several tasks and seeds" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "--draw_only" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((BUILT_IN_CONFIGS / "compare").glob("*.yaml")), ids=lambda path: path.stem)
def test_built_in_comparisons_are_valid(path):
    assert make_comparison(yaml.safe_load(path.read_text()), path.name).seeds
