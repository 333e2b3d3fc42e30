"""Carries out the trials of a sweep: asks for them, runs them, prunes them, and tells their values."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lightning_maxent.comparison import runs as comparison_runs
from lightning_maxent.comparison.results import Curves, at_shared_steps
from lightning_maxent.comparison.runs import Run
from lightning_maxent.comparison.specification import contents, flat
from lightning_maxent.comparison.statistics import interquartile_mean
from lightning_maxent.errors import MaxEntError
from lightning_maxent.files import write_whole
from lightning_maxent.metrics.metrics_csv import STEP, read_metrics
from lightning_maxent.progress import progress
from lightning_maxent.sweep.processes import Ended, Engine
from lightning_maxent.sweep.specification import Sweep
from lightning_maxent.sweep.study import REASON, SCORES, ask, interrupted, trials_of, values_of

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

TRIES = 3  # of a run that a signal kills, as when memory runs out


def runs_of_trial(sweep: Sweep, number: int, values: Mapping[str, Any], out: Path) -> list[Run]:
    """The runs of a trial, one for each seed."""
    settings = tuple(sweep.settings_of(values))
    task = str(flat(contents(settings)).get("data.env_id", ""))
    folder = out / "runs" / f"trial{number}"
    return [Run(f"trial {number}", task, seed, folder / f"seed{seed}", settings) for seed in sweep.seeds]


def curve_of(run: Run, metric: str) -> dict[int, float]:
    """The evaluations of a run: environment steps -> value."""
    if run.metrics is None:
        return {}
    return {int(row[STEP]): float(row[metric]) for row in read_metrics(run.metrics)[1] if row.get(metric)}


def curves_of_trial(runs: list[Run], metric: str) -> Curves:
    """The evaluations that all runs of a trial have."""
    return at_shared_steps({run.seed: curve_of(run, metric) for run in runs})


def scores_of_trial(curves: Curves, last_evaluations: int) -> np.ndarray:
    """The score of each run: its mean over the last evaluations."""
    return curves.scores[-last_evaluations:].mean(0)


class _Active:
    """A trial that is under way."""

    def __init__(self, trial: "Trial", runs: list[Run]):
        self.trial, self.runs = trial, runs
        self.waiting = [run for run in runs if run.status != "finished"]
        self.reported = set(trial._cached_frozen_trial.intermediate_values)
        self.tries = dict.fromkeys(runs, 0)
        self.failed, self.pruned = "", False
        self._read: Any = None

    @property
    def given_up(self) -> bool:
        return self.pruned or bool(self.failed)

    def news(self, metric: str) -> Curves | None:
        """The curves, if an evaluation has been added since the last call."""
        files = [run.metrics for run in self.runs]
        states = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files if file]
        if len(states) < len(files) or states == self._read:
            return None
        self._read = states
        return curves_of_trial(self.runs, metric)


class Trials:
    """The trials of a sweep.

    Runs of trials that have begun go first; a new trial begins when there is nothing else to start.  The first Ctrl-C
    (or SIGTERM) makes every run save a checkpoint and stop.  A second one stops them at once.

    Args:
        sweep: the sweep.
        study: its study.
        out: the folder of the sweep.
        folder: the id of this folder in the database.
        alone: whether no other folder uses the database.
        engine: what executes the runs.
        max_steps: the length of a run, where its settings do not say it.
    """

    def __init__(
        self, sweep: Sweep, study: "Study", out: Path, folder: str, alone: bool, engine: Engine, max_steps: int
    ):
        self._sweep, self._study, self._out, self._folder = sweep, study, out, folder
        self._engine, self._max_steps = engine, max_steps
        self._active = [self._begun(trial, values_of(trial, sweep)) for trial in interrupted(study, folder, alone)]
        self._asked, self._told = 0, 0  # how often we were asked to stop, and how often the runs were told

    @property
    def stopped(self) -> bool:
        """Whether the user asked to stop."""
        return self._asked > 0

    def carry_out(self) -> None:
        """Carry out all trials that are not finished; returns when all are, or after a stop."""
        done = len(trials_of(self._study)) - len(self._active)
        with self._signals(), progress(max(self._sweep.trials, done), "trials", initial=done, smoothing=0) as bar:
            try:
                while self._fill() or self._active:
                    while self._told < self._asked:
                        self._stop_all()
                    time.sleep(comparison_runs.POLL)
                    for ended in self._engine.ended():
                        self._collect(ended)
                    for active in self._active:
                        self._look(active)
                    self._finish(bar)
                    if self.stopped and not self._engine.working():
                        break
            finally:
                self._stop_all()  # after an exception here

    def _fill(self) -> bool:
        """Start runs while there is room; whether any run is working."""
        while not self.stopped and len(self._engine.working()) < self._engine.jobs:
            waiting = next((active for active in self._active if active.waiting), None)
            if waiting is None:
                if len(trials_of(self._study)) >= self._sweep.trials:
                    break
                self._active.append(self._begun(*ask(self._study, self._sweep, self._folder)))
            else:
                self._engine.begin(waiting.waiting.pop(0))
        return bool(self._engine.working())

    def _begun(self, trial: "Trial", values: Mapping[str, Any]) -> _Active:
        return _Active(trial, runs_of_trial(self._sweep, trial.number, values, self._out))

    def _collect(self, ended: Ended) -> None:
        (active,) = [each for each in self._active if ended.run in each.runs]
        if not ended.code:
            (ended.run.folder / "finished").touch()
        elif not (active.given_up or self.stopped):
            active.tries[ended.run] += 1
            if ended.code < 0 and active.tries[ended.run] < TRIES:  # killed by a signal: it resumes
                active.waiting.append(ended.run)
            else:
                write_whole(ended.run.folder / "failed", ended.reason)
                active.failed = f"seed {ended.run.seed}, {ended.reason}; its log is {ended.run.log}"
                self._give_up(active)

    def _look(self, active: _Active) -> None:
        """Report new evaluations of a trial, and give it up if the pruner says so."""
        if active.given_up or (curves := active.news(self._sweep.metric)) is None:
            return
        end = int(flat(contents(active.runs[0].settings)).get("trainer.max_steps", self._max_steps))
        for step, scores in zip(curves.steps, curves.scores):
            if int(step) not in active.reported:
                active.reported.add(int(step))
                active.trial.report(float(interquartile_mean(scores)), int(step))
                if step < end and active.trial.should_prune():
                    active.pruned = True
                    return self._give_up(active)

    def _give_up(self, active: _Active) -> None:
        active.waiting.clear()
        for run in self._engine.working():
            if run in active.runs:
                self._engine.stop(run)

    def _finish(self, bar: tqdm) -> None:
        """Tell the values of trials whose runs have all ended."""
        working = set(self._engine.working())
        for active in list(self._active):
            if working.intersection(active.runs) or active.waiting:
                continue
            if not active.given_up and any(run.status != "finished" for run in active.runs):
                continue  # the user stopped it
            self._tell(active, bar)
            self._active.remove(active)
            bar.update()
        steps = ", ".join(f"{run.env_steps():,}" for run in working)
        bar.set_postfix_str(f"running at {steps} env steps" if steps else "", refresh=False)
        bar.update(0)  # redraws the bar if it is due

    def _tell(self, active: _Active, bar: tqdm) -> None:
        from optuna.trial import TrialState

        number, curves = active.trial.number, curves_of_trial(active.runs, self._sweep.metric)
        if not active.given_up and not len(curves.steps):
            active.failed = self._no_evaluation(active)
        scores = scores_of_trial(curves, self._sweep.last_evaluations) if len(curves.steps) else np.array([])
        if not active.given_up and not np.isfinite(scores).all():
            active.failed = f"a {self._sweep.metric} at its end is not a number"
        if active.failed:
            active.trial.set_user_attr(REASON, active.failed)
            self._study.tell(number, state=TrialState.FAIL)
            bar.write(f"Trial {number} failed: {active.failed}.", file=sys.stderr)
            return
        active.trial.set_user_attr(SCORES, dict(zip(map(str, curves.seeds), map(float, scores))))
        if active.pruned:
            self._study.tell(number, state=TrialState.PRUNED)
            said = f"pruned at {max(active.reported):,} environment steps"
        else:
            self._study.tell(number, float(interquartile_mean(scores)))
            best = " (the best so far)" if self._study.best_trial.number == number else ""
            said = f"{float(interquartile_mean(scores)):,.4g}{best}"
        bar.write(f"Trial {number}: {said}", file=sys.stderr)

    def _no_evaluation(self, active: _Active) -> str:
        """Why there is no value.

        Raises:
            MaxEntError: if the runs were evaluated, but the metric is not among their columns.
        """
        columns = dict.fromkeys(name for run in active.runs if run.metrics for name in read_metrics(run.metrics)[0])
        if self._sweep.metric not in columns and (known := [name for name in columns if name.startswith("eval/")]):
            raise MaxEntError(
                f"The runs have no metric {self._sweep.metric!r}: give --metric and one of {', '.join(known)}."
            )
        return "its runs have no evaluation in common"

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM; a signal that is ignored, as Ctrl-C in the background, stays ignored here."""
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
        if not self.stopped:
            tqdm.write("\nStopping: every run saves a checkpoint; press Ctrl-C again to stop at once.", file=sys.stderr)
        self._asked += 1

    def _stop_all(self) -> None:
        for run in self._engine.working():
            self._engine.stop(run)
        self._told += 1
