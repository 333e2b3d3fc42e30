"""Where runs execute: the same runs with the same results everywhere, and those that are killed are retried."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from lightning_maxent.backends import run_process
from lightning_maxent.backends.run import Run
from lightning_maxent.backends.run_process import Ended, RunProcess
from lightning_maxent.comparison import command
from lightning_maxent.errors import MaxEntError

compare = partial(command.compare, parse=lambda arguments: None)  # what the fake takes, the real one does not
pytestmark = pytest.mark.usefixtures("fake_fit")


def comparison(does: str = "finishes") -> str:
    text = f"variants: {{good: [sac/pendulum], other: [sac/pendulum, --model.does={does}]}}\nseeds: [0, 1]\n"
    Path("comparison.yaml").write_text(text)
    return "comparison.yaml"


def log(name: str = "other", seed: int = 0, out: str = "out") -> str:
    return Path(f"{out}/runs/{name}/Pendulum-v1/seed{seed}/log.txt").read_text()


def parent(seed: int) -> int:
    """The process that waits for the run of this seed that ``goes_on``; 0 if there is none yet."""
    path = Path(f"parent{seed}")
    return int(path.read_text() or 0) if path.exists() else 0


def wait_for(happens, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def in_background(function) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_run_that_was_killed_goes_on_from_its_checkpoint_with_the_same_results(capsys):
    assert compare([comparison(), "--out=expected", "--jobs=2"]) == 0
    assert compare([comparison("is_killed"), "--out=out", "--jobs=2"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Killed")]
    assert sorted(told) == [
        f"Killed: other, Pendulum-v1, seed {seed} (killed by SIGKILL); retry 1 of 2."
        for seed in (0, 1)
    ]
    first, second = (line for line in log().splitlines() if line.startswith("began"))
    assert "--ckpt_path" not in first
    assert "last.ckpt" in second
    for table in ("evaluations.csv", "statistics.csv"):
        assert Path("out", table).read_text() == Path("expected", table).read_text()
    assert not list(Path("out").rglob("failed"))


def test_a_run_that_is_killed_again_and_again_fails_after_the_given_retries(capsys):
    assert compare([comparison("is_killed_again"), "--out=out", "--retries=1"]) == 1
    assert log().count("began") == 2
    assert "Failed: other, Pendulum-v1, seed 0 (killed by SIGKILL); its log is" in capsys.readouterr().err
    assert Path("out/runs/other/Pendulum-v1/seed0/failed").read_text() == "killed by SIGKILL"


def test_a_run_that_ends_with_an_error_is_not_retried():
    assert compare([comparison("fails"), "--out=out"]) == 1
    assert log().count("began") == 1


def test_two_ray_workers_finish_after_one_of_them_was_killed(capsys):
    assert compare([comparison(), "--out=expected", "--jobs=2"]) == 0

    def kill_a_worker():
        wait_for(lambda: parent(0) and parent(1))
        os.kill(parent(0), signal.SIGKILL)
        wait_for(lambda: log().count("began") == 2)
        Path("go_on").touch()  # the other run

    thread = in_background(kill_a_worker)
    assert compare([comparison("goes_on"), "--out=out", "--jobs=2", "--backend=ray"]) == 0
    thread.join()
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Killed")]
    assert told.startswith("Killed: other, Pendulum-v1, seed 0 (its Ray worker was lost:")
    assert told.endswith("retry 1 of 2.")
    first, second = (line for line in log().splitlines() if line.startswith("began"))
    assert "last.ckpt" in second
    assert log(seed=1).count("began") == 1
    for table in ("evaluations.csv", "statistics.csv"):
        assert Path("out", table).read_text() == Path("expected", table).read_text()
