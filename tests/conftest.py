"""Settings of all tests: one thread, no network, and small registered worlds with known solutions."""

import gc
import os
import sys

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import probe_envs  # noqa: F401  registers the probe environments
import pytest
import pytorch_lightning as pl
import torch

from lightning_maxent.callbacks import curves

torch.set_num_threads(1)
gc.freeze()  # the objects of the imports stay
gc.set_threshold(50_000, 20, 50)  # a run of the command line leaves many small ones
DRAW_CURVES = curves.draw_curves
pytest.register_assert_rewrite("cli_helpers", "every_algorithm", "helpers")


def pytest_collection_finish() -> None:
    gc.freeze()  # the thousands of tests stay too: Gymnasium collects garbage after every video


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def runs_without_curves(monkeypatch):
    """An empty file stands for the picture of a run."""
    monkeypatch.setattr(curves, "draw_curves", lambda metrics, picture: picture.touch())


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch, runs_without_curves):
    """Runs write into an empty folder, because the command line is called there.

    An empty file stands for their picture, and shapes are not checked, but by ``in_full``.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(sys, "argv", ["lightning-maxent"])
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def in_full(in_an_empty_folder, monkeypatch):
    """Runs draw their pictures, and the shapes of all tensors are checked."""
    monkeypatch.setattr(curves, "draw_curves", DRAW_CURVES)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", False)


@pytest.fixture
def shapes_unchecked(monkeypatch):
    """Switches the checks of shapes off for tests with hundreds of updates, because another test checks these shapes."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def quiet_trainer(tmp_path):
    """Makes Trainers that write no files and print nothing."""

    def make(**kwargs) -> pl.Trainer:
        defaults = {
            "max_epochs": -1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "accelerator": "cpu",
            "default_root_dir": str(tmp_path),
        }
        return pl.Trainer(**(defaults | kwargs))

    return make
