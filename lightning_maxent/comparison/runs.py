"""The runs of a comparison.  Each is a ``lightning-maxent fit`` in its own process; several run in parallel."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import yaml
from tqdm import tqdm

from lightning_maxent.comparison.provenance import provenance
from lightning_maxent.comparison.specification import Comparison, contents, flat, folder_of
from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole
from lightning_maxent.progress import progress

POLL = 0.2  # seconds
PROGRAM = (sys.executable, "-m", "lightning_maxent")
# These come before the settings of a run, which can override them:
QUIET = ("--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")


class Run(NamedTuple):
    """One run of a comparison.

    Its folder holds ``settings.yaml`` (the settings), ``made_with.yaml`` (the versions), ``log.txt``, ``finished`` or
    ``failed`` (with the reason), and the folder that ``fit`` writes, ``<algorithm>/<env>/run``.
    """

    variant: str
    task: str
    seed: int
    folder: Path
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.variant}, {self.task}, seed {self.seed}"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def metrics(self) -> Path | None:
        """The path of its ``metrics.csv``, or None before it is written."""
        return next(self.folder.glob("*/*/run/metrics.csv"), None)

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint from which the run can resume, or None."""
        return next(self.folder.glob("*/*/run/checkpoints/last.ckpt"), None)

    @property
    def status(self) -> str:
        """``finished``, ``failed``, ``unfinished`` or ``not begun``."""
        for status in ("finished", "failed"):
            if (self.folder / status).exists():
                return status
        return "unfinished" if self.metrics else "not begun"

    @property
    def reason(self) -> str:
        """Why the run failed; empty if it did not."""
        path = self.folder / "failed"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def made_with(self) -> dict[str, str]:
        """The versions and the commit with which the run was started."""
        versions = _read_yaml(self.folder / "made_with.yaml")
        return versions if isinstance(versions, dict) else {}

    def env_steps(self) -> int:
        """The environment steps in the last line of ``metrics.csv``; reads only the end of the file."""
        if self.metrics is None:
            return 0
        with self.metrics.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().splitlines()
        steps = lines[-1].partition(b",")[0] if lines else b""
        return int(steps) if steps.isdigit() else 0


def runs_of(comparison: Comparison, out: Path) -> list[Run]:
    """All runs, ordered by seed, so that an unfinished comparison has about equally many runs of every variant."""
    return [
        Run(
            variant,
            task,
            seed,
            out / "runs" / folder_of(variant) / folder_of(task) / f"seed{seed}",
            (
                *comparison.variants[variant],
                *comparison.tasks[task],
                *comparison.pairs.get(variant, {}).get(task, []),
                *comparison.settings,
            ),
        )
        for seed in comparison.seeds
        for task in comparison.tasks
        for variant in comparison.variants
    ]


def check_unchanged(runs: Sequence[Run]) -> None:
    """Check that the existing runs have the settings of this comparison.

    Raises:
        MaxEntError: if one has other settings; the message names the run and the difference.
    """
    changed = [(run, what) for run in runs if (what := difference(run))]
    if changed:
        run, what = changed[0]
        others = f", and {len(changed) - 1} further runs" if changed[1:] else ""
        raise MaxEntError(
            f"The run {run.folder} was made with other settings ({what}){others}: choose another --out, delete the "
            f"outdated runs, or restore the settings."
        )


def difference(run: Run) -> str:
    """How the settings of an existing run differ from those it would have now; empty if they do not differ."""
    if run.status != "finished" and run.checkpoint is None:
        return ""  # it will begin anew
    old, new = _read_yaml(run.folder / "settings.yaml"), contents(run.settings)
    if old == new:
        return ""
    if not isinstance(old, list):
        return "its settings.yaml is missing or damaged"
    before, after = flat(old), flat(new)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    named = [f"{key} was {before.get(key)!r} and is {after.get(key)!r}" for key in keys[:3]]
    return "; ".join([*named, *(["…"] if keys[3:] else [])]) or "in another order"


def _read_yaml(path: Path) -> Any:
    """The content of a YAML file; None if the file is missing or damaged."""
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


@contextlib.contextmanager
def locked(out: Path) -> Iterator[int]:
    """Lock a folder, so that two comparisons cannot write into it at the same time.

    The processes of the runs inherit the lock, so it is held until the last of them ends.

    Raises:
        MaxEntError: if another comparison uses the folder, or it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise MaxEntError(f"The folder {out} cannot be written ({error.strerror}): choose another --out.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise MaxEntError(
                f"Another comparison is running in {out}: wait until it ends, or choose another --out."
            ) from error
        yield file.fileno()


class Pool:
    """Executes runs, several in parallel.

    The first Ctrl-C (or SIGTERM) makes every run save a checkpoint and stop.  A second Ctrl-C stops them at once.  Each
    run has its own session, so that the terminal does not send Ctrl-C to it as well.

    Args:
        jobs: number of parallel runs.
        lock: file descriptor of ``locked``.
    """

    def __init__(self, jobs: int, lock: int):
        self._jobs, self._lock = jobs, lock
        self._working: dict[Run, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        self._asked, self._told = 0, 0  # how often we were asked to stop, and how often the runs were told

    @property
    def stopped(self) -> bool:
        """Whether the user asked to stop."""
        return self._asked > 0

    def carry_out(self, runs: Sequence[Run]) -> None:
        """Start or resume all unfinished runs; returns when all are done, or after a stop."""
        waiting = [run for run in runs if run.status != "finished"]
        done = len(runs) - len(waiting)
        # smoothing=0: the estimate of the remaining time uses the mean time per run, not the last interval
        with self._signals(), progress(len(runs), "runs", initial=done, smoothing=0) as bar:
            try:
                while self._working or (waiting and not self.stopped):
                    while waiting and len(self._working) < self._jobs and not self.stopped:
                        self._begin(waiting.pop(0))
                    while self._told < self._asked:
                        self._tell_to_stop()
                    time.sleep(POLL)
                    self._end_those_done(bar)
            finally:
                self._tell_to_stop()  # after an exception here

    def _begin(self, run: Run) -> None:
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
            [*PROGRAM, *fit_arguments(run, checkpoint)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": "1"} | os.environ,
            start_new_session=True,
            pass_fds=[self._lock],
        )
        self._working[run] = (process, log)

    def _end_those_done(self, bar: Any) -> None:
        for run, (process, log) in list(self._working.items()):
            if process.poll() is None:
                continue
            log.close()
            del self._working[run]
            if process.returncode == 0:
                (run.folder / "finished").touch()
                bar.update()
            elif not self.stopped:
                bar.update()
                said = last_line(run.log.read_text(errors="replace"))
                reason = f"exit code {process.returncode}: {said or 'its log is empty'}"
                write_whole(run.folder / "failed", reason)
                bar.write(f"Failed: {run.name} ({reason}); its log is {run.log}.", file=sys.stderr)
        steps = ", ".join(f"{run.env_steps():,}" for run in self._working)
        bar.set_postfix_str(f"running at {steps} env steps" if steps else "", refresh=False)
        bar.update(0)  # redraws the bar if it is due

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM.

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
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        """Only count the request here; ``carry_out`` passes it on, so that a run that is just starting gets it too."""
        if not self.stopped:
            tqdm.write("\nStopping: every run saves a checkpoint; press Ctrl-C again to stop at once.", file=sys.stderr)
        self._asked += 1

    def _tell_to_stop(self) -> None:
        for process, _ in self._working.values():
            process.send_signal(signal.SIGINT)
        self._told += 1


def fit_arguments(run: Run, checkpoint: Path | None) -> list[str]:
    """The arguments of ``lightning-maxent`` for a run, which resumes from ``checkpoint`` if one is given."""
    settings = [item if item.startswith("--") else f"--config={item}" for item in run.settings]
    own = [f"--seed_everything={run.seed}", f"--runs_dir={run.folder}", "--name=run"]
    return ["fit", *QUIET, *settings, *own, *([f"--ckpt_path={checkpoint}"] if checkpoint else [])]


def last_line(text: str) -> str:
    """The last line of a log, without the program's name: the error of a failed run; empty if the log is empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("lightning-maxent: error: ") if lines else ""
