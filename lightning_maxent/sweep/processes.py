"""Runs as processes on this machine."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import yaml

from lightning_maxent.comparison import runs as comparison_runs
from lightning_maxent.comparison.provenance import provenance
from lightning_maxent.comparison.runs import Run, fit_arguments, last_line
from lightning_maxent.comparison.specification import contents
from lightning_maxent.files import write_whole


class Ended(NamedTuple):
    """A run that has ended: its exit code, and why it failed (empty if it finished)."""

    run: Run
    code: int
    reason: str


class Engine(Protocol):
    """What executes runs."""

    jobs: int  # how many at a time

    def working(self) -> Sequence[Run]:
        """The runs that have begun and have not ended."""
        ...

    def begin(self, run: Run) -> None:
        """Start a run, or resume it from its checkpoint."""
        ...

    def stop(self, run: Run) -> None:
        """Make a run save a checkpoint and stop; the second time, at once."""
        ...

    def ended(self) -> list[Ended]:
        """The runs that have ended since the last call."""
        ...


class Processes:
    """Executes each run in a process with a session of its own, so that Ctrl-C of the terminal does not reach it.

    The processes hold a lock, so that runs of a sweep that was killed are not begun a second time while they go on.

    Args:
        jobs: number of parallel runs.
        out: the folder of the sweep.
    """

    def __init__(self, jobs: int, out: Path):
        self.jobs = jobs
        self._working: dict[Run, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        self._lock = (out / ".runs.lock").open("w")
        self._wait_for_orphans()

    def _wait_for_orphans(self) -> None:
        told = False
        while True:
            try:
                return fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if not told:
                    print("Waiting for runs of an earlier sweep in this folder, which go on.", file=sys.stderr)
                told = True
                time.sleep(comparison_runs.POLL)

    def working(self) -> list[Run]:
        return list(self._working)

    def begin(self, run: Run) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "failed").unlink(missing_ok=True)
        checkpoint = run.checkpoint
        if checkpoint is None:
            for half in run.folder.glob("*/*/run"):  # a run that stopped before its first checkpoint
                shutil.rmtree(half)
            write_whole(run.folder / "settings.yaml", yaml.safe_dump(contents(run.settings), sort_keys=False))
            write_whole(run.folder / "made_with.yaml", yaml.safe_dump(provenance(), sort_keys=False))
        log = run.log.open("ab")
        process = subprocess.Popen(
            [*comparison_runs.PROGRAM, *fit_arguments(run, checkpoint)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": "1"} | os.environ,
            start_new_session=True,
            pass_fds=[self._lock.fileno()],
        )
        self._working[run] = (process, log)

    def stop(self, run: Run) -> None:
        self._working[run][0].send_signal(signal.SIGINT)

    def ended(self) -> list[Ended]:
        found = []
        for run, (process, log) in list(self._working.items()):
            if (code := process.poll()) is None:
                continue
            log.close()
            del self._working[run]
            said = last_line(run.log.read_text(errors="replace"))
            found.append(Ended(run, code, f"exit code {code}: {said or 'its log is empty'}" if code else ""))
        return found
