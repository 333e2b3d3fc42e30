"""Several processes that train together, as torchrun starts them, but forked from the tests: imports take seconds."""

import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lightning_maxent.distributed import end_group

SECONDS = 120
"""After so many the processes count as hanging."""


class Ended(NamedTuple):
    """How a process ended: what its function returned, the status with which it exited, and what it printed."""

    result: Any
    status: int
    printed: str


class Processes:
    """``count`` processes that run ``work(rank)``; leave the block, or call ``wait``, to see how they ended."""

    def __init__(self, count: int, work: Callable[[int], Any]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        fork = multiprocessing.get_context("fork")
        self._logs = [Path(f"rank-{rank}.log").absolute() for rank in range(count)]
        self._pipes, self._processes = [], []
        for rank, log in enumerate(self._logs):
            ours, theirs = fork.Pipe(duplex=False)
            process = fork.Process(target=_be, args=(rank, count, port, work, theirs, log))
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def wait_for(self, path: Path) -> None:
        """Until a file is there, or a process has ended."""
        deadline = time.monotonic() + SECONDS
        while not path.exists() and all(each.is_alive() for each in self._processes) and time.monotonic() < deadline:
            time.sleep(0.05)

    def signal(self, rank: int, number: int) -> None:
        os.kill(self._processes[rank].pid, number)

    def wait(self) -> list[Ended]:
        deadline, results = time.monotonic() + SECONDS, []
        for pipe in self._pipes:
            try:
                left = max(0, deadline - time.monotonic())
                results.append(pickle.loads(pipe.recv_bytes()) if pipe.poll(left) else None)
            except EOFError:  # it ended without a result
                results.append(None)
        for process in self._processes:
            process.join(max(0, deadline - time.monotonic()))
            hangs = process.is_alive()
            process.kill()
            process.join()
            assert not hangs, "\n".join(log.read_text() for log in self._logs)
        return [
            Ended(result, process.exitcode, log.read_text())
            for result, process, log in zip(results, self._processes, self._logs)
        ]


def in_processes(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work(rank)`` returns in each of ``count`` processes that train together."""
    ended = Processes(count, work).wait()
    for rank, each in enumerate(ended):
        assert each.status == 0, f"process {rank} exits with {each.status}:\n{each.printed}"
    return [each.result for each in ended]


def _be(rank: int, count: int, port: int, work: Callable[[int], Any], pipe: Any, log: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(number) for name, number in ranks.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "tests"}
    with log.open("w", buffering=1) as output:
        sys.stdout = sys.stderr = output
        for name in ("pytorch_lightning", "lightning_fabric"):
            for handler in logging.getLogger(name).handlers:
                handler.stream = output
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        torch.set_num_threads(1)
        try:
            pipe.send_bytes(pickle.dumps(work(rank)))  # tensors by value, which outlive this process
        except SystemExit as stop:
            os._exit(int(stop.code or 0))
        except BaseException:
            traceback.print_exc()
            os._exit(99)
        end_group()
        os._exit(0)
