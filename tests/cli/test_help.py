"""``fit --help`` shows the parts of a run, and every option that it names exists."""

import re

import pytest

from lightning_maxent.cli.arguments import COMMANDS
from lightning_maxent.cli.command import main, parse
from lightning_maxent.errors import MaxEntError


def said(capsys, *args: str) -> str:
    main(args)
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_on_a_screen_and_names_what_matters(capsys, command):
    text = said(capsys, command, "--help")
    assert len(text.splitlines()) < 45
    assert max(map(len, text.splitlines())) <= 125
    for option in ("--name", "--data.env_id", "--trainer.max_steps", "--ckpt_path", "--model.help", "--help all"):
        assert option in text


def test_every_option_named_in_the_help_exists(capsys):
    values = {
        "N": "1",
        "FOLDER": "x",
        "NAME": "auto",
        "CLASS": "EarlyStopping",
        "last|FILE": "null",
        "ID": "Pendulum-v1",
    }
    options = re.findall(
        r"^  (--[\w.]+\+?=?) ?(N|FOLDER|NAME|CLASS|ID|last\|FILE)?  ", said(capsys, "fit", "--help"), re.M
    )
    assert len(options) > 12
    given = []
    for option, value in options:
        if option not in ("--print_config", "--trainer.precision", "--trainer.logger", "--execution"):
            given += [f"{option.rstrip('=')}={values[value]}", *["--trainer.callbacks.monitor=x"] * (value == "CLASS")]
    parse(["fit", "sac/pendulum", *given])
    with pytest.raises(MaxEntError, match="There is no option --nosuch; "):
        parse(["fit", "sac/pendulum", *given, "--nosuch=x"])  # a wrong one is found among all of them


def test_with_a_configuration_help_shows_the_options_of_its_classes_with_their_values(capsys):
    text = said(capsys, "fit", "ppo/cartpole", "--help", "--data.num_envs=4")
    assert re.search(r"--data\.num_envs=4 +number of parallel copies", text)
    assert re.search(r"--model\.minibatches=1 ", text)
    assert re.search(r"--model\.policy=GaussianOrCategorical\n +builds the policy", text)
    assert "--data.capacity" not in text


def test_help_all_shows_every_option_of_lightning(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help", "all"])
    assert stop.value.code == 0
    assert "--trainer.profiler" in capsys.readouterr().out
