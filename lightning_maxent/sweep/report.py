"""What a sweep leaves: trials.csv, the page, a comparison that checks the best trial, and a summary in the terminal."""

import shlex
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lightning_maxent.backends.provenance import provenance
from lightning_maxent.comparison.page import number, svg
from lightning_maxent.comparison.results import write_table
from lightning_maxent.comparison.specification import folder_of
from lightning_maxent.files import write_whole
from lightning_maxent.sweep.page import page
from lightning_maxent.sweep.pictures import draw
from lightning_maxent.sweep.results import (
    FAILED,
    FINISHED,
    PRUNED,
    at_length,
    check_of,
    command_of,
    ranked,
    rows_of,
    tried,
)
from lightning_maxent.sweep.specification import Sweep
from lightning_maxent.sweep.study import importance_of

if TYPE_CHECKING:
    from optuna.study import Study


def report(sweep: Sweep, study: "Study", out: Path, command: str) -> bool:
    """Write all results, and print a summary.

    Args:
        sweep: the sweep.
        study: its study.
        out: its folder.
        command: the command line, for the page.

    Returns:
        Whether any trial has a value.
    """
    trials = tried(study)
    if trials:
        write_table(rows_of(sweep, trials, out), out / "trials.csv")
    if all(trial.status != FINISHED for trial in trials):
        print(f"No trial in {out} has finished yet, so there is nothing to draw.")
        return False
    best = ranked(trials, sweep.direction)[0]
    pictures = {caption: svg(figure) for caption, figure in draw(sweep, trials, importance_of(study)).items()}
    (out / "pictures").mkdir(exist_ok=True)
    for caption, text in pictures.items():
        write_whole(out / "pictures" / f"{folder_of(caption)}.svg", text)
    write_whole(out / "check.yaml", yaml.safe_dump(check_of(sweep, best.values), sort_keys=False))
    made = {"date": f"{datetime.now():%Y-%m-%d %H:%M}", **provenance()}
    title = f"Sweep of {' '.join(item for item in sweep.settings if not item.startswith('--')) or out.name}"
    write_whole(out / "page.html", page(title, command, made, sweep, trials, pictures))
    count = {status: sum(trial.status == status for trial in trials) for status in (PRUNED, FAILED)}
    print(f"\nTrials: {len(trials)}, {count[PRUNED]} of them pruned, {count[FAILED]} failed.")
    print(f"Best: trial {best.number}, {sweep.metric} {number(best.value)}")
    for name, value in best.values.items():
        print(f"  {name} = {value:.4g}" if isinstance(value, float) else f"  {name} = {value}")
    print(f"To repeat it:\n  {command_of(sweep.settings_of(best.values), sweep.seeds[0])}")
    if (long := at_length(sweep, best.values)) is not None:
        print(f"To train it at length, {long[1]}:\n  {command_of(long[0])}")
    check = shlex.join(["lightning-maxent", "compare", str(out / "check.yaml"), "--out", str(out / "check")])
    print(f"To check it on new seeds:\n  {check}")
    print(f"Drawn: {out / 'page.html'}")
    return True
