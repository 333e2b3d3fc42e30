import sys
from pathlib import Path

import pytest

from lightning_maxent.comparison import command, runs


@pytest.fixture(autouse=True)
def _elsewhere(in_an_empty_folder):
    """Comparisons write into the current folder."""


@pytest.fixture
def fake_fit(monkeypatch):
    """Replaces runs by those of ``fake_fit.py``, which take milliseconds, and draws no pictures."""
    monkeypatch.setattr(runs, "PROGRAM", (sys.executable, "-S", str(Path(__file__).with_name("fake_fit.py"))))
    monkeypatch.setattr(runs, "POLL", 0.01)
    monkeypatch.setattr(command, "svg", lambda figure: "<svg/>")
