import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import wandb
from pytorch_lightning.callbacks import ModelCheckpoint
from wandb.errors import CommError
from wandb_files import config, history, run, summary
from wandb_server import KEY, serving

from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers import wandb as ours
from lightning_maxent.loggers.wandb import WandbLogger


@pytest.fixture
def offline(monkeypatch):
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", "/nonexistent")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.teardown()  # it reads its environment once in a process


@pytest.mark.usefixtures("offline")
def test_offline_wandb_writes_rows_over_environment_steps(tmp_path):
    for number in (1, 2):  # two runs in one process must not flow into each other
        logger = WandbLogger()
        logger.place(tmp_path / f"run{number}")
        logger.log_metrics({"eval/return_mean": -10.0 * number, "entropy": 0.5}, step=1000)
        logger.log_metrics({"eval/return_mean": -5.0 * number}, step=2000)
        logger.finalize("success")
    for number in (1, 2):
        rows = history(tmp_path / f"run{number}")
        assert [(row["env_steps"], row["eval/return_mean"]) for row in rows] == [
            (1000, -10.0 * number),
            (2000, -5.0 * number),
        ]
        assert rows[0]["entropy"] == 0.5


@pytest.mark.usefixtures("offline")
def test_a_resumed_run_continues_its_wandb_run(tmp_path):
    ids = []
    for _ in range(2):
        logger = WandbLogger()
        logger.place(tmp_path)
        ids.append(logger.experiment.id)
        logger.finalize("success")
    assert ids[0] == ids[1]


@pytest.mark.usefixtures("offline")
def test_wandb_is_online_only_with_a_key_and_wandb_mode_overrides_this(monkeypatch, tmp_path):
    assert WandbLogger()._wandb_init["mode"] == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert WandbLogger()._wandb_init["mode"] == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WandbLogger()._wandb_init["mode"] == "offline"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.wandb.ai login user password key\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert WandbLogger()._wandb_init["mode"] == "online"


ENVIRONMENT = {
    "WANDB_PROJECT": "their-project",
    "WANDB_ENTITY": "their-team",
    "WANDB_NAME": "their-name",
    "WANDB_RUN_GROUP": "their-group",
    "WANDB_TAGS": "one,two",
    "WANDB_RUN_ID": "theirid",
}


def who(folder):
    record = run(folder)
    return record.project, record.entity, record.display_name, record.run_group, sorted(record.tags), record.run_id


@pytest.mark.usefixtures("offline")
def test_environment_variables_of_wandb_win_over_the_defaults_and_arguments_win_over_both(monkeypatch, tmp_path):
    (tmp_path / "again/wandb").mkdir(parents=True)
    (tmp_path / "again/wandb/run_id.txt").write_text("ourid")

    def logged(folder, **arguments):
        logger = WandbLogger(**arguments)
        logger.place(folder)
        logger.log_metrics({"entropy": 0.5}, step=1000)
        logger.finalize("success")
        return logger

    first = logged(tmp_path / "value_sac/Pendulum-v1/a")
    project, entity, name, group, tags, run_id = who(tmp_path / "value_sac/Pendulum-v1/a")
    assert (project, entity, name, group, tags) == ("lightning-maxent", "", "value_sac/Pendulum-v1/a", "", [])
    assert (tmp_path / "value_sac/Pendulum-v1/a/wandb/run_id.txt").read_text() == run_id
    assert first.name == "lightning-maxent"  # as Lightning calls the project
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    wandb.teardown()  # it reads its environment once in a process
    expected = ("their-project", "their-team", "their-name", "their-group", ["one", "two"], "theirid")
    logged(tmp_path / "again")
    assert who(tmp_path / "again") == expected
    arguments = {"project": "mine", "entity": "me", "name": "my-name", "group": "my-group", "tags": ["three"]}
    logged(tmp_path / "given", **arguments)
    assert who(tmp_path / "given") == ("mine", "me", "my-name", "my-group", ["three"], "theirid")


@pytest.mark.usefixtures("offline")
def test_wandb_dir_sets_the_folder_of_wandb_files(monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    wandb.teardown()
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    logger = WandbLogger()
    logger.place(tmp_path / "run")
    logger.log_metrics({"entropy": 0.5}, step=1000)
    logger.finalize("success")
    assert history(tmp_path / "elsewhere")[0]["entropy"] == 0.5
    assert [path.name for path in (tmp_path / "run/wandb").iterdir()] == ["run_id.txt"]


@pytest.mark.usefixtures("offline")
def test_wandb_gives_no_warning_about_its_defaults(monkeypatch, tmp_path, capfd):
    monkeypatch.delenv("WANDB_SILENT")
    monkeypatch.setattr("wandb.errors.term._printed_messages", set())  # it warns once in a process
    wandb.teardown()
    logger = WandbLogger()
    logger.place(tmp_path)
    logger.log_metrics({"entropy": 0.5}, step=1000)
    logger.finalize("success")
    shown = capfd.readouterr()
    assert "WARNING" not in shown.out + shown.err
    assert "anonymous" not in logger._wandb_init  # W&B has deprecated the setting, and warns of it in some versions


def placed(folder: Path, **arguments) -> WandbLogger:
    logger = WandbLogger(**arguments)
    logger.place(folder)
    return logger


# ---- the summary, and the configuration -----------------------------------------------------------------------------


@pytest.mark.usefixtures("offline")
def test_the_summary_has_the_last_value_of_each_metric_and_the_best_evaluation_with_its_step(tmp_path):
    logger = placed(tmp_path)
    for step, value in [(10, -3.0), (20, 7.0), (30, 7.0), (40, 5.0)]:
        logger.log_metrics({"eval/return_mean": value}, step=step)
    logger.finalize("success")
    found = summary(tmp_path)
    assert (found["eval/return_mean"], found["env_steps"]) == (5, 40)
    assert (found["best/eval/return_mean"], found["best/env_steps"]) == (7, 20)


@pytest.mark.usefixtures("offline")
def test_a_resumed_run_whose_evaluations_are_worse_keeps_the_best_of_the_rows_before_in_its_summary(tmp_path):
    # as W&B replaces the summary of a run by that of its last offline segment
    (tmp_path / "metrics.csv").write_text("env_steps,entropy,eval/return_mean\n10,1.0,\n20,1.0,9.5\n30,1.0,2.0\n")
    logger = placed(tmp_path)
    logger.log_metrics({"eval/return_mean": 4.0}, step=40)
    logger.finalize("success")
    assert (summary(tmp_path)["best/eval/return_mean"], summary(tmp_path)["best/env_steps"]) == (9.5, 20)


@pytest.mark.usefixtures("offline")
def test_rows_without_environment_steps_get_the_last_ones_and_histograms_tables_and_pictures_have_theirs(tmp_path):
    logger = placed(tmp_path)
    logger.log_metrics({"a": 1.0}, step=5)
    logger.experiment.log({"note": 1.0})  # as users write it
    logger.log_histograms({"histograms/Q": torch.tensor([0.0, 1.0, 1.0, 1.0])}, step=10)
    logger.log_rows("eval/episodes", ["seed", "return"], [[3, -1.5]], step=20)
    logger.log_image("picture", [np.zeros((2, 2, 3), np.uint8)], step=30)
    logger.finalize("success")
    _, note, histogram, table, picture = history(tmp_path)
    assert (note["note"], note["env_steps"]) == (1, 5)
    assert histogram["env_steps"] == 10
    assert histogram["histograms/Q/_type"] == "histogram"
    assert (histogram["histograms/Q/values"][0], histogram["histograms/Q/values"][-1]) == (1, 3)
    assert table["env_steps"] == 20
    assert (table["eval/episodes/nrows"], table["eval/episodes/ncols"]) == (1, 2)
    assert (picture["env_steps"], picture["picture/_type"]) == (30, "images/separated")


# ---- failures -------------------------------------------------------------------------------------------------------


def kill_the_service() -> None:
    process = wandb.setup()._connection._proc._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.usefixtures("offline")
def test_a_run_whose_wandb_process_is_killed_is_logged_on_in_a_second_segment(tmp_path):
    logger = placed(tmp_path)
    logger.log_hyperparams({"model": {"discount": 0.9}})
    logger.log_metrics({"a": 1.0}, step=10)
    first = logger.experiment
    kill_the_service()
    with pytest.warns(UserWarning, match=r"W&B has failed \(its process has ended\); training goes on"):
        logger.experiment.log({"b": 2.0})  # as users write it
    logger.log_metrics({"a": 3.0}, step=20)
    assert logger.experiment.id == first.id
    logger.finalize("success")
    _, second = segments(tmp_path)
    assert [row.get("b") or row["a"] for row in history(second)] == [2, 3]
    assert config(second)["model"] == {"discount": 0.9}


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*"))


@pytest.mark.usefixtures("offline")
def test_after_a_second_failure_within_minutes_calls_are_ignored_until_it_is_time_to_try_again(tmp_path, monkeypatch):
    logger = placed(tmp_path)
    logger.log_metrics({"a": 1.0}, step=10)
    for _ in range(2):
        kill_the_service()
        with pytest.warns(UserWarning, match="W&B has failed"):
            logger.log_metrics({"a": 2.0}, step=20)
    assert len(segments(tmp_path)) == 2
    run = logger.experiment
    run.log({"picture": wandb.Image(np.zeros((2, 2), np.uint8))})
    run.summary["best"] = 1
    run.config.update({"width": 2})
    logger.log_metrics({"a": 3.0}, step=30)
    assert len(segments(tmp_path)) == 2
    monkeypatch.setattr(logger, "_retry_at", time.monotonic())
    logger.log_metrics({"a": 4.0}, step=40)
    logger.finalize("success")
    assert [row["a"] for row in history(segments(tmp_path)[-1])] == [4]


@pytest.mark.usefixtures("offline")
def test_an_error_while_logging_is_one_warning_and_the_row_is_logged_after_all(tmp_path, monkeypatch):
    logger = placed(tmp_path)
    monkeypatch.setattr(logger.experiment, "log", Mock(side_effect=ConnectionResetError("Connection lost")))
    with pytest.warns(UserWarning, match=r"W&B has failed \(Connection lost\)"):
        logger.log_metrics({"a": 1.0}, step=10)
    logger.finalize("success")
    assert [row["a"] for row in history(segments(tmp_path)[-1])] == [1]


@pytest.mark.usefixtures("offline")
def test_a_run_that_cannot_start_online_is_logged_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    init = wandb.init

    def unreachable(**arguments):
        if arguments["mode"] == "online":
            raise CommError("no route to W&B")
        return init(**arguments)

    monkeypatch.setattr(wandb, "init", unreachable)
    logger = placed(tmp_path)
    with pytest.warns(
        UserWarning, match=r"cannot start online \(no route to W&B\), so this run is logged offline; upload"
    ):
        logger.log_metrics({"a": 1.0}, step=10)
    logger.finalize("success")
    assert [row["a"] for row in history(tmp_path)] == [1]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"project": "a/b"}, "Invalid project name 'a/b'"), ({"tags": ["x" * 100]}, "Tags must be between 1 and 64")],
)
def test_arguments_that_wandb_does_not_accept_end_in_one_sentence(tmp_path, arguments, sentence):
    with pytest.raises(MaxEntError, match=r"^W&B does not accept the run: ") as error:
        placed(tmp_path, **arguments).log_metrics({"a": 1.0}, step=10)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert "type=" not in str(error.value)


@pytest.mark.usefixtures("offline")
def test_a_server_that_goes_away_does_not_slow_logging_and_all_rows_are_uploaded_later(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "1")
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        logger = placed(tmp_path)
        logger.log_metrics({"a": 0.0}, step=0)
        run = logger.experiment.id
    started = time.monotonic()
    for step in range(1, 100):
        logger.log_metrics({"a": float(step)}, step=step)
    assert time.monotonic() - started < 1
    logger.finalize("success")
    assert time.monotonic() - started < 10
    with serving() as server:
        sync(server, tmp_path, "--include-online", *tmp_path.glob("wandb/run-*"))
        assert [row["a"] for row in server.rows[run]] == list(range(100))


def sync(server, folder: Path, *arguments) -> None:
    """``wandb sync`` to a server, in a folder that gets its own logs."""
    command = [sys.executable, "-m", "wandb", "sync", *map(str, arguments)]
    subprocess.run(
        command, check=True, capture_output=True, cwd=folder, env=os.environ | {"WANDB_BASE_URL": server.url}
    )


@pytest.mark.usefixtures("offline")
def test_the_offline_segments_of_a_resumed_run_are_uploaded_as_one_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for steps in [(10, 20, 30), (40, 50)]:
        logger = placed(tmp_path, mode="offline")
        logger.log_hyperparams({"trainer": {"max_steps": steps[-1]}})
        for step in steps:
            logger.log_metrics({"eval/return_mean": -float(step)}, step=step)
        (tmp_path / "metrics.csv").write_text("env_steps,eval/return_mean\n10,-10.0\n20,-20.0\n30,-30.0\n")
        logger.finalize("success")
        time.sleep(1)  # the name of a segment has the second
    with serving() as server:
        sync(server, tmp_path, *segments(tmp_path))
    (rows,) = server.rows.values()
    assert [row["env_steps"] for row in rows] == [10, 20, 30, 40, 50]
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 4]  # else W&B drops rows
    (values,) = server.summary.values()
    assert (values["eval/return_mean"], values["best/eval/return_mean"], values["best/env_steps"]) == (-50, -10, 10)
    (settings,) = server.config.values()
    assert settings["trainer"]["value"] == {"max_steps": 50}


# ---- checkpoints ----------------------------------------------------------------------------------------------------


class Run:
    """A W&B run that keeps the artifacts."""

    id = "abc"

    def __init__(self):
        self.uploaded = []

    def log_artifact(self, artifact, aliases):
        self.uploaded.append((artifact.name, artifact.type, aliases, sorted(artifact.manifest.entries)))

    def finish(self, exit_code):
        """Does nothing."""


def uploaded(folder: Path, monkeypatch, **arguments) -> list:
    """What a run uploads that has saved its best checkpoint once and its last one twice."""
    checkpoints = folder / "checkpoints"
    (checkpoints / "last.ckpt.replay" / "id").mkdir(parents=True)
    for name in ("best.ckpt", "last.ckpt", "last.ckpt.replay/id/obs.pt"):
        (checkpoints / name).write_text(name)
    (folder / "config.yaml").write_text("seed_everything: 0")
    logger, run = placed(folder, mode="online", **arguments), Run()
    monkeypatch.setattr(logger, "_experiment", run)
    monkeypatch.setattr(ours, "_service_has_ended", lambda: False)
    best, last = ModelCheckpoint(monitor="eval/return_mean"), ModelCheckpoint()
    best.best_model_path, best.best_model_score = str(checkpoints / "best.ckpt"), torch.tensor(1.0)
    last.last_model_path = str(checkpoints / "last.ckpt")
    for callback in (best, last, last):
        logger.after_save_checkpoint(callback)
    before = len(run.uploaded)
    logger.finalize("failed")
    return [before, *run.uploaded]


BEST = ("model-abc", "model", ["best"], ["checkpoints/best.ckpt", "config.yaml"])
LAST = ("model-abc", "model", ["last"], ["checkpoints/last.ckpt", "config.yaml"])
WITH_BUFFER = (*LAST[:3], ["checkpoints/last.ckpt", "checkpoints/last.ckpt.replay/id/obs.pt", "config.yaml"])


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [0, BEST, LAST]),
        ({"log_model": "all"}, [2, BEST, LAST]),
        ({"log_model": False}, [0]),
        ({"log_replay": True}, [0, BEST, WITH_BUFFER]),
    ],
)
def test_online_the_best_and_the_last_checkpoint_are_uploaded_once_with_their_configuration(
    tmp_path, monkeypatch, arguments, expected
):
    assert uploaded(tmp_path, monkeypatch, **arguments) == expected


@pytest.mark.usefixtures("offline")
def test_offline_no_checkpoint_is_uploaded(tmp_path):
    logger = placed(tmp_path, mode="offline")
    logger.after_save_checkpoint(ModelCheckpoint())
    assert logger._checkpoint_callbacks == {}
