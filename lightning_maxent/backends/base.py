"""The contract of backends."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from lightning_maxent.backends.run import Run
from lightning_maxent.backends.run_process import POLL, Ended


class AbstractBackend(ABC):
    """Where the processes of runs execute.

    The folders of runs, and the current folder, are at the same paths wherever it executes them.

    Args:
        jobs: how many runs may be started and not yet ended; None if the backend queues as many as it gets.
    """

    runs_stay: ClassVar[bool] = False  # whether runs go on when the command that started them ends
    seconds_between_polls: float = POLL

    def __init__(self, jobs: int | None):
        self.jobs = jobs

    @abstractmethod
    def start(self, run: Run) -> Any:
        """Start or queue a run, whose folder exists; it resumes if it has a checkpoint.

        Returns:
            A handle for the other methods.
        """

    @abstractmethod
    def poll(self, handle: Any) -> Ended | None:
        """How a run ended; None as long as it is queued or running."""

    @abstractmethod
    def stop(self, handle: Any) -> None:
        """Ask a run to save a checkpoint and stop; a second time, to stop at once."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the backend holds; all its runs have ended, or it leaves them alone."""
