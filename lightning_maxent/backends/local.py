"""Runs on this machine."""

from concurrent.futures import Future, ThreadPoolExecutor

from lightning_maxent.backends import run_process
from lightning_maxent.backends.base import AbstractBackend
from lightning_maxent.backends.run import Run
from lightning_maxent.backends.run_process import Ended, RunProcess


class LocalBackend(AbstractBackend):
    """Processes on this machine.

    Args:
        jobs: number of parallel runs.
    """

    def __init__(self, jobs: int):
        super().__init__(jobs)
        self._threads = ThreadPoolExecutor(jobs)

    def start(self, run: Run) -> tuple[RunProcess, Future[Ended]]:
        process = RunProcess(run, run_process.PROGRAM)
        return process, self._threads.submit(process.carry_out)

    def poll(self, handle: tuple[RunProcess, Future[Ended]]) -> Ended | None:
        return handle[1].result() if handle[1].done() else None

    def stop(self, handle: tuple[RunProcess, Future[Ended]]) -> None:
        handle[0].stop()

    def close(self) -> None:
        self._threads.shutdown()
