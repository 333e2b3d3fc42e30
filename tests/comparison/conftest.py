from pathlib import Path

import pytest

from lightning_maxent.backends import run_process
from lightning_maxent.backends.local import LocalBackend
from lightning_maxent.comparison import command


@pytest.fixture(autouse=True)
def _elsewhere(in_an_empty_folder):
    """Comparisons write into the current folder."""


@pytest.fixture
def fake_fit(monkeypatch):
    """Replaces runs by those of ``fake_fit.py``, which take milliseconds, and draws no pictures."""
    monkeypatch.setattr(run_process, "PROGRAM", ("-S", str(Path(__file__).with_name("fake_fit.py"))))
    monkeypatch.setattr(LocalBackend, "seconds_between_polls", 0.01)
    monkeypatch.setattr(command, "svg", lambda figure: "<svg/>")
