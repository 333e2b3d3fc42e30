import csv
import errno
import io
import os
from pathlib import Path

import pytest

from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.tidy_csv import TidyCSVLogger
from lightning_maxent.metrics.metrics_csv import read_metrics


def rows(logger: TidyCSVLogger) -> list[dict[str, str]]:
    with logger.path.open() as file:
        return list(csv.DictReader(file))


def test_metrics_of_one_step_are_one_row_with_empty_cells_for_missing_ones(tmp_path):
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


def test_a_resumed_run_drops_the_rows_after_its_checkpoint_and_appends(tmp_path):
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


@pytest.mark.parametrize(
    "torn",
    [
        "15",
        "1500,3.0,4",
        "1500,3.0,4.0",
        "\0\0\0\0",
        "\0\0\0\r\n",
        "1050,3.0,4.0,5.0\r\n",
        "1050,3.0\r\n",
        "x,3.0,4.0\r\n",
    ],
)
def test_an_incomplete_row_is_dropped_on_resume(tmp_path, torn):
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


def test_a_metrics_file_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    logger = TidyCSVLogger(tmp_path)
    logger.path.with_suffix(".csv.tmp").mkdir()
    logger.log_metrics({"a": 1.0}, step=10)
    with pytest.raises(MaxEntError, match=r"metrics.csv cannot be written \(Is a directory\): make room for it"):
        logger.save()


class FullDisk:
    """A disk on which the operation of this number fails once, a write after half of it."""

    def __init__(self, fails: int, monkeypatch):
        self.fails, self.count = fails, 0
        opened, fsync, replace, mkdir = io.open, os.fsync, os.replace, Path.mkdir
        monkeypatch.setattr(Path, "open", lambda path, *args, **kwargs: self.opened(opened, path, *args, **kwargs))
        monkeypatch.setattr(Path, "mkdir", lambda *args, **kwargs: self.then(mkdir, *args, **kwargs))
        monkeypatch.setattr(os, "fsync", lambda *args: self.then(fsync, *args))
        monkeypatch.setattr(os, "replace", lambda *args: self.then(replace, *args))

    def then(self, do, *args, **kwargs):
        self.count += 1
        if self.count == self.fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        return do(*args, **kwargs)

    def opened(self, do, path, *args, **kwargs):
        if "r" in (args[0] if args else kwargs.get("mode", "r")):
            return do(path, *args, **kwargs)
        file = self.then(do, path, *args, **kwargs)
        write, close = file.write, file.close

        def half_written(content):
            if self.count + 1 == self.fails:
                write(content[: len(content) // 2])
            return self.then(write, content)

        def closed():
            close()
            self.then(lambda: None)

        return Handle(file, half_written, closed)


class Handle:
    """A file whose writes and closing are those given."""

    def __init__(self, file, write, close):
        self.write, self._close = write, close
        self.flush, self.fileno = file.flush, file.fileno

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._close()


@pytest.mark.parametrize("fails", range(1, 61))
def test_logging_continues_in_a_whole_file_after_any_failed_operation(fails, tmp_path, monkeypatch):
    def log(logger: TidyCSVLogger, step: int) -> None:
        metrics = {"a": float(step)} | ({"b": 2.0 * step} if step > 20 else {})  # a column that appears late
        logger.log_metrics(metrics, step=step)
        logger.save()

    logger, lost = TidyCSVLogger(tmp_path / "run"), []
    with monkeypatch.context() as patch:
        disk = FullDisk(fails, patch)
        for step in range(10, 60, 10):
            try:
                log(logger, step)
            except MaxEntError as error:
                lost.append(str(error))
    assert len(lost) == (disk.count >= fails)
    assert all("metrics.csv cannot be written (No space left on device): make room" in each for each in lost)
    resumed = TidyCSVLogger(tmp_path / "run")
    resumed.drop_after(50)
    log(resumed, 60)
    columns, found = read_metrics(resumed.path)
    assert columns == ["env_steps", "a", "b"]
    steps = [int(row["env_steps"]) for row in found]
    assert steps == sorted(set(steps))
    assert {10, 20, 30, 40, 50, 60} - set(steps) <= {50}  # what was the last to fail was not tried again
    for row in found:
        assert float(row["a"]) == int(row["env_steps"])
        assert row["b"] == (str(2.0 * int(row["env_steps"])) if int(row["env_steps"]) > 20 else "")
    assert rows(resumed) == found  # nothing torn is left in the file
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["metrics.csv"]


def test_a_run_resumes_with_a_damaged_metrics_header(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"\0\0\0\0\r\n10,1.0\r\n")
    logger = TidyCSVLogger(tmp_path)
    logger.drop_after(20)
    logger.log_metrics({"a": 3.0}, step=30)
    logger.save()
    assert rows(logger) == [{"env_steps": "30", "a": "3.0"}]
