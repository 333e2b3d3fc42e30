"""Histograms, tables and videos, in the loggers that can show them: W&B and TensorBoard."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightning_maxent.loggers.wandb import WandbLogger


def warn_unless_shown(loggers: Iterable[Logger], what: str) -> None:
    """Warn if no logger of a run can show histograms and tables."""
    if not any(isinstance(each, WandbLogger | TensorBoardLogger) for each in loggers):
        rank_zero_warn(
            f"{what} has no effect, because no logger of this run can show it: choose --trainer.logger="
            f"lightning_maxent.WandbLogger, or the configuration logger/tensorboard."
        )


def log_histograms(loggers: Iterable[Logger], values: Mapping[str, Tensor], step: int) -> None:
    """Log a histogram of each tensor at these environment steps."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_histograms(values, step)
        elif isinstance(logger, TensorBoardLogger):
            for name, each in values.items():
                logger.experiment.add_histogram(name, each, step)


def log_table(
    loggers: Iterable[Logger], name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
) -> None:
    """Log a table at these environment steps; paths of videos are shown as videos in W&B."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_rows(name, columns, rows, step)
        elif isinstance(logger, TensorBoardLogger):
            lines = [columns, ["---"] * len(columns), *rows]
            text = "\n".join(
                "| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in lines
            )
            logger.experiment.add_text(name, text, step)


def log_video(loggers: Iterable[Logger], name: str, path: Path, step: int) -> None:
    """Log a video at these environment steps."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_video(name, [str(path)], step)
        elif isinstance(logger, TensorBoardLogger):
            _add_gif(logger.experiment, name, path, step)


def _add_gif(writer: Any, name: str, path: Path, step: int) -> None:
    """Give TensorBoard a video as a moving image, with half the pictures of each second and at most 300 pixels wide."""
    import imageio
    from tensorboard.compat.proto.summary_pb2 import Summary

    with imageio.get_reader(path) as reader:
        fps, pictures = reader.get_meta_data()["fps"], [each for each in reader][::2]
    coarse = -(-pictures[0].shape[1] // 300)
    pictures = [each[::coarse, ::coarse] for each in pictures]
    height, width, _ = pictures[0].shape
    gif = imageio.mimwrite("<bytes>", pictures, format="gif", duration=2_000 / fps, loop=0)
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
