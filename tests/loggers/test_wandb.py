import pytest
from wandb_files import history

from lightning_maxent.loggers.wandb import WandbLogger


@pytest.fixture
def offline(monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/nonexistent")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.mark.usefixtures("offline")
def test_without_network_and_account_rows_are_written_on_the_axis_of_environment_steps(tmp_path):
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
def test_a_folder_keeps_its_wandb_run_when_the_run_goes_on(tmp_path):
    ids = []
    for _ in range(2):
        logger = WandbLogger()
        logger.place(tmp_path)
        ids.append(logger.experiment.id)
        logger.finalize("success")
    assert ids[0] == ids[1]


@pytest.mark.usefixtures("offline")
def test_online_is_chosen_only_where_a_key_is_found_and_wandb_mode_wins(monkeypatch, tmp_path):
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
