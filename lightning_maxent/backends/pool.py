"""Carries out runs, several in parallel, and retries those that were killed."""

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from lightning_maxent.backends.base import AbstractBackend
from lightning_maxent.backends.run import Run
from lightning_maxent.backends.run_process import Ended
from lightning_maxent.files import write_whole
from lightning_maxent.progress import progress

SHOWN = 8  # runs whose environment steps fit into the line of progress


class Pool:
    """Carries out runs, several in parallel.

    A run that was killed by a signal, or whose machine was lost, is started again from its checkpoint.  A run that ended
    with an error is not.

    The first Ctrl-C (or SIGTERM) makes every run save a checkpoint and stop, and a second one stops them at once.  Runs
    of a backend whose runs stay are left alone.

    ``carry_out`` is for a list of runs.  For runs that arrive one by one: ``add`` them, and call ``step`` again and
    again within ``signals``; ``stop`` ends one of them early.

    Args:
        backend: where runs execute; ``close`` closes it.
        retries: how often each run is started again.
    """

    def __init__(self, backend: AbstractBackend, retries: int):
        self._backend, self._retries = backend, retries
        self._waiting: list[Run] = []
        self._working: dict[Run, Any] = {}  # with the handles of the backend
        self._retried: Counter[Run] = Counter()
        self._dropped: set[Run] = set()  # those that ``stop`` ends
        self._asked, self._told = 0, 0  # how often we were asked to stop, and how often the runs were told

    @property
    def stopped(self) -> bool:
        """Whether the user asked to stop."""
        return self._asked > 0

    @property
    def is_busy(self) -> bool:
        """Whether ``step`` must be called again."""
        if self.stopped:
            return bool(self._working) and not self._backend.runs_stay
        return bool(self._working or self._waiting)

    @property
    def runs(self) -> list[Run]:
        """The runs that were added and have not ended for good."""
        return [*self._working, *self._waiting]

    @property
    def has_room(self) -> bool:
        """Whether a run that is added now starts at once."""
        return not self.stopped and (self._backend.jobs is None or len(self.runs) < self._backend.jobs)

    def add(self, run: Run) -> None:
        """Carry out a run as soon as there is room for it."""
        self._waiting.append(run)

    def stop(self, run: Run) -> None:
        """Make one run save a checkpoint and stop; ``step`` returns it when it has ended, and it has not failed."""
        self._dropped.add(run)
        if run in self._waiting:
            self._waiting.remove(run)
        elif run in self._working:
            self._backend.stop(self._working[run])

    def carry_out(self, runs: Sequence[Run]) -> None:
        """Start or resume all unfinished runs; returns when all are done, or after a stop."""
        for run in (unfinished := [run for run in runs if run.status != "finished"]):
            self.add(run)
        done = len(runs) - len(unfinished)
        # smoothing=0: the estimate of the remaining time uses the mean time per run, not the last interval
        with self.signals(), progress(len(runs), "runs", initial=done, smoothing=0) as bar:
            while self.is_busy:
                for run, how in self.step():
                    bar.update()
                    if how.status != 0:
                        bar.write(f"Failed: {run.name} ({how.reason}); its log is {run.log}.", file=sys.stderr)
                bar.set_postfix_str(self.progress(), refresh=False)
                bar.update(0)  # redraws the bar if it is due

    def step(self) -> list[tuple[Run, Ended]]:
        """Start the runs that there is room for, then wait a moment.

        Returns:
            The runs that ended for good since the last call: finished, or failed and not to be retried.
        """
        while self._waiting and not self.stopped and self._has_room():
            run = self._waiting.pop(0)
            run.folder.mkdir(parents=True, exist_ok=True)
            self._working[run] = self._backend.start(run)
        while self._told < self._asked:
            self._tell_to_stop()
        if self.is_busy:
            time.sleep(self._backend.seconds_between_polls)
        ended = [(run, how) for run, handle in self._working.items() if (how := self._backend.poll(handle))]
        for run, _ in ended:
            del self._working[run]
        return [(run, how) for run, how in ended if self._is_final(run, how)]

    def _has_room(self) -> bool:
        return self._backend.jobs is None or len(self._working) < self._backend.jobs

    def _is_final(self, run: Run, how: Ended) -> bool:
        if how.status == 0 or run in self._dropped:
            return True
        if self.stopped:
            return False  # it is to be resumed by the next command
        if how.was_killed and self._retried[run] < self._retries:
            self._retried[run] += 1
            again = f"retry {self._retried[run]} of {self._retries}"
            tqdm.write(f"Killed: {run.name} ({how.reason}); {again}.", file=sys.stderr)
            self._waiting.insert(0, run)
            return False
        write_whole(run.folder / "failed", how.reason)  # a machine that was lost could not
        return True

    def progress(self) -> str:
        """Where the runs are, for a line of progress."""
        if len(self._working) > SHOWN:
            return f"{len(self._working)} running or queued"
        steps = ", ".join(f"{run.env_steps():,}" for run in self._working)
        return f"running at {steps} env steps" if steps else ""

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM; at the end, also by an error, the runs are stopped and the backend is closed.

        A signal that is ignored (Ctrl-C in the background) stays ignored here.  This uses a handler, because the runs
        would inherit SIG_IGN but not a handler.
        """
        previous: dict[int, Callable[..., Any] | int | None] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            ignored = signal.getsignal(number) == signal.SIG_IGN
            previous[number] = signal.signal(number, (lambda *_: None) if ignored else self._stop)
        try:
            yield
        finally:
            if not self._backend.runs_stay:
                self._tell_to_stop()  # after an exception here
            self._backend.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        """Only count the request here; ``step`` passes it on, so that a run that is just starting gets it too."""
        if not self.stopped:
            saves = "every run saves a checkpoint; press Ctrl-C again to stop at once."
            tqdm.write(f"\nStopping: {'the runs go on.' if self._backend.runs_stay else saves}", file=sys.stderr)
        self._asked += 1

    def _tell_to_stop(self) -> None:
        for handle in self._working.values() if not self._backend.runs_stay else ():
            self._backend.stop(handle)
        self._told += 1
