"""TensorBoard, MLflow, csv and W&B get the same metrics, clock and settings; they are read back from their own files."""

import re
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import wandb
import wandb_files
import yaml
from cli_helpers import SMALL, metrics, refused
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lightning_maxent import (
    SAC,
    EpisodeTable,
    GradientHistograms,
    Histograms,
    MaxEntError,
    ReplayDataModule,
    SquashedGaussian,
    TwinCritic,
    WandbLogger,
    make_trainer,
)
from lightning_maxent.cli.command import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
EVERY_LOGGER = """[
  {class_path: TensorBoardLogger, init_args: {save_dir: runs, name: tensorboard}},
  {class_path: MLFlowLogger, init_args: {tracking_uri: 'sqlite:///mlflow.db', experiment_name: lightning-maxent}},
  {class_path: CSVLogger, init_args: {save_dir: csv}},
  {class_path: lightning_maxent.WandbLogger, init_args: {mode: offline, group: seeds, tags: [one, two]}}]"""
SHOWN = [
    "--trainer.callbacks+=Histograms",
    "--trainer.callbacks+=GradientHistograms",
    "--trainer.callbacks.every_n_updates=20",
]
SHOWN += ["--trainer.callbacks+=EpisodeTable"]


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.teardown()


def logged(rows: list[dict], name: str) -> list[tuple[int, float]]:
    """The steps and values of a metric in rows of ``metrics.csv``."""
    return [(int(row["env_steps"]), pytest.approx(row[name], rel=1e-6)) for row in rows if name in row]


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")  # of MLflow and TensorBoard about their own code
def test_every_logger_has_the_metrics_the_clock_and_the_settings_of_the_run():
    main(
        [
            "fit",
            "value_sac/pendulum",
            *SMALL,
            "--trainer.max_steps=80",
            "--name=a",
            f"--trainer.logger={EVERY_LOGGER}",
            *SHOWN,
        ]
    )
    run = Path("runs/value_sac/probe-Counting-v0/a")
    assert (run / "checkpoints" / "last.ckpt").exists()  # whatever the first logger is
    rows, settings = metrics(run), yaml.safe_load((run / "config.yaml").read_text())
    names = ("eval/return_mean", "loss/critic", "train/return_mean")
    assert [len(logged(rows, name)) for name in names] == [2, 3, 4]

    board = EventAccumulator("runs/tensorboard/value_sac/probe-Counting-v0/a", size_guidance={"histograms": 0})
    board.Reload()
    for name in names:
        assert [(each.step, each.value) for each in board.Scalars(name)] == logged(rows, name)
    assert yaml.safe_load(Path(board.path, "hparams.yaml").read_text()) == settings
    compared = HParamsPluginData.FromString(board.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    discount = compared.session_start_info.hparams["model/init_args/discount"].number_value
    assert discount == settings["model"]["init_args"]["discount"]
    for name in ("histograms/Q", "histograms/action/1", "histograms/entropy"):
        assert [(each.step, each.histogram_value.num) for each in board.Histograms(name)] == [(40, 10), (80, 10)]
    weights = [each for each in board.Tags()["histograms"] if each.startswith("gradients/critic.")]
    assert [each.step for each in board.Histograms(weights[0])] == [39, 59, 79]
    table = board.Tensors("eval/episodes/text_summary")[-1]
    assert (table.step, b"| 80 | sampled |" in table.tensor_proto.string_val[0]) == (80, True)

    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("lightning-maxent").experiment_id])
    for name in names:
        history = client.get_metric_history(found.info.run_id, name)
        assert [(each.step, each.value) for each in history] == logged(rows, name)
    assert found.info.run_name == "value_sac/probe-Counting-v0/a"
    assert found.data.params["model/init_args/discount"] == str(settings["model"]["init_args"]["discount"])

    of_wandb = wandb_files.history(run)
    for name in names:
        assert logged(of_wandb, name) == logged(rows, name)
    assert [row["env_steps"] for row in of_wandb if "histograms/Q/_type" in row] == [40, 80]
    assert [row["eval/episodes/nrows"] for row in of_wandb if "eval/episodes/nrows" in row] == [4, 4]
    assert wandb_files.config(run)["model"]["init_args"]["discount"] == settings["model"]["init_args"]["discount"]
    assert (wandb_files.run(run).run_group, list(wandb_files.run(run).tags)) == ("seeds", ["one", "two"])
    assert {logged_to.parent.name for logged_to in Path("csv").rglob("metrics.csv")} == {"version_0"}


class ByHand(pl.Callback):
    """Logs as W&B's own pages show it."""

    def on_fit_start(self, trainer, pl_module):
        trainer.logger.watch(pl_module, log_freq=10, log_graph=False)

    def on_validation_end(self, trainer, pl_module):
        trainer.logger.log_image("picture", [np.zeros((2, 2, 3), np.uint8)])
        trainer.logger.experiment.log({"mine": wandb.Histogram([1.0, 2.0])})
        pl_module.logger.experiment.summary["note"] = "by hand"


@pytest.mark.usefixtures("offline")
def test_users_reach_wandb_through_the_logger_of_the_trainer_and_of_the_module():
    data = ReplayDataModule(
        "probe_envs:probe/Counting-v0", batch_size=16, learning_starts=20, eval_interval=40, eval_episodes=1
    )
    model = SAC(data.obs_dim, data.actions, TwinCritic, SquashedGaussian)
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    trainer = make_trainer(40, "runs/a", callbacks=ByHand(), logger=WandbLogger(mode="offline"), **quiet)
    trainer.fit(model, data)
    rows = wandb_files.history(Path("runs/a"))
    (mine,) = [row for row in rows if "mine/_type" in row]
    assert mine["env_steps"] == 40
    (row,) = [row for row in rows if "loss/critic" in row]
    assert any(name.startswith("gradients/critic.") for name in row)
    assert any(row.get("picture/_type") == "images/separated" for row in rows)
    assert wandb_files.summary(Path("runs/a"))["note"] == "by hand"


def test_a_logger_that_does_not_take_the_settings_is_a_warning(monkeypatch):
    monkeypatch.setattr(
        CSVLogger, "log_hyperparams", Mock(side_effect=ValueError("Changing param values is not allowed"))
    )
    args = ["--trainer.max_steps=40", "--name=a", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=csv"]
    with pytest.warns(
        UserWarning, match="CSVLogger did not take the configuration of the run: ValueError: Changing param"
    ):
        main(["fit", "value_sac/pendulum", *SMALL, *args])


def test_what_mlflow_refuses_is_one_sentence(capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    error = refused(capsys, "fit", "value_sac/pendulum", *SMALL, "--trainer.logger=MLFlowLogger")
    assert "Please migrate to a database backend (e.g., 'sqlite:///mlflow.db')" in error
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_the_code_of_the_page_on_logging_runs(monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("WANDB_SILENT", "true")
    for number, smaller in (
        ("max_steps=10_000", "max_steps=300"),
        ("eval_interval=1_000", "eval_interval=300, eval_episodes=1"),
    ):
        assert number in block
        block = block.replace(number, smaller)
    exec(block, {})
    assert any("largest_weight" in row for row in wandb_files.history(Path("runs/logged")))
    wandb.teardown()


@pytest.mark.parametrize("callback", [Histograms, GradientHistograms, EpisodeTable])
def test_a_callback_that_no_logger_can_show_says_so(callback):
    trainer = pl.Trainer(logger=pl.loggers.CSVLogger("."), accelerator="cpu", enable_checkpointing=False)
    with pytest.warns(UserWarning, match=f"{callback.__name__} has no effect, because no logger of this run can show"):
        callback().on_train_start(trainer, pl.LightningModule())


def test_numbers_out_of_range_are_refused():
    with pytest.raises(MaxEntError, match="every_n_updates must be at least 1, but is 0"):
        GradientHistograms(every_n_updates=0)
    with pytest.raises(MaxEntError, match="videos must be at least 0, but is -1"):
        EpisodeTable(videos=-1)


def test_histograms_leave_out_what_is_not_finite():
    class Board(WandbLogger):
        def log_histograms(self, values, step):
            seen.append(({name: each.tolist() for name, each in values.items()}, step))

    seen: list = []
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[1.0, float("inf")]]), torch.tensor([float("nan")])
    trainer, callback = pl.Trainer(logger=Board(), accelerator="cpu", enable_checkpointing=False), GradientHistograms(2)
    module = pl.LightningModule()
    module.layer = layer
    callback.on_train_start(trainer, module)
    optimizer = torch.optim.SGD(layer.parameters())
    for _ in range(5):
        callback.on_before_optimizer_step(trainer, module, optimizer)
    assert seen == [({"gradients/layer.weight": [1.0]}, 0)] * 2  # at the second and the fourth step
