import argparse
from pathlib import Path

import pytest
import yaml

from lightning_maxent.arguments import resolve_arguments
from lightning_maxent.cli import main, run
from lightning_maxent.whole_numbers import whole_number

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2e2", 200),
        ("1E+4", 10_000),
        ("32.0", 32),
        ("1.5e1", 15),
        ("-1e1", -10),
        ("9007199254740993", 9007199254740993),
        ("1e23", 10**23),
        (32.0, 32),
        (1.5, 1.5),
        ("1.5", "1.5"),
        ("1e-2", "1e-2"),
        (float("inf"), float("inf")),
        ("many", "many"),
        (True, True),
        (None, None),
    ],
)
def test_a_whole_number_is_what_it_says_however_it_is_written(written, meant):
    read = whole_number(written)
    assert read == meant
    assert type(read) is type(meant)


def parsed(capsys, *args: str) -> dict:
    with pytest.raises(SystemExit):
        main(["fit", "--config=sac/pendulum", *args, "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


def test_integer_options_take_exponents_and_points_from_flags_and_files_and_others_stay_as_they_are(capsys):
    flags = ["--data.batch_size=2e1", "--trainer.max_steps=1e4", "--data.warmup_steps=32.0", "--seed_everything=1e1"]
    flags += ["--model.critic.init_args.network.init_args.hidden_dims=[2e1, 16]", "--name=1e4"]
    flags += ["--trainer.limit_val_batches=1.0", "--trainer.limit_train_batches=1", "--model.discount=1"]
    Path("overlay.yaml").write_text("data:\n  capacity: 1e5\n  num_envs: 2.0\ntrainer:\n  min_steps: 1e2\n")
    config = parsed(capsys, "--config=overlay.yaml", *flags)
    data, trainer, model = config["data"]["init_args"], config["trainer"], config["model"]["init_args"]
    read = [data[name] for name in ("batch_size", "warmup_steps", "capacity", "num_envs")]
    read += [trainer["max_steps"], trainer["min_steps"], config["seed_everything"]]
    read += model["critic"]["init_args"]["network"]["init_args"]["hidden_dims"]
    assert read == [20, 32, 100_000, 2, 10_000, 100, 10, 20, 16]
    assert all(type(number) is int for number in read)
    assert config["name"] == "1e4"
    assert type(trainer["limit_val_batches"]) is type(model["discount"]) is float
    assert type(trainer["limit_train_batches"]) is int


@pytest.mark.parametrize("written", ["1.5", "1e-1", "true", "many", "inf"])
def test_what_is_no_whole_number_stays_refused(written):
    with pytest.raises(argparse.ArgumentError, match="Expected a <class 'int'>"):
        run(resolve_arguments(["fit", "--config=sac/pendulum", f"--data.batch_size={written}", "--print_config"]))
