"""How the settings of a run become objects: the part of the command line that Python code needs too."""

import argparse
from typing import NoReturn

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser

from lightning_maxent.algorithms.base import AbstractAlgorithm


class OneSentenceParser(LightningArgumentParser):
    """Leaves it to the caller to say what was wrong, where argparse prints every option there is and exits."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the parse error; parsers nest, and an outer one adds to the message of an inner one."""
        raise argparse.ArgumentError(None, message) from ex


def link_data_to_model(parser: LightningArgumentParser) -> None:
    """The environment says how large observations are and what the actions are."""
    parser.link_arguments("data.obs_dim", "model.init_args.obs_dim", apply_on="instantiate")
    parser.link_arguments("data.actions", "model.init_args.actions", apply_on="instantiate")


def build_model_and_data(config: dict) -> tuple[AbstractAlgorithm, pl.LightningDataModule]:
    """Build the model and the data module of a run, and nothing else of it.

    Args:
        config: what ``config.yaml`` holds; only ``model`` and ``data`` are looked at.

    Raises:
        KeyError: if one of the two is missing.
        argparse.ArgumentError: if it does not say how to build them.
        MaxEntError: if a part refuses what it is given.
    """
    parser = OneSentenceParser(exit_on_error=False)
    parser.add_lightning_class_args(AbstractAlgorithm, "model", subclass_mode=True)
    parser.add_lightning_class_args(pl.LightningDataModule, "data", subclass_mode=True)
    link_data_to_model(parser)
    parsed = parser.parse_object({name: config[name] for name in ("model", "data")})
    built = parser.instantiate_classes(parsed)
    return built["model"], built["data"]
