"""Trials: each has the value that its runs give it, and none is lost or repeated.

A run of ``fake_fit.py`` with seed s and bonus b is evaluated at 20 environment steps as s + b, and at 40 as 2 s + b.
"""

import csv
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from lightning_maxent.errors import MaxEntError
from lightning_maxent.sweep import command

OUT = Path("out")
SETTINGS = {"trainer": {"max_steps": 40}, "data": {"init_args": {"eval_interval": 20}}}
pytestmark = pytest.mark.usefixtures("fake_fit")
sweep = partial(command.sweep, settings=lambda arguments: SETTINGS)  # the real one does not take what the fake takes

BONUS = "{--model.bonus: {min: 0.0, max: 8.0}}"
KINDS = """
  kind:
    values:
      good: [--model.bonus=10]
      better: [--model.bonus=20]
      bad: [--model.bonus=0, --model.does=waits]
      broken: [--model.does=fails]
"""


def write(space: str = BONUS, *, seeds: str = "[0]", trials: int = 4, further: str = "pruning: none") -> str:
    Path("mine.yaml").write_text(
        f"settings: [sac/pendulum, --data.batch_size=7]\nspace: {space}\nseeds: {seeds}\ntrials: {trials}\n{further}\n"
    )
    return "mine.yaml"


def kinds(*first: str, seeds: str = "[0]", further: str = "") -> str:
    """A sweep whose trials have these kinds, one after another."""
    entries = ", ".join(f"{{kind: {kind}}}" for kind in first)
    return write(KINDS, seeds=seeds, trials=len(first), further=f"first: [{entries}]\n{further}")


def run(file: str, *args: str) -> int:
    return sweep([file, f"--out={OUT}", "--jobs=1", *args])


def table() -> list[dict[str, str]]:
    with (OUT / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def logs() -> dict[str, str]:
    return {str(path.parent.relative_to(OUT / "runs")): path.read_text() for path in OUT.rglob("log.txt")}


def test_the_value_of_a_trial_is_the_interquartile_mean_of_its_seeds_at_the_end():
    assert run(write(seeds="[0, 1, 5]", trials=2)) == 0
    for row in table():
        bonus = float(row["model.bonus"])
        assert [float(row[f"seed {seed}"]) - bonus for seed in (0, 1, 5)] == pytest.approx([0, 2, 10])
        assert float(row["value"]) - bonus == pytest.approx((0 + 4 * 2 + 10) / 6)  # weights 1/6, 2/3, 1/6
    assert len(logs()) == 6
    assert len({row["model.bonus"] for row in table()}) == 2


def test_the_value_may_be_the_mean_of_several_evaluations():
    run(write(seeds="[4]", trials=1, further="last_evaluations: 2"))
    (row,) = table()
    assert float(row["value"]) - float(row["model.bonus"]) == pytest.approx((4 + 8) / 2)


def test_a_run_has_the_settings_then_the_values_of_its_trial():
    space = "{--data.batch_size: {values: [16, 32]}, critic: {values: [[critic/redq, --model.x=1], critic/tqc]}}"
    run(write(space, trials=1))
    (log,), (row,) = logs().values(), table()
    words = log.splitlines()[0].split()
    wanted = ["--config=sac/pendulum", "--data.batch_size=7", f"--data.batch_size={row['data.batch_size']}"]
    wanted += [f"--config={row['critic'].split()[0]}"]
    assert [words.index(word) for word in wanted] == sorted(words.index(word) for word in wanted)


def test_a_repeated_command_repeats_no_trial_and_more_trials_are_added():
    run(write(trials=2))
    first, rows = logs(), table()
    assert sweep([f"--out={OUT}"]) == 0
    assert logs() == first
    assert run("mine.yaml", "--trials=3") == 0
    assert {name: log for name, log in logs().items() if name in first} == first
    assert len(logs()) == 3
    assert table()[:2] == rows


def test_a_trial_that_is_behind_is_pruned_and_its_run_stopped(capsys):
    Path("wait").touch()
    median = "pruning: {method: median, startup_trials: 2}"
    assert run(kinds("good", "better", "bad", further=median)) == 0
    good, better, bad = table()
    assert [row["status"] for row in (good, better, bad)] == ["finished", "finished", "pruned"]
    assert (bad["env_steps"], bad["value"], bad["last_evaluation"]) == ("20", "", "0.0")
    assert "stopped" in logs()["trial2/seed0"]  # as Ctrl-C stops it, with a checkpoint
    assert not list(OUT.rglob("failed"))
    assert "Trial 2: pruned at 20 environment steps" in capsys.readouterr().err
    page = (OUT / "page.html").read_text()
    assert "Best: trial 1" in page
    assert sweep([f"--out={OUT}"]) == 0  # and stays pruned
    assert [row["status"] for row in table()] == ["finished", "finished", "pruned"]


def test_a_trial_is_compared_at_steps_that_all_its_seeds_have_reached():
    Path("wait").touch()
    file = kinds("good", "better", "bad", seeds="[0, 100]", further="pruning: {method: median, startup_trials: 2}")
    run(file, "--jobs=2")
    bad = table()[2]
    assert (bad["status"], bad["last_evaluation"]) == ("pruned", "50.0")  # the mean of 0 and 100


def test_hyperband_prunes_those_that_are_not_among_the_best_at_the_first_evaluation():
    Path("wait").touch()
    halving = "pruning: {method: hyperband, reduction_factor: 4}"  # 40 < 4 * 20: a single bracket
    run(kinds("better", "bad", "bad", further=halving))
    assert [(row["status"], row["env_steps"]) for row in table()] == [
        ("finished", "40"),
        ("pruned", "20"),
        ("pruned", "20"),
    ]


def test_a_failed_trial_is_named_and_the_others_go_on(capsys):
    assert run(kinds("broken", "good", seeds="[0, 1]")) == 0
    broken, good = table()
    assert (broken["status"], good["status"]) == ("failed", "finished")
    assert broken["reason"].startswith(
        "seed 0, exit code 1: It failed on purpose; its log is out/runs/trial0/seed0/log.txt"
    )
    assert "trial0/seed1" not in logs()  # nothing is gained by its other seeds
    assert "Trial 0 failed: seed 0, exit code 1" in capsys.readouterr().err
    assert "1 of 2 trials failed" in (OUT / "page.html").read_text()


def test_a_sweep_without_any_value_says_so(capsys):
    assert run(kinds("broken")) == 1
    assert "No trial in out has finished yet" in capsys.readouterr().out


def test_minimize_prefers_the_smallest_value():
    run(kinds("better", "good", further="direction: minimize"))
    assert "Best: trial 1" in (OUT / "page.html").read_text()


@pytest.fixture
def ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_stops_the_runs_and_the_same_command_resumes_them(capsys):
    Path("wait").touch()
    file = kinds("bad", "good", further="pruning: none")

    def interrupt():
        while not list(OUT.glob("runs/trial0/*/*/*/run/checkpoints/last.ckpt")):
            time.sleep(0.01)
        Path("wait").unlink()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert run(file) == 130
    thread.join()
    assert "lightning-maxent sweep --out out" in capsys.readouterr().out
    assert not list(OUT.rglob("failed"))
    assert sweep([f"--out={OUT}", "--jobs=1"]) == 0
    assert [row["status"] for row in table()] == ["finished", "finished"]
    began = [line for line in logs()["trial0/seed0"].splitlines() if line.startswith("began")]
    assert ["--ckpt_path=" in line for line in began] == [False, True]


def test_a_metric_that_no_run_has_ends_in_one_sentence():
    with pytest.raises(MaxEntError, match=r"no metric 'eval/retrun': give --metric and one of eval/return_mean"):
        run(write(trials=1), "--metric=eval/retrun")


def test_a_sweep_that_has_begun_refuses_another_space_but_not_more_trials():
    run(write(trials=1))
    with pytest.raises(MaxEntError, match=r"out has begun with other space: choose another --out, or restore them"):
        run(write("{--model.bonus: {min: 0.0, max: 9.0}}"))
    assert run(write(trials=2)) == 0
