"""The runs of a comparison, and its folder."""

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_maxent.backends.run import Run, read_yaml
from lightning_maxent.cli.configurations import contents
from lightning_maxent.comparison.specification import Comparison, flat, folder_of
from lightning_maxent.errors import MaxEntError


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
    old, new = read_yaml(run.folder / "settings.yaml"), contents(run.settings)
    if old == new:
        return ""
    if not isinstance(old, list):
        return "its settings.yaml is missing or damaged"
    before, after = flat(old), flat(new)
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    named = [f"{key} was {before.get(key)!r} and is {after.get(key)!r}" for key in keys[:3]]
    return "; ".join([*named, *(["…"] if keys[3:] else [])]) or "in another order"


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock a folder, so that only one comparison or sweep writes into it.

    Raises:
        MaxEntError: if another comparison or sweep uses the folder, or it cannot be written.
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
                f"Another comparison or sweep is running in {out}: wait until it ends, or choose another --out."
            ) from error
        yield
