"""The study in Optuna's database.  The only module that imports Optuna, when a sweep begins."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_maxent.errors import MaxEntError
from lightning_maxent.sweep.specification import Numbers, Pruning, Sweep

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

DATABASE = "trials.db"  # in the folder of the sweep
FOLDER, REASON, SCORES, SPECIFICATION = "folder", "reason", "scores", "specification"  # what we save beside the values


def import_optuna() -> Any:
    """Optuna, which takes a second to import.

    Raises:
        MaxEntError: if it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MaxEntError("A sweep needs Optuna: pip install 'lightning-maxent[sweep]'.") from error
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna


def open_study(sweep: Sweep, name: str, url: str, length: Mapping[str, int]) -> "Study":
    """The study of a sweep; it is made if the database does not have it.

    Args:
        sweep: the sweep.
        name: the name of the study in the database.
        url: the URL of the database.
        length: ``max_steps`` and ``eval_interval`` of the runs, in environment steps.
    """
    study = import_optuna().create_study(
        study_name=name,
        storage=url,
        direction=sweep.direction,
        load_if_exists=True,
        pruner=_pruner(sweep.pruning, **length),
    )
    if not study.get_trials(deepcopy=False):
        for values in sweep.first:
            study.enqueue_trial(values)
    return study


@contextlib.contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Turn errors of the database into ``MaxEntError``."""
    optuna = import_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError) as error:
        root = error
        while root.__cause__ is not None:
            root = root.__cause__
        said = " ".join(str(root).split()).removesuffix(".")
        raise MaxEntError(
            f"The database {hidden(url)} cannot be used ({said}): check it, and give the command again; trials that have "
            f"ended are kept."
        ) from error


def hidden(url: str) -> str:
    """The URL of a database without its password."""
    import_optuna()
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError as error:
        raise MaxEntError(
            f"--storage must be the URL of a database, as in postgresql://user@host/name, but is {url!r}."
        ) from error


def _pruner(pruning: Pruning, max_steps: int, eval_interval: int) -> "BasePruner":
    from optuna import pruners

    if pruning.method == "median":
        return pruners.MedianPruner(pruning.startup_trials, pruning.warmup_steps)
    if pruning.method == "hyperband":
        smallest = min(pruning.min_steps or eval_interval, max_steps)
        return pruners.HyperbandPruner(smallest, max_steps, pruning.reduction_factor)
    return pruners.NopPruner()


def trials_of(study: "Study") -> "list[FrozenTrial]":
    """All trials that have begun."""
    from optuna.trial import TrialState

    return [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]


def ask(study: "Study", sweep: Sweep, folder: str) -> "tuple[Trial, dict[str, Any]]":
    """A new trial and its values.

    The sampler is made anew for each trial, with a seed of its own.  So a sweep that was killed asks for the same
    trials as one that was not, and does not repeat its first random numbers.

    Args:
        study: the study.
        sweep: its sweep.
        folder: the id of the folder of this sweep, which belongs to the trial.
    """
    from optuna.samplers import TPESampler

    seed = np.random.SeedSequence([sweep.sampler_seed, len(trials_of(study))]).generate_state(1)[0]
    study.sampler = TPESampler(seed=int(seed))
    trial = study.ask()
    trial.set_user_attr(FOLDER, folder)
    return trial, values_of(trial, sweep)


def values_of(trial: "Trial", sweep: Sweep) -> dict[str, Any]:
    """The values of a trial; those that it does not have yet are drawn."""
    values = {}
    for name, parameter in sweep.space.items():
        if not isinstance(parameter, Numbers):
            values[name] = trial.suggest_categorical(name, list(parameter.choices))
        elif parameter.whole:
            step = int(parameter.step or 1)
            values[name] = trial.suggest_int(
                name, int(parameter.low), int(parameter.high), step=step, log=parameter.log
            )
        else:
            low, high = float(parameter.low), float(parameter.high)
            values[name] = trial.suggest_float(name, low, high, step=parameter.step, log=parameter.log)
    return values


def interrupted(study: "Study", folder: str, alone: bool) -> "list[Trial]":
    """The trials of this folder that a killed sweep has left unfinished.

    Args:
        study: the study.
        folder: the id of the folder.
        alone: whether no other folder uses the database; then trials without a folder are ours, too: the sweep was
            killed before it wrote the folder.
    """
    from optuna.trial import Trial, TrialState

    running = [trial for trial in trials_of(study) if trial.state == TrialState.RUNNING]
    ours = [trial for trial in running if trial.user_attrs.get(FOLDER, folder if alone else "") == folder]
    return [Trial(study, trial._trial_id) for trial in ours]


def importance_of(study: "Study") -> dict[str, float]:
    """The importance of each parameter, which add up to 1; empty if the finished trials are too few or too equal.

    Watanabe et al. 2023, arXiv 2304.10255: how different a parameter's values are in the best quarter of the trials
    from those in all trials.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    if len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])) < 4:
        return {}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Target and region quantiles select the same set")
        try:
            return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
        except UserWarning:  # all trials have the value of the best quarter
            return {}
