from pathlib import Path

import pytest

from lightning_maxent.backends import run_process
from lightning_maxent.backends.local import LocalBackend
from lightning_maxent.sweep import report

FAKE = Path(__file__).parents[1] / "comparison" / "fake_fit.py"


@pytest.fixture(autouse=True)
def _elsewhere(in_an_empty_folder):
    """Sweeps write into the current folder."""


@pytest.fixture
def fake_fit(monkeypatch):
    """Replaces runs by those of ``fake_fit.py``, which take milliseconds, and draws no pictures."""
    monkeypatch.setattr(run_process, "PROGRAM", ("-S", str(FAKE)))
    monkeypatch.setattr(LocalBackend, "seconds_between_polls", 0.01)
    monkeypatch.setattr(report, "draw", lambda *args: {})
