"""Builds the model and the data of a run from its settings, for the command line and for Python code."""

import argparse
import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NoReturn, get_args

import pytorch_lightning as pl
import yaml
from lightning_utilities.core.enums import StrEnum
from pytorch_lightning.cli import LightningArgumentParser

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.errors import MaxEntError

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


def check_nulls(part: str, class_path: str, arguments: Mapping[str, Any]) -> None:
    """Check that no option of a part is null unless its type allows null; jsonargparse accepts null for all of them.

    Args:
        part: the name of the part in the configuration, ``model`` or ``data``.
        class_path: the path of its class.
        arguments: its options.

    Raises:
        MaxEntError: for the first option that must not be null.
    """
    module, _, class_name = class_path.rpartition(".")
    given = getattr(import_module(module), class_name)
    parameters: dict[str, inspect.Parameter] = {}
    for each in reversed(inspect.getmro(given)):
        if "__init__" in vars(each):
            parameters |= inspect.signature(vars(each)["__init__"]).parameters
    for option, value in arguments.items():
        parameter = parameters.get(option)
        if value is not None or parameter is None or parameter.default in (None, inspect.Parameter.empty):
            continue
        if parameter.annotation not in (Any, object) and type(None) not in get_args(parameter.annotation):
            default = parameter.default
            name = (
                default
                if isinstance(default, (str, int, float))
                else getattr(default, "__name__", type(default).__name__)
            )
            raise MaxEntError(
                f"The option --{part}.{option} cannot be null: give another value, or leave it out to have the default, "
                f"{name}."
            )


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
