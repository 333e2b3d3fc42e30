"""Builds the model and the data of a run from its settings, for the command line and for Python code."""

import argparse
from typing import NoReturn

import pytorch_lightning as pl
import yaml
from lightning_utilities.core.enums import StrEnum
from pytorch_lightning.cli import LightningArgumentParser

from lightning_maxent.algorithms.base import AbstractAlgorithm

# Lightning's Timer has such a default, which jsonargparse cannot write to config.yaml otherwise.
yaml.SafeDumper.add_multi_representer(StrEnum, lambda dumper, each: dumper.represent_str(each.value))


class OneSentenceParser(LightningArgumentParser):
    """Raises parse errors, where argparse would print all options and exit."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the parse error; parsers nest, and an outer one adds to the message of an inner one."""
        raise argparse.ArgumentError(None, message) from ex


def link_data_to_model(parser: LightningArgumentParser) -> None:
    """Take the size of observations and the action space of the model from the data."""
    parser.link_arguments("data.obs_dim", "model.init_args.obs_dim", apply_on="instantiate")
    parser.link_arguments("data.actions", "model.init_args.actions", apply_on="instantiate")


def build_model_and_data(config: dict) -> tuple[AbstractAlgorithm, pl.LightningDataModule]:
    """Build only the model and the data module of a run.

    Args:
        config: the content of ``config.yaml``, of which only ``model`` and ``data`` are used.

    Raises:
        KeyError: if one of the two is missing.
        argparse.ArgumentError: if the settings of one of them cannot be parsed.
        MaxEntError: if a part refuses its arguments.
    """
    parser = OneSentenceParser(exit_on_error=False)
    parser.add_lightning_class_args(AbstractAlgorithm, "model", subclass_mode=True)
    parser.add_lightning_class_args(pl.LightningDataModule, "data", subclass_mode=True)
    link_data_to_model(parser)
    parsed = parser.parse_object({name: config[name] for name in ("model", "data")})
    built = parser.instantiate_classes(parsed)
    return built["model"], built["data"]
