"""Stands in for the commands of SLURM: executes jobs on this machine, in the folder ``FAKE_SLURM``, one folder each.

``python fake_slurm.py sbatch script.sh``, ``srun``, ``sacct``, ``scancel`` and ``scontrol requeue`` take the arguments
that submitit gives.  A file ``state`` in the folder of a job holds the state of a job that did not end by itself.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

JOBS = Path(os.environ["FAKE_SLURM"])
# A job that is requeued starts again when it has ended:
JOB = "touch requeued; while [ -e requeued ]; do rm requeued; (cd $SUBMIT_DIR && bash $FOLDER/script.sh); done"


def sbatch(script: str) -> None:
    number = str(len(list(JOBS.iterdir())) + 1)
    folder = JOBS / number
    folder.mkdir()
    (folder / "script.sh").write_text(Path(script).read_text())
    job = subprocess.Popen(
        ["bash", "-c", f"{JOB}; touch ended"],
        cwd=folder,
        env=os.environ | {"SLURM_JOB_ID": number, "FOLDER": str(folder), "SUBMIT_DIR": os.getcwd()},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (folder / "pid").write_text(str(job.pid))
    print(f"Submitted batch job {number}")


def srun(*args: str) -> None:
    command = list(args)
    while command[0].startswith("-"):
        option = command.pop(0)
        if option in ("--output", "--error"):
            path = command.pop(0).replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1 if option == "--output" else 2)
    os.environ |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "1", "SLURM_NODEID": "0"}
    os.execvp(command[0], command)


def sacct(*args: str) -> None:
    print("JobID|State|NodeList")
    for number in (args[place + 1] for place, arg in enumerate(args) if arg == "-j"):
        folder = JOBS / number
        state = "COMPLETED" if (folder / "ended").exists() else "RUNNING"
        print(f"{number}|{(folder / 'state').read_text() if (folder / 'state').exists() else state}|here")


def send(number: str, signum: int, but: str = "") -> None:
    """Send a signal to all processes of a job, which SLURM knows by their cgroup; children come first."""
    import psutil

    job = psutil.Process(int((JOBS / number / "pid").read_text()))
    for process in reversed([job, *job.children(recursive=True)]):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() != but:
                process.send_signal(signum)


def end(number: str, state: str, signum: int) -> None:
    """End a job; ``state`` is what SLURM says then."""
    (JOBS / number / "state").write_text(state)
    send(number, signum)


def scancel(number: str) -> None:
    end(number, "CANCELLED by 1000", signal.SIGTERM)


def lose(number: str) -> None:
    """The machine of a job fails."""
    end(number, "NODE_FAIL", signal.SIGKILL)


def announce_end(number: str) -> None:
    """The time of a job is almost over: its processes but the script get the signal for which submitit asks."""
    send(number, signal.SIGUSR2, but="bash")


def scontrol(requeue: str, number: str) -> None:
    (JOBS / number / "requeued").touch()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
