"""Where runs execute: the same runs with the same results everywhere, and those that are killed are retried."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from submitit import LocalExecutor
from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

from lightning_maxent.backends import run_process
from lightning_maxent.backends.run import Run
from lightning_maxent.backends.run_process import Ended, RunProcess
from lightning_maxent.backends.slurm import SlurmBackend, SlurmTask, _last_error, minutes, parse_options
from lightning_maxent.comparison import command
from lightning_maxent.errors import MaxEntError

compare = partial(command.compare, parse=lambda arguments: None)  # what the fake takes, the real one does not
pytestmark = pytest.mark.usefixtures("fake_fit")


def comparison(does: str = "finishes", seeds: str = "[0, 1]") -> str:
    text = f"variants: {{good: [sac/pendulum], other: [sac/pendulum, --model.does={does}]}}\nseeds: {seeds}\n"
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
        f"Killed: other, Pendulum-v1, seed {seed} (killed by SIGKILL); retry 1 of 2." for seed in (0, 1)
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
    assert "last.ckpt" in log().split("began")[2]
    assert log(seed=1).count("began") == 1
    for table in ("evaluations.csv", "statistics.csv"):
        assert Path("out", table).read_text() == Path("expected", table).read_text()


def test_jobs_of_submitit_write_the_same_files_as_local_runs():
    assert compare([comparison("is_killed"), "--out=expected", "--jobs=2"]) == 0
    assert compare(["comparison.yaml", "--out=out", "--backend=slurm", "--slurm", "cluster=local"]) == 0
    for table in ("evaluations.csv", "statistics.csv"):
        assert Path("out", table).read_text() == Path("expected", table).read_text()
    assert log().count("began") == 2
    files = [{str(path.relative_to(out)) for path in Path(out, "runs").rglob("*")} for out in ("out", "expected")]
    assert files[0] - files[1] == {
        f"runs/{name}/Pendulum-v1/seed{seed}/slurm_job" for name in ("good", "other") for seed in (0, 1)
    }
    assert files[1] <= files[0]


@pytest.fixture
def slurm(monkeypatch):
    """The folder of a SLURM that executes jobs on this machine."""
    jobs, commands = Path("slurm").absolute(), Path("commands").absolute()
    jobs.mkdir()
    commands.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel", "scontrol"):
        fake = Path(__file__).with_name("fake_slurm.py")
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {fake} {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_SLURM", str(jobs))
    monkeypatch.setattr(SlurmBackend, "seconds_between_polls", 0.2)
    monkeypatch.setattr(SlurmJob, "watcher", SlurmInfoWatcher(delay_s=1))  # it is kept from test to test
    monkeypatch.setattr(SlurmJob, "_results_timeout_s", 1)
    return jobs


def on_slurm(*args: str) -> int:
    return compare(["comparison.yaml", "--out=out", "--backend=slurm", "--slurm", "partition=gpu", *args])


def test_jobs_go_on_after_ctrl_c_and_the_same_command_waits_for_them(slurm, capsys, monkeypatch):
    assert compare([comparison(), "--out=expected", "--jobs=2"]) == 0
    comparison("goes_on")

    def interrupt():
        wait_for(lambda: parent(0) and parent(1))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = in_background(interrupt)
    assert on_slurm() == 130
    thread.join()
    told = capsys.readouterr().out
    assert "The jobs go on, and the same command waits for them again.  To cancel them: scancel " in told
    assert "lightning-maxent compare --out out --backend slurm --slurm partition=gpu" in told
    assert "--partition=gpu" in (slurm / "1/script.sh").read_text()
    poll = SlurmBackend.poll

    def poll_and_go_on(*args):  # when all runs have been started, or their jobs found
        Path("go_on").touch()
        return poll(*args)

    monkeypatch.setattr(SlurmBackend, "poll", poll_and_go_on)
    assert on_slurm() == 0
    assert len(list(slurm.iterdir())) == 4
    assert log().count("began") == 1
    for table in ("evaluations.csv", "statistics.csv"):
        assert Path("out", table).read_text() == Path("expected", table).read_text()


def while_it_runs(event: str) -> threading.Thread:
    """Let something happen to the job of the run that ``goes_on``."""

    def happen():
        wait_for(lambda: parent(0))
        job = Path("out/runs/other/Pendulum-v1/seed0/slurm_job").read_text()
        subprocess.run([sys.executable, Path(__file__).with_name("fake_slurm.py"), event, job], check=True)

    return in_background(happen)


@pytest.mark.parametrize("event", ["announce_end", pytest.param("lose", marks=pytest.mark.slow)])
def test_a_job_that_is_requeued_or_lost_goes_on_from_its_checkpoint(event, slurm, capsys):
    comparison("goes_on", seeds="[0]")
    thread = while_it_runs(event)
    assert on_slurm() == 0
    thread.join()
    assert "last.ckpt" in log().split("began")[2]
    assert len(list(slurm.iterdir())) == (2 if event == "announce_end" else 3)  # SLURM requeued it, or we submitted it
    assert ("was lost: SLURM says NODE_FAIL); retry 1 of 2." in capsys.readouterr().err) == (event == "lose")


@pytest.mark.parametrize(("earlier", "goes_on"), [(1, True), (2, False)])
def test_a_run_is_given_up_after_three_jobs_in_a_row_without_an_environment_step(earlier, goes_on, tmp_path):
    run = a_run(tmp_path / "run")
    with (run.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # so that it makes no step
        task = SlurmTask(run, run_process.PROGRAM, tmp_path, earlier)
        thread = in_background(task)
        wait_for(lambda: run.log.exists() and run.log.read_text())
        assert (task.checkpoint() is not None) == goes_on
        thread.join()


@pytest.mark.slow
def test_a_job_that_the_user_cancels_is_not_retried(slurm, capsys):
    comparison("goes_on", seeds="[0]")
    thread = while_it_runs("scancel")
    assert on_slurm() == 1
    thread.join()
    assert "was cancelled); its log is" in capsys.readouterr().err
    assert len(list(slurm.iterdir())) == 2


def a_run(folder: Path, does: str = "finishes") -> Run:
    folder.mkdir()
    return Run("a", "World", 0, folder, (f"--model.does={does}",))


@pytest.fixture
def waiting_run(tmp_path):
    """A run that waits while another process holds its lock: the run, its process, and how it ended after the test."""
    run = a_run(tmp_path / "run")
    process = RunProcess(run, run_process.PROGRAM)
    ended: list[Ended] = []
    with (run.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = in_background(lambda: ended.append(process.carry_out()))
        wait_for(lambda: run.log.exists() and "Waiting until an earlier process of this run" in run.log.read_text())

        def free_lock() -> list[Ended]:
            fcntl.flock(lock, fcntl.LOCK_UN)
            thread.join()
            return ended

        yield run, process, thread, free_lock


def test_a_run_waits_until_a_process_that_was_believed_lost_has_ended(waiting_run):
    run, _, _, free_lock = waiting_run
    (run.folder / "finished").touch()  # by the process that was believed lost
    assert free_lock() == [Ended(0)]
    assert "began" not in run.log.read_text()


def test_a_run_that_waits_for_another_process_can_be_stopped(waiting_run):
    run, process, thread, free_lock = waiting_run
    process.stop()
    thread.join()
    assert free_lock() == [Ended(130)]
    assert "began" not in run.log.read_text()
    assert not (run.folder / "failed").exists()


def test_the_process_of_a_run_holds_its_lock_and_ends_with_the_process_that_waits_for_it(tmp_path):
    run = a_run(tmp_path / "run", "goes_on")
    code = (
        "import sys; from pathlib import Path; from lightning_maxent.backends.run import Run; "
        "from lightning_maxent.backends.run_process import RunProcess; "
        f"RunProcess(Run('a', 'World', 0, Path({str(run.folder)!r}), {run.settings}), {run_process.PROGRAM}).carry_out()"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as waiting:
        wait_for(lambda: parent(0))
        assert parent(0) == waiting.pid
        with (run.folder / ".lock").open("w") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waiting.kill()
            fcntl.flock(lock, fcntl.LOCK_EX)  # when the process of the run has ended


def test_a_machine_without_the_folder_is_named_in_one_sentence(tmp_path):
    run = Run("a", "World", 0, Path("out/runs/a"), ())
    how = RunProcess(run, run_process.PROGRAM, tmp_path / "elsewhere").carry_out()
    assert how.status == 1
    assert "does not see the folder" in how.reason


OTHERS = ["compare/pendulum", "--out=out"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--backend=grid"], "invalid choice: 'grid'"),
        (["--retries=-1"], "--retries must be at least 0, but is -1."),
        (["--ray_address=here:6379"], "--ray_address needs --backend ray, but the backend is local."),
        (["--backend=ray", "--slurm", "time=5"], "--slurm needs --backend slurm, but the backend is ray."),
        (
            ["--backend=ray", "--ray_address=127.0.0.1:1"],
            "No Ray cluster lets us in at 127.0.0.1:1: give the address that",
        ),
        (["--backend=ray", "--ray_address=here"], "No Ray cluster lets us in at here: give the address that"),
        (["--backend=ray", "--ray_gpus=-1"], "--ray_gpus must be a number from 0, but is -1."),
        (["--backend=ray", "--ray_cpu=2"], "There is no option --ray_cpu; did you mean --ray_cpus?"),
        (["--backend=slurm", "--slurm", "time=5"], "needs sbatch and srun and sacct and scancel on the path"),
        (["--backend=slurm", "--slurm", "partitoin=gpu"], "--slurm has no option partitoin; did you mean partition?"),
        (["--backend=slurm", "--slurm", "reservation=me"], "put it into additional_parameters of a YAML file."),
        (["--backend=slurm", "--slurm", "nodes=2"], "--slurm may not set nodes, because each run is one task"),
        (["--backend=slurm", "--slurm", "time=soon"], "must be minutes or days-hours:minutes:seconds, but is soon."),
        (["--backend=slurm", "--slurm", "time=0"], "must be minutes or days-hours:minutes:seconds, but is 0."),
        (["--backend=slurm", "--slurm", "nowhere.yaml"], "nowhere.yaml is neither key=value nor a YAML file"),
        (["--backend=slurm", "--slurm", "list.yaml"], "list.yaml must map options of sbatch to their values"),
        (["--backend=slurm", "--slurm", "cluster=moon"], "cluster of --slurm must be slurm or local, but is moon."),
        (["--backend=slurm", "--slurm", "additional_parameters=x"], "must be a mapping in a YAML file, but is 'x'."),
    ],
)
def test_a_mistake_ends_in_one_sentence(args, sentence, monkeypatch):
    Path("list.yaml").write_text("- a")
    with pytest.raises(MaxEntError) as error:
        compare([*OTHERS, *args])
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("backend", "package", "advice"), [("ray", "ray", "'ray[default]'"), ("slurm", "submitit", "submitit")]
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(backend, package, advice, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"lightning_maxent.backends.{backend}", raising=False)
    with pytest.raises(MaxEntError, match=re.escape(f"pip install {advice}.")):
        compare([*OTHERS, f"--backend={backend}"])


def test_the_error_of_a_job_is_the_last_line_of_its_traceback(tmp_path):
    executor = LocalExecutor(tmp_path)
    job = executor.submit(int, "x")
    text = str(job.exception())
    assert _last_error(text) == "ValueError: invalid literal for int() with base 10: 'x'"


def test_options_of_slurm_come_from_pairs_or_from_a_file():
    Path("gpu.yaml").write_text(
        "partition: gpu\ntime: 1:30:00\nsetup: [module load cuda]\nexclusive: true\n"
        "additional_parameters: {reservation: me}\n"
    )
    assert parse_options(["gpu.yaml", "mem=16GB", "gpus=2", "setup=hostname"]) == {
        "job_name": "lightning-maxent",
        "partition": "gpu",
        "time": 90,
        "mem": "16GB",
        "gpus_per_node": 2,
        "setup": ["hostname"],
        "exclusive": True,
        "additional_parameters": {"reservation": "me"},
    }
    assert parse_options([])["time"] == 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("1:30:00", 90), ("5:30", 6), ("2-0", 2880), ("1-12:30", 2190), ("1-00:00:01", 1441)],
)
def test_times_are_those_of_sbatch(text, expected):
    assert minutes(text) == expected


def test_the_file_of_the_page_on_many_machines_is_taken(slurm):
    page = (Path(__file__).parents[2] / "docs/many_machines.md").read_text()
    Path("gpu.yaml").write_text(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    options = parse_options(["gpu.yaml", "account=me"])
    assert (options["time"], options["gpus_per_node"], options["account"]) == (240, 1, "me")
    SlurmBackend(None, Path("files"), ["gpu.yaml"])  # submitit refuses what it does not know
