import io
import sys
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl

from lightning_maxent import progress as module
from lightning_maxent.callbacks.progress import EnvStepProgress
from lightning_maxent.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test advances."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def shown(monkeypatch, clock, stream, seconds: int, **options) -> list[str]:
    """What is written, second by second, while ten steps pass in each."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    with progress(10 * seconds, "env steps", desc="SAC", **options) as bar:
        for second in range(seconds):
            clock[0] += 1
            bar.set_postfix_str(f"eval/return {second}", refresh=False)
            bar.update(10)
            if second == 40:
                bar.write("a row of a table")
    return stream.getvalue().split("\n")


def test_without_a_terminal_progress_prints_a_line_every_half_minute_and_at_the_end(monkeypatch, clock):
    lines = shown(monkeypatch, clock, io.StringIO(), 70)
    assert lines == [
        "SAC: 300/700 env steps, 00:30 passed, 00:40 left, 10.0 env steps/s, eval/return 29",
        "a row of a table",
        "SAC: 600/700 env steps, 01:00 passed, 00:10 left, 10.0 env steps/s, eval/return 59",
        "SAC: 700/700 env steps, 01:10 passed, 00:00 left, 10.0 env steps/s, eval/return 69",
        "",
    ]


def test_progress_with_leave_false_prints_no_last_line(monkeypatch, clock):
    assert shown(monkeypatch, clock, io.StringIO(), 20, leave=False) == [""]


def test_on_a_terminal_the_progress_bar_is_redrawn_in_place(monkeypatch, clock):
    text = "\n".join(shown(monkeypatch, clock, Terminal(), 20))
    assert text.count("\r") > 10
    assert "200/200" in text
    assert "eval/return 19" in text


def test_progress_without_a_known_total_shows_none(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress(None, "env steps", desc="SAC") as bar:
        clock[0] += module.SECONDS
        bar.update(60)
    assert sys.stderr.getvalue() == "SAC: 60 env steps, 00:30 passed, 2.0 env steps/s\n"


def test_progress_shows_the_reached_step_when_a_run_raises(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    callback, trainer, model = (
        EnvStepProgress(),
        Mock(pl.Trainer, global_step=0, max_steps=100),
        Mock(pl.LightningModule),
    )
    callback.on_train_start(trainer, model)
    trainer.global_step = 49
    callback.on_exception(trainer, model, KeyboardInterrupt())
    callback.teardown(trainer, model, "fit")
    (said,) = sys.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
    assert ": 49/100 env steps, " in said
