"""Runs on a Ray cluster."""

import logging
import math
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning_maxent.backends import run_process
from lightning_maxent.backends.base import AbstractBackend
from lightning_maxent.backends.run import Run
from lightning_maxent.backends.run_process import Ended, RunProcess
from lightning_maxent.errors import MaxEntError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it when it is imported

try:
    import ray
    from ray.exceptions import RayActorError
except ModuleNotFoundError as error:
    raise MaxEntError("--backend ray needs Ray: pip install 'ray[default]'.") from error


class Handle(NamedTuple):
    """The worker of a run, and its promise to say how the run ended."""

    worker: Any
    ended: Any


class RayBackend(AbstractBackend):
    """Each run has a Ray worker of its own, which starts its process and waits for it.

    Args:
        jobs: number of parallel runs; None for as many as the cluster has room for.
        address: address of a running cluster; None starts one on this machine, with CPUs for ``jobs`` runs.
        cpus: CPUs of a run.
        gpus: GPUs of a run; a fraction if several runs share one.

    Raises:
        MaxEntError: if Ray is not installed, no cluster answers at the address, or this machine has no such GPUs.
    """

    def __init__(self, jobs: int | None, address: str | None = None, cpus: float = 1, gpus: float = 0):
        super().__init__(jobs)
        if address is None and jobs is None:
            raise ValueError("A cluster on this machine needs the number of jobs.")
        options: dict[str, Any] = {"address": address}
        if address is None:
            options = {"address": "local", "num_cpus": math.ceil((jobs or 1) * cpus), "include_dashboard": False}
        try:
            _check_answer(address)
            # what workers print is in the logs of the runs
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError) as error:
            raise MaxEntError(
                f"No Ray cluster lets us in at {address}: give the address that `ray start --head` printed, with "
                f"RAY_AUTH_MODE=token if the cluster asks for a token, or leave out --ray_address and RAY_ADDRESS for "
                f"a cluster on this machine."
            ) from error
        if address is None and (found := ray.cluster_resources().get("GPU", 0)) < gpus:
            ray.shutdown()
            raise MaxEntError(f"--ray_gpus is {gpus:g}, but Ray finds {found:g} GPUs on this machine.")
        self._worker: Any = ray.remote(Worker).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_concurrency=2)

    def start(self, run: Run) -> Handle:
        worker = self._worker.remote(run, run_process.PROGRAM, Path.cwd())
        return Handle(worker, worker.carry_out.remote())

    def poll(self, handle: Handle) -> Ended | None:
        if not ray.wait([handle.ended], timeout=0)[0]:
            return None
        try:
            return ray.get(handle.ended)
        except RayActorError as error:
            return Ended(None, f"its Ray worker was lost: {str(error).splitlines()[0]}")
        finally:
            ray.kill(handle.worker)

    def stop(self, handle: Handle) -> None:
        handle.worker.stop.remote()

    def close(self) -> None:
        ray.shutdown()


def _check_answer(address: str | None) -> None:
    """Raise OSError or ValueError if nothing listens at ``host:port``; Ray itself would try for minutes."""
    if address not in (None, "auto"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()


class Worker:
    """A process of Ray; ``stop`` is called in a second thread while ``carry_out`` waits for the run."""

    def __init__(self, run: Run, program: Sequence[str], folder: Path):
        self._process = RunProcess(run, program, folder)

    def carry_out(self) -> Ended:
        return self._process.carry_out()

    def stop(self) -> None:
        self._process.stop()
