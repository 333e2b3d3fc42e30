"""Worker processes that die, are stuck or are interrupted; none outlives its run."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
import torch
from cli_helpers import environment
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightning_maxent import MaxEntError, WorkerProcesses
from lightning_maxent.data import worker_processes
from lightning_maxent.data.action_codec import BoxCodec
from lightning_maxent.data.env_runner import EnvRunner
from lightning_maxent.data.spaces import make_env

DIES = "probe_envs:worlds/Dies-v0"


def workers(*of_copies: dict, env_id: str = DIES, **kwargs) -> WorkerProcesses:
    return WorkerProcesses(
        [partial(make_env, env_id, given, copy=copy) for copy, given in enumerate(of_copies)], **kwargs
    )


def step(runs: EnvRunner) -> None:
    runs.step(torch.zeros(runs.envs.num_envs, 1))


def started(*of_copies: dict) -> EnvRunner:
    envs = workers(*of_copies)
    return EnvRunner(envs, BoxCodec(envs.single_action_space), 0, "Dies", env_steps=100)


@pytest.fixture(autouse=True)
def _none_is_left():
    yield
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("how", "said"), [("exit", "exit status 3"), ("kill", "killed by signal 9, Killed")])
def test_a_copy_whose_process_dies_is_named_with_the_step_and_what_to_do(how, said):
    runs = started({"how": None}, {"how": how}, {"how": None})
    step(runs)
    step(runs)
    pids = [process.pid for process in runs.envs._processes]
    with pytest.raises(
        MaxEntError,
        match=rf"^Dies at environment step 109: the worker process of copy 1 died \({said}\): .* then resume from .*\.$",
    ):
        step(runs)
    runs.close()
    assert not any(map(is_running, pids))


def test_a_process_that_is_killed_between_two_steps_is_named_too():
    runs = started({"how": None}, {"how": None})
    os.kill(runs.envs._processes[0].pid, signal.SIGKILL)
    runs.envs._processes[0].join()
    with pytest.raises(MaxEntError, match="worker process of copy 0 died"):
        step(runs)
    runs.close()


def test_a_process_that_dies_as_it_makes_its_copy_is_named_and_the_others_end():
    made_here = os.getpid()

    def make(copy: int):
        return make_env(DIES, {"how": "exit" if copy == 1 and os.getpid() != made_here else None, "at": "make"})

    with pytest.raises(MaxEntError, match=r"the worker process of copy 1 died \(exit status 3\)"):
        WorkerProcesses([partial(make, copy) for copy in range(3)])


@pytest.mark.parametrize("place", ["step", "close"])
def test_a_copy_that_is_stuck_is_killed_when_it_is_closed(place, monkeypatch):
    monkeypatch.setattr(worker_processes, "SECONDS_TO_CLOSE", 0.5)
    made_here = os.getpid()

    def make(copy: int):
        return make_env(DIES, {"how": "sleep" if copy == 0 and os.getpid() != made_here else None, "at": place})

    envs = WorkerProcesses([partial(make, copy) for copy in range(2)])
    envs.reset(seed=0)
    if place == "step":
        for _ in range(3):
            for pipe in envs._pipes:
                pipe.send(("step", [0.0]))
    began = time.monotonic()
    envs.close()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_leave_ctrl_c_and_sigterm_to_the_run(number):
    runs = started({"how": None}, {"how": None})
    for process in runs.envs._processes:
        os.kill(process.pid, number)
    step(runs)
    runs.close()


def test_ctrl_c_in_the_middle_of_a_step_leaves_no_process_behind(monkeypatch):
    monkeypatch.setattr(worker_processes, "SECONDS_TO_CLOSE", 0.5)
    runs = started({"how": None}, {"how": "sleep"})
    step(runs)
    step(runs)
    timer = threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        step(runs)
    timer.join()
    runs.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_an_interrupt_a_copy_that_is_stuck_holds_nothing_up_for_long(number):
    """SIGTERM has a handler that only notes it, as that of Lightning does."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    runs = started({"how": None}, {"how": "sleep"})
    step(runs)
    step(runs)
    timer = threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, number])
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SIGTERMException):
        step(runs)
    timer.join()
    runs.close()
    assert time.monotonic() - began < 15
    signal.signal(signal.SIGTERM, before)


def test_an_error_of_a_worker_brings_its_own_traceback():
    envs = workers({"how": "raises"}, env_id="probe_envs:worlds/Mistaken-v0")
    runs = EnvRunner(envs, BoxCodec(envs.single_action_space), 0, "Mistaken")
    step(runs)
    step(runs)
    with pytest.raises(MaxEntError, match="raised IndexError") as raised:
        step(runs)
    assert "random.choice([])" in str(raised.value.__cause__)
    runs.close()


def test_copies_that_throw_global_dice_differ_and_a_seed_repeats_them():
    envs = workers({}, {}, env_id="probe_envs:worlds/Dice-v0")
    first, _ = envs.reset(seed=0)
    assert (first[0] != first[1]).all()
    again, _ = envs.reset(seed=0)
    assert (again == first).all()
    envs.close()


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_end(pids: list[int]) -> bool:
    for _ in range(100):
        if not any(map(is_running, pids)):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("stuck", [False, True])
def test_workers_end_with_a_run_that_is_killed_and_close_their_copies_if_they_can(stuck, tmp_path):
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    hows, closed = [None, "sleep" if stuck else None, None], [tmp_path / f"closed{copy}" for copy in range(3)]

    def run() -> None:
        runs = started(*({"how": how, "closed": str(file)} for how, file in zip(hows, closed)))
        step(runs)
        step(runs)
        there.send([process.pid for process in runs.envs._processes])
        step(runs)
        time.sleep(600)

    killed = context.Process(target=run)
    killed.start()
    pids = here.recv()
    time.sleep(1)
    assert all(map(is_running, pids))
    killed.kill()
    killed.join()
    assert all_end(pids)
    assert [file.exists() for file in closed] == [True, not stuck, True]


SCRIPT = """
from functools import partial
from lightning_maxent.data.spaces import make_env
from lightning_maxent.data.worker_processes import WorkerProcesses

if __name__ == "__main__":
    envs = WorkerProcesses([partial(make_env, "Pendulum-v1")], context="spawn")
    envs.reset(seed=0)
    print(envs._processes[0].pid, flush=True)
"""


def test_spawned_workers_end_with_a_script_that_does_not_close_them(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], env=environment(), capture_output=True, text=True, timeout=250
    )
    assert run.returncode == 0, run.stderr
    assert all_end([int(run.stdout)])
