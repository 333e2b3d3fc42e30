import os

import pytest
import wandb
from wandb_files import history, run

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
