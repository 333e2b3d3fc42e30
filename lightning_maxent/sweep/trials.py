"""Carries out the trials of a sweep: asks for them, runs them, prunes them, and tells their values."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lightning_maxent.backends.pool import Pool
from lightning_maxent.backends.run import Run
from lightning_maxent.cli.configurations import contents
from lightning_maxent.comparison.results import Curves, at_shared_steps
from lightning_maxent.comparison.specification import flat
from lightning_maxent.comparison.statistics import interquartile_mean
from lightning_maxent.errors import MaxEntError
from lightning_maxent.metrics.metrics_csv import STEP, read_metrics
from lightning_maxent.progress import progress
from lightning_maxent.sweep.specification import Sweep
from lightning_maxent.sweep.study import REASON, SCORES, ask, interrupted, trials_of, values_of

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial


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
    """The score of each run: its mean over the last evaluations; NaN without any."""
    return curves.scores[-last_evaluations:].mean(0) if len(curves.steps) else np.full(len(curves.seeds), np.nan)


class _Active:
    """A trial that is under way."""

    def __init__(self, trial: "Trial", runs: list[Run]):
        self.trial, self.runs = trial, runs
        self.waiting = [run for run in runs if run.status != "finished"]
        self.reported = set(trial.study.trials[trial.number].intermediate_values)
        self.failed, self.pruned = "", False
        self._read: Any = None

    @property
    def given_up(self) -> bool:
        return self.pruned or bool(self.failed)

    @property
    def is_finished(self) -> bool:
        """Whether all its runs are."""
        return all(run.status == "finished" for run in self.runs)

    def news(self, metric: str) -> Curves | None:
        """The curves, if an evaluation may have been added since the last call."""
        files = [run.metrics for run in self.runs]
        states = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files if file]
        if len(states) < len(files) or states == self._read:
            return None
        self._read = states
        return curves_of_trial(self.runs, metric)


class Trials:
    """The trials of a sweep.

    Runs of trials that have begun go first; a new trial begins when there is room and nothing else to start.

    Args:
        sweep: the sweep.
        study: its study.
        out: the folder of the sweep.
        folder: the id of this folder in the database.
        alone: whether no other folder uses the database.
        pool: what carries out the runs.
        max_steps: the length of a run, where the settings of a trial do not say it.
    """

    def __init__(self, sweep: Sweep, study: "Study", out: Path, folder: str, alone: bool, pool: Pool, max_steps: int):
        self._sweep, self._study, self._out, self._folder = sweep, study, out, folder
        self._pool, self._max_steps = pool, max_steps
        self._active = [self._begun(trial, values_of(trial, sweep)) for trial in interrupted(study, folder, alone)]

    def carry_out(self) -> None:
        """Carry out all trials that are not finished; returns when all are, or after a stop."""
        done = len(trials_of(self._study)) - len(self._active)
        total = max(self._sweep.trials, done)
        with self._pool.signals(), progress(total, "trials", initial=done, smoothing=0) as bar:
            while True:
                self._fill()
                if not self._pool.is_busy and (self._pool.stopped or not self._active):
                    break
                for run, how in self._pool.step():
                    if how.status != 0:
                        self._fail(run, how.reason)
                for active in self._active:
                    self._look(active)
                self._finish(bar)
                bar.set_postfix_str(self._pool.progress(), refresh=False)
                bar.update(0)  # redraws the bar if it is due

    def _fill(self) -> None:
        """Start runs while there is room."""
        while self._pool.has_room:
            waiting = next((active for active in self._active if active.waiting), None)
            if waiting is not None:
                self._pool.add(waiting.waiting.pop(0))
            elif len(trials_of(self._study)) < self._sweep.trials:
                self._active.append(self._begun(*ask(self._study, self._sweep, self._folder)))
            else:
                break

    def _begun(self, trial: "Trial", values: Mapping[str, Any]) -> _Active:
        return _Active(trial, runs_of_trial(self._sweep, trial.number, values, self._out))

    def _fail(self, run: Run, reason: str) -> None:
        (active,) = [each for each in self._active if run in each.runs]
        if not active.given_up:
            active.failed = f"seed {run.seed}, {reason.removesuffix('.')}; its log is {run.log}"
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
                falls_behind = active.trial.should_prune()  # at every step, since hyperband remembers the value
                if falls_behind and step < end and not active.is_finished:
                    active.pruned = True
                    self._give_up(active)
                    break

    def _give_up(self, active: _Active) -> None:
        active.waiting.clear()
        for run in self._pool.runs:
            if run in active.runs:
                self._pool.stop(run)

    def _finish(self, bar: tqdm) -> None:
        """Tell the values of trials whose runs have all ended."""
        under_way = set(self._pool.runs)
        for active in list(self._active):
            if (active.given_up or active.is_finished) and not under_way.intersection(active.runs):
                self._tell(active, bar)
                self._active.remove(active)
                bar.update()

    def _tell(self, active: _Active, bar: tqdm) -> None:
        from optuna.trial import TrialState

        number, metric = active.trial.number, self._sweep.metric
        self._look(active)  # the last evaluations of runs that have ended meanwhile
        curves = curves_of_trial(active.runs, metric)
        scores = scores_of_trial(curves, self._sweep.last_evaluations)
        if not active.given_up and not len(curves.steps):
            active.failed = self._no_evaluation(active)
        if not active.given_up and not np.isfinite(scores).all():
            active.failed = f"a {metric} at its end is not a number"
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
            value = float(interquartile_mean(scores))
            self._study.tell(number, value)
            said = f"{metric} {value:,.4g}{', the best so far' if self._study.best_trial.number == number else ''}"
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
