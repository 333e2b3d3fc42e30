"""What a sweep leaves: trials.csv, the page, and the summary in the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

from lightning_maxent.sweep.specification import Sweep

if TYPE_CHECKING:
    from optuna.study import Study


def report(sweep: Sweep, study: "Study", out: Path, command: str) -> bool:
    """Write all results; returns whether any trial has a value."""
    from optuna.trial import TrialState

    done = study.get_trials(states=[TrialState.COMPLETE])
    if done:
        print(study.best_trial.number, study.best_value, study.best_params)
    return bool(done)
