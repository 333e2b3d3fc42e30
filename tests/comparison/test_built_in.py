"""The built-in comparisons: every one of their runs has a valid configuration."""

from pathlib import Path

import pytest
import yaml

from lightning_maxent.backends.run import Run, fit_arguments
from lightning_maxent.cli.command import main
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS
from lightning_maxent.comparison.runs import runs_of
from lightning_maxent.comparison.specification import make_comparison


def runs_of_each_kind() -> list[Run]:
    """Every variant on its first task, every task with its first variant, and every pair with settings of its own.

    The settings of a run are those of its variant and its task together, so the other runs contain nothing new.
    """
    files = sorted((BUILT_IN_CONFIGS / "compare").glob("*.yaml"))
    comparisons = {file.stem: make_comparison(yaml.safe_load(file.read_text()), file.stem) for file in files}
    found: dict[tuple[str, ...], Run] = {}
    for name, comparison in comparisons.items():
        first, runs = set(), [run for run in runs_of(comparison, Path(name)) if run.seed == 0]
        for run in runs:
            own = run.task in comparison.pairs.get(run.variant, {})
            if own or not {(0, run.variant), (1, run.task)} <= first:
                found.setdefault(run.settings, run)
            first |= {(0, run.variant), (1, run.task)}
    return list(found.values())


@pytest.mark.parametrize("run", runs_of_each_kind(), ids=lambda run: str(run.folder.parent))
def test_every_run_is_complete_and_evaluates_at_its_last_step(run, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*fit_arguments(run, None), "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out.split("\n# ")[0])
    assert printed["trainer"]["max_steps"] % printed["data"]["init_args"]["eval_interval"] == 0
