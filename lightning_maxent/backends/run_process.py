"""Trains one run on this machine: what every backend does at the place where it executes runs."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from lightning_maxent.backends.run import Run
from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole

POLL = 0.2  # seconds
PROGRAM = ("-m", "lightning_maxent")  # arguments of Python
LOST_PARENT = 1  # PR_SET_PDEATHSIG of Linux

# What Python does before it becomes ``fit``.  If the process that waits for it dies, ``fit`` gets SIGTERM, at which it
# saves a checkpoint and stops.  SIGUSR2, by which SLURM announces to all processes that the time is over, is ignored:
# the process that waits for ``fit`` tells it to stop.
_BEFORE = f"""
import os, signal, sys
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl({LOST_PARENT}, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(128 + signal.SIGTERM)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Ended(NamedTuple):
    """How a run ended.

    Args:
        status: exit status of ``fit``, the negative number of a signal that killed it, or None if its machine was lost.
        reason: why it did not finish; empty if it did, or if it was asked to stop.
    """

    status: int | None
    reason: str = ""

    @property
    def was_killed(self) -> bool:
        """Whether something outside the run ended it: a signal, or the loss of its machine."""
        return self.status is None or self.status < 0 or self.status > 128  # 128 + signal: it could save a checkpoint


class RunProcess:
    """Trains or resumes a run, and writes ``finished`` or ``failed`` into its folder.

    Only one process at a time trains in a folder: a file in it is locked, and ``fit`` and its child processes inherit
    the lock.  So a run that is retried because its machine was lost waits until the lost process has really ended.

    Args:
        run: the run.
        program: arguments of Python that start ``lightning-maxent``.
        folder: the current folder of the command that asks for the run, if this is another process; relative paths
            count from there.
    """

    def __init__(self, run: Run, program: Sequence[str], folder: Path | None = None):
        self._run, self._program, self._folder = run, program, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    def carry_out(self) -> Ended:
        """Train until the run ends; the process of ``fit`` lives at most as long as the calling thread."""
        try:
            self._enter_folder()
            with self._run.log.open("ab") as log, self._locked(log) as lock:
                if self._run.status == "finished":  # by a process that was believed to be lost
                    return Ended(0)
                return Ended(128 + signal.SIGINT) if self._asked else self._train(log, lock)
        except MaxEntError as error:
            return Ended(1, str(error))

    def stop(self) -> None:
        """Ask the run to save a checkpoint and stop; a second time, to stop at once.  Any thread may call this."""
        self._asked = True
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)

    def _enter_folder(self) -> None:
        if self._folder is not None:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        if not self._run.folder.is_dir():
            raise MaxEntError(
                f"The machine {os.uname().nodename} does not see the folder {self._run.folder.absolute()}: start the "
                f"command in a folder on a file system that all machines share, and give an --out there."
            )

    @contextlib.contextmanager
    def _locked(self, log: IO[bytes]) -> Iterator[int]:
        with (self._run.folder / ".lock").open("w") as file:
            told = False
            while not self._asked:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        log.write(b"Waiting until an earlier process of this run, which still holds .lock, ends.\n")
                        log.flush()
                    told = True
                    time.sleep(POLL)
                except OSError:  # a file system without locks
                    break
            yield file.fileno()

    def _train(self, log: IO[bytes], lock: int) -> Ended:
        arguments = [*self._program, *self._run.prepare()]
        threads = os.environ.get("SLURM_CPUS_PER_TASK", "1")
        process = self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _BEFORE, str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": threads} | os.environ,
            start_new_session=True,  # the terminal does not send Ctrl-C to it as well
            pass_fds=[lock],
        )
        if self._asked:  # while there was no process yet
            self.stop()
        status = process.wait()
        if status == 0:
            (self._run.folder / "finished").touch()
            return Ended(0)
        if self._asked:
            return Ended(status)
        if status < 0:
            reason = f"killed by {signal.Signals(-status).name}"
        else:
            reason = f"exit code {status}: {last_line(self._run.log.read_text(errors='replace')) or 'its log is empty'}"
        write_whole(self._run.folder / "failed", reason)
        return Ended(status, reason)


def last_line(log: str) -> str:
    """The last line of a log, without the program's name: the error of a failed run; empty if the log is empty."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1].removeprefix("lightning-maxent: error: ") if lines else ""
