import csv

import pytest

from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.tidy_csv import TidyCSVLogger


def rows(logger: TidyCSVLogger) -> list[dict[str, str]]:
    with logger.path.open() as file:
        return list(csv.DictReader(file))


def test_what_is_measured_at_one_step_is_one_row_and_what_was_not_measured_is_empty(tmp_path):
    logger = TidyCSVLogger(tmp_path)
    logger.log_metrics({"loss/critic": 1.0}, step=10)
    logger.log_metrics({"eval/return_mean": -3.0, "epoch": 0}, step=10)
    logger.log_metrics({"loss/critic": 2.0}, step=20)
    logger.finalize("success")
    assert rows(logger) == [
        {"env_steps": "10", "loss/critic": "1.0", "eval/return_mean": "-3.0"},
        {"env_steps": "20", "loss/critic": "2.0", "eval/return_mean": ""},
    ]


def test_a_metric_that_appears_late_gets_a_column_and_no_row_is_lost(tmp_path):
    logger = TidyCSVLogger(tmp_path)
    for step in range(5):
        logger.log_metrics({"a": float(step)}, step=step)
    logger.log_metrics({"b": 1.0}, step=5)
    logger.save()
    assert [row["a"] for row in rows(logger)] == ["0.0", "1.0", "2.0", "3.0", "4.0", ""]
    assert [row["b"] for row in rows(logger)] == [""] * 5 + ["1.0"]


def test_a_resumed_run_appends_and_forgets_what_came_after_its_checkpoint(tmp_path):
    first = TidyCSVLogger(tmp_path)
    for step in (10, 20, 30):
        first.log_metrics({"a": float(step)}, step=step)
    first.finalize("failed")
    second = TidyCSVLogger(tmp_path)
    second.drop_after(20)
    second.log_metrics({"b": 2.0}, step=20)  # an evaluation that was cut short
    second.log_metrics({"a": 31.0}, step=30)
    second.finalize("success")
    assert [(row["env_steps"], row["a"]) for row in rows(second)] == [("10", "10.0"), ("20", "20.0"), ("30", "31.0")]
    assert [row["b"] for row in rows(second)] == ["", "2.0", ""]


@pytest.mark.parametrize("torn", ["15", "1500,3.0,4", "1500,3.0,4.0", "\0\0\0\0", "\0\0\0\r\n"])
def test_a_row_torn_by_a_full_disk_or_a_power_cut_is_left_out_where_a_run_goes_on(tmp_path, torn):
    first = TidyCSVLogger(tmp_path)
    for step in (500, 1000):
        first.log_metrics({"a": float(step), "b": 0.0}, step=step)
    first.save()
    with first.path.open("a") as file:
        file.write(torn)
    second = TidyCSVLogger(tmp_path)
    second.drop_after(1100)
    second.log_metrics({"a": 1200.0}, step=1200)
    second.save()
    assert [row["env_steps"] for row in rows(second)] == ["500", "1000", "1200"]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    logger = TidyCSVLogger(tmp_path)
    logger.path.with_suffix(".csv.tmp").mkdir()
    logger.log_metrics({"a": 1.0}, step=10)
    with pytest.raises(MaxEntError, match=r"metrics.csv cannot be written \(Is a directory\): make room for it"):
        logger.save()
