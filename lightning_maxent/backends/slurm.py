"""Runs as jobs of SLURM, which submitit submits."""

import contextlib
import difflib
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_maxent.backends import run_process
from lightning_maxent.backends.base import AbstractBackend
from lightning_maxent.backends.run import Run
from lightning_maxent.backends.run_process import POLL, Ended, RunProcess
from lightning_maxent.errors import MaxEntError

try:
    import submitit
    from submitit.core.utils import FailedJobError, UncompletedJobError
    from submitit.helpers import DelayedSubmission
except ModuleNotFoundError as error:
    raise MaxEntError("--backend slurm needs submitit: pip install submitit.") from error

DEFAULTS = {"time": 60, "job_name": "lightning-maxent"}
LISTS = ("setup", "teardown", "srun_args")  # options of sbatch scripts that are several lines or words
_KINDS = {"additional_parameters": (dict, "a mapping in a YAML file"), **dict.fromkeys(LISTS, (list, "a list"))}
NOT_OURS = {"nodes", "ntasks_per_node", "num_gpus", "array_parallelism"}  # a run is one task, and a job of its own
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED", "RESIZING", "READY")
FRUITLESS = 3  # jobs of a run that reached their time limit without an environment step; then it is given up


class SlurmBackend(AbstractBackend):
    """Each run is a job of SLURM.

    A job that is preempted or reaches its time limit saves a checkpoint and is requeued.  Jobs go on when the command
    that submitted them ends; a run whose job is still queued or running gets no second one.

    Args:
        jobs: number of jobs that are queued or running at the same time; None for all runs.
        folder: folder of submitit's files: scripts, and what the jobs print beside the logs of the runs.
        options: options of sbatch as ``key=value``, or one YAML file with them; ``cluster=local`` executes the jobs on
            this machine without SLURM, to try the rest.

    Raises:
        MaxEntError: if submitit is not installed, there is no SLURM, or an option is wrong.
    """

    runs_stay = True
    seconds_between_polls = 2

    def __init__(self, jobs: int | None, folder: Path, options: Sequence[str]):
        super().__init__(jobs)
        given = parse_options(options)
        self._submitted: list[Any] = []
        if given.pop("cluster", "slurm") == "local":
            self._executor: Any = submitit.LocalExecutor(folder)
            self._executor.update_parameters(timeout_min=given["time"])
            return
        if missing := [name for name in ("sbatch", "srun", "sacct", "scancel") if shutil.which(name) is None]:
            raise MaxEntError(
                f"--backend slurm needs {' and '.join(missing)} on the path: run the command on a login node of the "
                f"cluster, or try it on this machine with --slurm cluster=local."
            )
        self._executor = submitit.SlurmExecutor(folder, max_num_timeout=sys.maxsize)
        self._executor.update_parameters(**given)

    def start(self, run: Run) -> Any:
        file = run.folder / "slurm_job"
        job = self._earlier_job(file)
        if job is None:
            try:
                job = self._executor.submit(SlurmTask(run, run_process.PROGRAM, Path.cwd()))
            except (RuntimeError, OSError) as error:
                said = " ".join(str(error).split())
                raise MaxEntError(f"sbatch did not take the job: {said}; see the options in --slurm.") from error
            file.write_text(job.job_id)
        self._submitted.append(job)
        return job

    def poll(self, handle: Any) -> Ended | None:
        how = self._ended(handle)
        if how is not None:
            self._submitted.remove(handle)
        return how

    def stop(self, handle: Any) -> None:
        handle.cancel(check=False)

    def close(self) -> None:
        if self._submitted:
            ids = " ".join(job.job_id for job in self._submitted)
            print(f"The jobs go on, and the same command waits for them again.  To cancel them: scancel {ids}")

    def _earlier_job(self, file: Path) -> Any:
        """The job that an earlier command submitted for a run, if it is still queued or running."""
        if not file.exists():
            return None
        job = self._executor.job_class(self._executor.folder, file.read_text())
        if _state(job) in ALIVE:
            return job
        if _state(job) == "UNKNOWN":  # to SLURM's accounting; it may be in the queue
            subprocess.run(["scancel", job.job_id], check=False, capture_output=True)
        return None

    def _ended(self, job: Any) -> Ended | None:
        state = _state(job)
        if state in (*ALIVE, "UNKNOWN") and not job.paths.result_pickle.exists():
            return None
        try:
            how = job.result()  # waits some seconds for a slow file system
        except FailedJobError as error:  # of submitit; RunProcess raises none
            return Ended(1, f"its job {job.job_id} ended with {_last_error(str(error))}")
        except UncompletedJobError:
            return Ended(None, f"its job {job.job_id} was lost: SLURM says {state}")
        if not how.was_killed:
            return how
        if state == "CANCELLED":
            return Ended(1, f"its job {job.job_id} was cancelled")
        return None if state in ALIVE else how  # SLURM may requeue it


class SlurmTask:
    """What a job does: submitit pickles it, calls it, and calls ``checkpoint`` before the job's time is over.

    Args:
        run: the run.
        program: arguments of Python that start ``lightning-maxent``.
        folder: the current folder of the command.
        fruitless: number of earlier jobs that made no environment step.
    """

    def __init__(self, run: Run, program: Sequence[str], folder: Path, fruitless: int = 0):
        self._given = run, program, folder
        self._fruitless = fruitless

    def __call__(self) -> Ended:
        """Train the run; signals interrupt only this thread, and the run is waited for in another one."""
        self._process, ended = RunProcess(*self._given), []
        self._begun_at = self._given[0].env_steps()
        self._thread = threading.Thread(target=lambda: ended.append(self._process.carry_out()))
        self._thread.start()
        while self._thread.is_alive():
            time.sleep(POLL)
        return ended[0]

    def checkpoint(self) -> DelayedSubmission | None:
        """Make the run save a checkpoint; return what the requeued job does, or None to give the run up."""
        self._process.stop()
        while self._thread.is_alive():
            time.sleep(POLL)
        went_on = self._given[0].env_steps() > self._begun_at
        fruitless = 0 if went_on else self._fruitless + 1
        return DelayedSubmission(SlurmTask(*self._given, fruitless)) if fruitless < FRUITLESS else None


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """The options of submitit for ``key=value`` pairs, or for one YAML file.

    Raises:
        MaxEntError: for a file that cannot be read, an unknown key, or a value that is not allowed.
    """
    options: dict[str, Any] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if equals:
            options[key] = value
        else:
            options |= _read(Path(item))
    return DEFAULTS | dict(_checked(key, value) for key, value in options.items())


def _read(file: Path) -> dict[str, Any]:
    try:
        # BaseLoader leaves all values as they are written: SafeLoader would read 1:30:00 as a number
        content = yaml.load(file.read_text(), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MaxEntError(f"--slurm {file} is neither key=value nor a YAML file that can be read.") from error
    if not isinstance(content, dict):
        raise MaxEntError(f"{file} must map options of sbatch to their values, such as `partition: gpu`.")
    return content


def _checked(key: str, value: Any) -> tuple[str, Any]:
    """An option of submitit and its value."""
    name = "gpus_per_node" if key == "gpus" else key.replace("-", "_")
    known = {*submitit.SlurmExecutor._valid_parameters(), "gpus", "cluster"} - NOT_OURS
    if name in NOT_OURS:
        raise MaxEntError(f"--slurm may not set {key}, because each run is one task in a job of its own.")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}?" if near else "put it into additional_parameters of a YAML file."
        raise MaxEntError(f"--slurm has no option {key}; {meant}")
    if name in LISTS and isinstance(value, str):
        value = [value]
    kind, called = _KINDS.get(name, (str, "one value"))
    if not isinstance(value, kind):
        raise MaxEntError(f"{key} of --slurm must be {called}, but is {value!r}.")
    if name == "cluster" and value not in ("slurm", "local"):
        raise MaxEntError(f"cluster of --slurm must be slurm or local, but is {value}.")
    if name == "time":
        return name, minutes(value)
    if isinstance(value, str):
        return name, int(value) if value.isdecimal() else {"true": True, "false": False}.get(value, value)
    return name, value


def minutes(text: str) -> int:
    """The minutes in a time as sbatch takes it: ``90``, ``1:30:00``, ``1-12`` or ``1-12:00:00``; seconds round up.

    Raises:
        MaxEntError: for another text, or less than a minute.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if found:
        days, *parts = found.groups()
        numbers = [int(part) for part in parts if part is not None]
        # with days the first number is hours; without, it is minutes unless there are three
        as_hours = numbers if days is not None or len(numbers) == 3 else [0, *numbers]
        hours, mins, seconds = [*as_hours, 0, 0][:3]
        total = int(days or 0) * 1440 + hours * 60 + mins + -(-seconds // 60)
        if total:
            return total
    raise MaxEntError(f"time of --slurm must be minutes or days-hours:minutes:seconds, but is {text}.")


def _last_error(text: str) -> str:
    """The error at the end of the traceback in a message of submitit, which goes on after a line of dashes."""
    lines = text.rpartition("-----")[0].rstrip("-\n").splitlines()
    return lines[-1] if lines else text


def _state(job: Any) -> str:
    """What SLURM says about a job, such as RUNNING; ``CANCELLED by 1000`` in one word."""
    with contextlib.suppress(IndexError):
        return job.state.upper().split()[0]
    return "UNKNOWN"
