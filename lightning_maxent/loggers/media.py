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
    """Log a histogram of the finite numbers of each tensor, if there are any, at these environment steps."""
    finite = {name: each[each.isfinite()] for name, each in values.items() if each.isfinite().any()}
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_histograms(finite, step)
        elif isinstance(logger, TensorBoardLogger):
            for name, each in finite.items():
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
    from tensorboard.compat.proto import summary_pb2

    protocol: Any = summary_pb2  # its names are generated
    reader: Any = imageio.get_reader(path)
    with reader:
        fps, pictures = reader.get_meta_data()["fps"], list(reader.iter_data())[::2]
    coarse = -(-pictures[0].shape[1] // 300)
    pictures = [each[::coarse, ::coarse] for each in pictures]
    height, width, _ = pictures[0].shape
    gif = imageio.mimwrite("<bytes>", pictures, format="gif", duration=2_000 / fps, loop=0)
    image = protocol.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    summary = protocol.Summary(value=[protocol.Summary.Value(tag=name, image=image)])
    writer._get_file_writer().add_summary(summary, step)
