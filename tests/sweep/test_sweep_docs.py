"""The page on sweeps says what the command does, and its files are valid."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from lightning_maxent.backends.run import Run, fit_arguments
from lightning_maxent.cli.command import settings
from lightning_maxent.comparison.specification import joined_options
from lightning_maxent.sweep import command
from lightning_maxent.sweep.specification import make_sweep

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "sweep.md").read_text()
FOR_WANDB = yaml.safe_load((DOCS / "wandb_sweep.yaml").read_text())


def test_the_files_of_the_page_are_valid_and_their_options_exist():
    file, for_wandb = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    sweep = make_sweep(file, "the page")
    for size in ("small", "large"):
        run = Run("", "", 0, Path(), tuple(sweep.settings_of(sweep.first[0] | {"size": size, "critic": "critic/tqc"})))
        assert settings(fit_arguments(run, None))["trainer"]["max_steps"] == 50_000
    assert FOR_WANDB["command"] == for_wandb["command"]
    cells = re.findall(r"^\| `(\{.*?\})`", PAGE, re.MULTILINE)
    assert len(cells) == 6
    for cell in cells[:4]:
        make_sweep({"settings": ["sac"], "space": {"data.x": yaml.safe_load(cell)}}, "the page")


def test_the_commands_of_the_page_are_those_that_the_command_has():
    commands = [line for line in PAGE.splitlines() if line.startswith("lightning-maxent sweep ")]
    assert len(commands) == 5
    for line in commands:
        given, further = command._parser().parse_known_args(joined_options(shlex.split(line, comments=True)[2:]))
        if given.sweep != "mine.yaml" and given.sweep is not None:
            content, where, _ = command._content(given, further)
            assert make_sweep(content, where).trials in (20, 40)


@pytest.mark.parametrize("kind", [int, float])  # W&B draws whole numbers as 64 or as 64.0
def test_the_file_for_wandb_has_options_that_fit_accepts_as_the_agent_writes_them(kind):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    drawn = {
        name: each["values"][0] if "values" in each else each["max"] for name, each in FOR_WANDB["parameters"].items()
    }
    drawn = {name: kind(value) if value >= 1 else value for name, value in drawn.items()}
    args = create_sweep_command_args({"args": {name: {"value": value} for name, value in drawn.items()}})
    words = []
    for word in create_sweep_command(FOR_WANDB["command"]):
        words += args["args"] if word == "${args}" else [FOR_WANDB["program"] if word == "${program}" else word]
    assert words[:2] == ["lightning-maxent", "fit"]
    found = settings(words[1:])
    assert found["data"]["init_args"]["batch_size"] == 32
    assert found["trainer"]["max_steps"] == 20_000
    assert found["model"]["init_args"]["temperature"]["init_args"]["alpha"] == 10
    assert found["model"]["init_args"]["optimizers"]["default"]["init_args"]["lr"] == 0.01
    assert FOR_WANDB["metric"] == {"name": "eval/return_mean", "goal": "maximize"}
