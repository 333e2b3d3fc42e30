"""Networks that critics, policies and values are made of, each of several ``member`` side by side."""

from collections.abc import Callable

from torch import nn

from lightning_maxent.networks.batch_renorm import BatchRenormMLP
from lightning_maxent.networks.flash import FlashNet
from lightning_maxent.networks.layers import AbstractConstraint, EnsembleLinear, Float32Output
from lightning_maxent.networks.mlp import MLP, DropoutMLP, TanhMLP
from lightning_maxent.networks.residual import BroNet, SimBa

NetworkBuilder = Callable[[int, int, int], nn.Module]
"""Builds from ``members``, ``in_dim`` and ``out_dim`` a module ``[member, batch, in_dim] -> [member, batch, out_dim]``."""

__all__ = [
    "MLP",
    "AbstractConstraint",
    "BatchRenormMLP",
    "BroNet",
    "DropoutMLP",
    "EnsembleLinear",
    "FlashNet",
    "Float32Output",
    "NetworkBuilder",
    "SimBa",
    "TanhMLP",
]
