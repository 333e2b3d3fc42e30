"""``make_trainer`` builds the Trainer of the command line, and a plain Trainer logs the training metrics as well."""

import copy
import csv
import pickle
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from cli_helpers import SMALL, metrics, python
from pytorch_lightning.loggers import CSVLogger

from lightning_maxent import SAC, MaxEntError, ReplayDataModule, SquashedGaussian, TwinCritic, make_trainer
from lightning_maxent.callbacks.checkpoint import StepCheckpoint
from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import run
from lightning_maxent.metrics.training_log import TrainingLog

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
RUN = """
from lightning_maxent import SAC, ReplayDataModule, SquashedGaussian, TwinCritic, make_trainer
data = ReplayDataModule("probe_envs:probe/Counting-v0", learning_starts=20, batch_size=16, eval_interval=20, eval_episodes=1)
model = SAC(data.obs_dim, data.actions, critic=TwinCritic, policy=SquashedGaussian)
"""
PLAIN = QUIET | {"num_sanity_val_steps": 0, "enable_checkpointing": False}


def parts() -> tuple[SAC, ReplayDataModule]:
    data = ReplayDataModule(
        "probe_envs:probe/Counting-v0",
        capacity=500,
        batch_size=16,
        learning_starts=20,
        eval_interval=40,
        eval_episodes=2,
    )
    return SAC(data.obs_dim, data.actions, TwinCritic, SquashedGaussian), data


def of_the_command_line(*args: str) -> pl.Trainer:
    config = "sac"
    return run(resolve_arguments(["fit", config, *SMALL, "--trainer.max_steps=40", *args])).trainer


def names(parts: list) -> list[str]:
    """Of their classes, but for the one that writes the command line's own configuration."""
    return [type(part).__name__ for part in parts if type(part).__name__ != "SaveRunConfig"]


def test_the_trainer_is_that_of_the_command_line():
    theirs = of_the_command_line()
    ours = make_trainer(40, "runs/by_hand", **QUIET)
    assert names(ours.callbacks) == names(theirs.callbacks)
    assert names(ours.loggers) == names(theirs.loggers) == ["WandbLogger", "TidyCSVLogger"]
    assert names([ours.strategy.checkpoint_io]) == names([theirs.strategy.checkpoint_io]) == ["AtomicCheckpointIO"]
    for flag in ("max_steps", "max_epochs", "num_devices", "num_sanity_val_steps", "log_every_n_steps", "precision"):
        assert getattr(ours, flag) == getattr(theirs, flag), flag
    assert ours.default_root_dir == str(Path("runs/by_hand").absolute())


def test_a_run_in_python_prints_no_advertisement_and_no_warning_about_the_code_of_lightning():
    options = f"logger=False, **{QUIET}"
    done = python("-c", f"{RUN}make_trainer(40, 'runs/by_hand', {options}).fit(model, data)")
    assert "`Trainer.fit` stopped" in done.stdout + done.stderr
    assert "Tip:" not in done.stdout + done.stderr
    assert "deprecated" not in done.stderr


def test_a_given_callback_replaces_the_default_one():
    log, checkpoint = TrainingLog(7), StepCheckpoint(9)
    trainer = make_trainer(40, "runs/a", callbacks=[log, checkpoint], logger=False, **QUIET)
    assert [each for each in trainer.callbacks if isinstance(each, TrainingLog)] == [log]
    assert [each for each in trainer.callbacks if isinstance(each, StepCheckpoint)] == [checkpoint]
    assert names(trainer.loggers) == ["TidyCSVLogger"]
    with pytest.raises(TypeError, match="no_such_option"):
        make_trainer(40, "runs/a", no_such_option=1)


def test_a_run_of_make_trainer_resumes_from_its_checkpoint():
    for steps in (60, 100):
        last = Path("runs/a/checkpoints/last.ckpt") if steps == 100 else None
        make_trainer(steps, "runs/a", TrainingLog(20), logger=False, **QUIET).fit(*parts(), ckpt_path=last)
    rows = metrics(Path("runs/a"))
    assert [row["env_steps"] for row in rows] == [20, 40, 60, 80, 100]
    assert rows[-1]["gradient_steps"] == 80


def test_a_folder_that_holds_a_run_is_refused_with_advice_that_resumes_it():
    make_trainer(40, "runs/a", logger=False, **QUIET).fit(*parts())
    before = Path("runs/a/metrics.csv").read_text()
    with pytest.raises(MaxEntError, match=r"runs/a already holds a run: .* ckpt_path='.*last\.ckpt'\)\.$") as refusal:
        make_trainer(60, "runs/a", logger=False, **QUIET).fit(*parts())
    assert Path("runs/a/metrics.csv").read_text() == before
    last = str(refusal.value).partition("ckpt_path='")[2].removesuffix("').")
    trainer = make_trainer(60, "runs/a", logger=False, **QUIET)
    trainer.fit(*parts(), ckpt_path=last)
    assert trainer.global_step == 60


def test_a_plain_trainer_logs_losses_and_training_returns_in_its_own_loggers():
    model, data = parts()
    logger = CSVLogger(".", name="plain")
    pl.Trainer(max_epochs=-1, max_steps=60, logger=logger, log_every_n_steps=1, **PLAIN).fit(model, data)
    with Path(logger.log_dir, "metrics.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    (row,) = [row for row in rows if "loss/critic" in row]
    assert row["step"] == 60
    assert row["train/return_mean"] == 15  # 1 + 2 + 3 + 4 + 5
    assert row["gradient_steps"] == 40
    assert {"loss/policy", "entropy", "temperature"} <= row.keys()


def test_a_trainer_with_its_own_training_log_gets_no_second_one():
    log = TrainingLog(10)
    trainer = pl.Trainer(max_epochs=-1, max_steps=40, logger=False, callbacks=[log], log_every_n_steps=1, **PLAIN)
    trainer.fit(*parts())
    assert [each for each in trainer.callbacks if isinstance(each, TrainingLog)] == [log]


def test_calling_the_model_gives_the_deterministic_action_in_scaled_coordinates():
    model, _ = parts()
    obs = torch.randn(4, 2)
    with torch.no_grad():
        assert torch.equal(model(obs), model.act(obs, deterministic=True))
        assert not torch.equal(model(obs), model.act(obs, deterministic=False))
    assert (model(obs).abs() <= 1).all()


@pytest.mark.parametrize("batches", ["data", "observations"])
def test_predict_is_refused_in_one_sentence(batches):
    model, data = parts()
    given = {"datamodule": data} if batches == "data" else {"dataloaders": [torch.randn(4, 2)]}
    with pytest.raises(MaxEntError, match=r"trainer\.predict is not supported.*load_policy\(path\) or TrainedPolicy"):
        pl.Trainer(logger=False, **PLAIN).predict(model, **given)


def test_the_settings_of_a_run_are_in_model_and_data_in_every_logger_and_in_checkpoints():
    csv_logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs", "--model.discount=0.9"]
    cli = run(resolve_arguments(["fit", "sac", *SMALL, "--trainer.max_steps=40", "--name=a", *csv_logger]))
    assert cli.model.hparams.discount == 0.9
    assert cli.model.hparams.critic["init_args"]["network"]["init_args"]["hidden_dims"] == [16]
    assert cli.datamodule.hparams.batch_size == 16
    (file,) = Path("logs").rglob("hparams.yaml")
    told, config = yaml.safe_load(file.read_text()), yaml.safe_load((cli.run_dir / "config.yaml").read_text())
    assert told == config
    assert told["model"]["init_args"]["discount"] == 0.9
    for copied in (copy.deepcopy(cli.model), pickle.loads(pickle.dumps(cli.model))):
        assert copied.hparams == cli.model.hparams
    best, data = cli.run_dir / "checkpoints" / "best.ckpt", cli.datamodule
    restored = SAC.load_from_checkpoint(best, obs_dim=data.obs_dim, actions=data.actions)  # Lightning's own way
    assert restored.discount == 0.9
    assert all(
        torch.equal(state, restored.state_dict()[name]) for name, state in torch.load(best)["state_dict"].items()
    )
