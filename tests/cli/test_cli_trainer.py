"""The command line with Lightning's own options, callbacks and loggers: each works as its documentation says, or is refused."""

import argparse
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import wandb_files
import yaml
from cli_helpers import SMALL, fit, metrics, python, refused, saved
from lightning_utilities.core.imports import RequirementCache
from pytorch_lightning.callbacks import EarlyStopping

from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import main, run
from lightning_maxent.cli.lightning_errors import refusal_of_lightning

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def evaluations(run: Path) -> list[float]:
    return [row["env_steps"] for row in metrics(run) if "eval/return_mean" in row]


def test_a_dry_run_leaves_nothing(capsys):
    fit("--trainer.fast_dev_run=30")
    assert os.listdir() == []
    assert "A dry run" in capsys.readouterr().out


def test_a_dry_run_from_a_checkpoint_leaves_the_run_as_it_was():
    run = fit(steps=60)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    fit("--ckpt_path=last", "--trainer.fast_dev_run=true")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_last_run_is_the_newest_folder_that_holds_a_configuration(capsys):
    run = fit(steps=60)
    shutil.copytree(run, run.with_name("no_run"))
    (run.with_name("no_run") / "config.yaml").unlink()
    os.utime(run.with_name("no_run") / "checkpoints" / "last.ckpt")
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=80"])
    assert metrics(run)[-1]["env_steps"] == 80
    shutil.rmtree(run)
    assert "There is no checkpoint" in refused(capsys, "fit", "--config=value_sac/pendulum", *SMALL, "--ckpt_path=last")


@pytest.mark.parametrize(("end", "evaluated"), [(120, [80, 120]), (130, [80, 130]), (160, [80, 160])])
def test_a_run_that_skips_evaluations_still_ends_with_one_at_its_last_step(end, evaluated):
    run = fit("--trainer.check_val_every_n_epoch=2", steps=end)
    assert evaluations(run) == evaluated
    fit("--ckpt_path=last", "--trainer.check_val_every_n_epoch=2", steps=240)
    assert evaluations(run) == sorted({*evaluated, 160, 240})


def test_a_checkpoint_is_saved_at_the_end_of_an_epoch_without_evaluation(monkeypatch):
    run = fit("--trainer.check_val_every_n_epoch=2", "--checkpoint.every_n_steps=40", steps=40)
    assert saved(run)["global_step"] == 40


def test_epochs_are_evaluation_intervals_in_a_resumed_run_too():
    run = fit("--trainer.max_epochs=2", steps=1000)
    fit("--ckpt_path=last", "--trainer.max_epochs=3", steps=1000)
    assert evaluations(run) == [40, 80, 120]


def test_a_sanity_check_does_not_replace_the_last_evaluation():
    run = fit("--trainer.num_sanity_val_steps=1")
    assert evaluations(run) == [40, 80, 100]


PAGE = (Path(__file__).parents[2] / "docs" / "lightning.md").read_text()


def rows(heading: str) -> list[tuple[str, str]]:
    """The rows of a table of the page on Lightning: the option, and what it does or the sentence that refuses it."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(--[^`]+)` \| (.*) \|$", section, re.MULTILINE)
    assert found
    return found


@pytest.mark.parametrize(("option", "effect"), [*rows("Options that work"), *rows("Callbacks that work")])
def test_every_option_that_the_page_on_lightning_calls_working_trains_to_its_end(option, effect):
    args = ["fit", "--config=sac/pendulum", *SMALL, "--name=a", "--trainer.max_steps=80", *shlex.split(option)]
    if "devices" in option:  # Lightning starts this program again
        done = python("-m", "lightning_maxent", *args, "--data.learning_starts=40")
        assert done.returncode == 0, done.stderr
        assert "2 processes; together 2 environments" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout.count("The run's folder") == 1
    else:
        main(args)
    if "without files" in effect:
        assert not Path("runs").exists()
        return
    (run,) = Path("runs").glob("*/*/a")
    steps = {"ends after 60": 60, "ends after one": 40}
    last = next((count for start, count in steps.items() if effect.startswith(start)), 80)
    assert metrics(run)[-1]["env_steps"] == last
    skipped = {"never": [], "evaluates after every second": [80]}
    expected = next((steps for start, steps in skipped.items() if effect.startswith(start)), [40, last])
    assert evaluations(run) == sorted(set(expected))


@pytest.mark.parametrize(("option", "sentence"), rows("What is refused"))
def test_every_option_that_the_page_on_lightning_calls_refused_ends_in_its_sentence(capsys, option, sentence):
    error = refused(capsys, "fit", "--config=sac/pendulum", *SMALL, "--name=a", *shlex.split(option))
    assert error == f"lightning-maxent: error: {sentence}"
    assert os.listdir() == []


FIT = ["fit", "--config=value_sac/pendulum", *SMALL, "--name=a", "--trainer.max_steps=60"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--trainer.overfit_batches=0.5"], "overfit_batches cannot be used"),
        (["--trainer.limit_train_batches=1"], "limit_train_batches cannot be used: set --data.eval_interval"),
        (["--trainer.limit_train_batches=0.5"], "limit_train_batches cannot be used"),
        (["--trainer.logger=WandbLogger"], "give the whole path, lightning_maxent.WandbLogger."),
        (
            ["--trainer.logger=[WandbLogger,CSVLogger]"],
            "give the whole path, lightning_maxent.WandbLogger.",
        ),
        (["--trainer.logger=pl.loggers.WandbLogger"], "did you mean lightning_maxent.WandbLogger?"),
        (["--trainer.logger=lightning_maxent.loggers.Wandb"], "did you mean lightning_maxent.WandbLogger?"),
        (["--trainer.logger=[CSVLogger]"], "CSVLogger cannot be built without save_dir: give it among its init_args."),
        (["--trainer.callbacks+=ModelPruning"], "ModelPruning cannot be built without pruning_fn"),
        (["--trainer.strategy=no_such"], "You selected an invalid strategy name"),
    ],
)
def test_unsupported_trainer_options_are_refused_before_anything_is_written(capsys, args, sentence):
    assert sentence in refused(capsys, *FIT, *args)
    assert os.listdir() == []


REQUIRED = {
    "lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE": "tensorboard",
    "lightning_fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE": "tensorboardX",
    "pytorch_lightning.loggers.mlflow._MLFLOW_AVAILABLE": "mlflow",
    "pytorch_lightning.callbacks.device_stats_monitor._PSUTIL_AVAILABLE": "psutil",
    "pytorch_lightning.callbacks.progress.rich_progress._RICH_AVAILABLE": "rich",
}


@pytest.mark.parametrize(
    ("args", "who", "package"),
    [
        (["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=x"], "TensorBoardLogger", "tensorboard"),
        (["--trainer.logger=MLFlowLogger"], "MLFlowLogger", "mlflow"),
        (["--trainer.callbacks+=DeviceStatsMonitor"], "DeviceStatsMonitor", "psutil"),
        (["--trainer.enable_progress_bar=true", "--trainer.callbacks+=RichProgressBar"], "RichProgressBar", "rich"),
    ],
)
def test_a_part_of_lightning_whose_package_is_missing_says_how_to_install_it(capsys, monkeypatch, args, who, package):
    for name, required in REQUIRED.items():
        monkeypatch.setattr(name, RequirementCache(f"{required}>=10000"))
    error = refused(capsys, *FIT, *args)
    assert f"{who} needs a package that is not installed: pip install {package}" in error
    assert "tensorboardX" not in error
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_several_loggers_work_side_by_side(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ours, theirs = "lightning_maxent.WandbLogger", "pytorch_lightning.loggers.CSVLogger"
    run = fit(f"--trainer.logger=[{{class_path: {ours}}}, {{class_path: {theirs}, init_args: {{save_dir: csv}}}}]")
    assert [row["env_steps"] for row in wandb_files.history(run) if "eval/return_mean" in row] == [40, 80, 100]
    assert evaluations(run) == [40, 80, 100]
    (rows,) = Path("csv").rglob("metrics.csv")
    assert "eval/return_mean" in rows.read_text()


def raised(error_of) -> BaseException:
    try:
        error_of()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_deliberate_errors_of_lightning_are_one_sentence_and_bugs_keep_their_traceback():
    def on_purpose():
        EarlyStopping(monitor="a")._validate_condition_metric({})

    def broken():
        EarlyStopping(monitor="a")._validate_condition_metric(None)

    def ours_after_theirs():
        try:
            on_purpose()
        except RuntimeError:
            raise KeyError("a bug of ours")  # noqa: B904

    assert str(refusal_of_lightning(raised(on_purpose))).startswith("Early stopping conditioned on metric `a` which")
    assert isinstance(raised(broken), AttributeError)
    assert refusal_of_lightning(raised(broken)) is None
    assert refusal_of_lightning(raised(ours_after_theirs)) is None
    wrong = raised(lambda: pl.Trainer(accelerator="no_such"))
    assert "invalid accelerator name" in str(refusal_of_lightning(wrong))


def parsed(capsys, *args: str) -> dict:
    with pytest.raises(SystemExit):
        main(["fit", "--config=value_sac/pendulum", *args, "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


def test_integer_options_take_exponents_and_points_from_flags_and_files_and_others_stay_as_they_are(capsys):
    flags = ["--data.batch_size=2e1", "--trainer.max_steps=1e4", "--data.learning_starts=32.0", "--seed_everything=1e1"]
    flags += ["--model.critic.init_args.network.init_args.hidden_dims=[2e1, 16]", "--name=1e4"]
    flags += ["--trainer.limit_val_batches=1.0", "--trainer.limit_train_batches=1", "--model.discount=1"]
    Path("overlay.yaml").write_text("data:\n  capacity: 1e5\n  num_envs: 2.0\ntrainer:\n  min_steps: 1e2\n")
    config = parsed(capsys, "--config=overlay.yaml", *flags)
    data, trainer, model = config["data"]["init_args"], config["trainer"], config["model"]["init_args"]
    read = [data[name] for name in ("batch_size", "learning_starts", "capacity", "num_envs")]
    read += [trainer["max_steps"], trainer["min_steps"], config["seed_everything"]]
    read += model["critic"]["init_args"]["network"]["init_args"]["hidden_dims"]
    assert read == [20, 32, 100_000, 2, 10_000, 100, 10, 20, 16]
    assert all(type(number) is int for number in read)
    assert config["name"] == "1e4"
    assert type(trainer["limit_val_batches"]) is type(model["discount"]) is float
    assert type(trainer["limit_train_batches"]) is int


@pytest.mark.parametrize("written", ["1.5", "1e-1", "true", "many", "inf"])
def test_values_that_are_no_whole_numbers_are_refused(written):
    with pytest.raises(argparse.ArgumentError, match="Expected a <class 'int'>"):
        run(resolve_arguments(["fit", "--config=value_sac/pendulum", f"--data.batch_size={written}", "--print_config"]))
