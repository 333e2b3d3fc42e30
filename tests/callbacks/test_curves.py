from unittest.mock import Mock

import pytest
import pytorch_lightning as pl

from lightning_maxent.callbacks.curves import Curves, draw_curves
from lightning_maxent.loggers.tidy_csv import TidyCSVLogger


def test_curves_are_drawn_for_any_set_of_columns(tmp_path):
    logger = TidyCSVLogger(tmp_path)
    logger.log_metrics({"loss/critic": 1.0}, step=10)
    logger.save()
    draw_curves(logger.path, tmp_path / "one_row.png")
    logger.log_metrics({"eval/return_mean": 1.0, "eval/return_std": 0.5}, step=20)
    logger.log_metrics({"eval/return_mean": 2.0, "eval/return_std": 0.5, "entropy": -1.0}, step=30)
    logger.save()
    draw_curves(logger.path, tmp_path / "curves.png")
    for name in ("one_row.png", "curves.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_an_error_while_drawing_curves_does_not_stop_later_callbacks(tmp_path):
    logger = TidyCSVLogger(tmp_path)
    logger.log_metrics({"loss/critic": 1.0}, step=10)
    (tmp_path / "curves.png").mkdir()
    with pytest.warns(UserWarning, match=r"curves.png was not drawn: .*Is a directory"):
        Curves().on_exception(
            Mock(spec=pl.Trainer, loggers=[logger]), Mock(spec=pl.LightningModule), KeyboardInterrupt()
        )
    assert logger.path.exists()
