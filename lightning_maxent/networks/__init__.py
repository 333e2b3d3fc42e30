"""Networks for critics, policies and values.  Each holds several independent networks, called members."""

from collections.abc import Callable

from torch import nn

from lightning_maxent.networks.batch_renorm import BatchRenormMLP
from lightning_maxent.networks.flash import FlashNet
from lightning_maxent.networks.layers import AbstractConstraint, EnsembleLinear, Float32Output
from lightning_maxent.networks.mlp import MLP, DropoutMLP, TanhMLP
from lightning_maxent.networks.residual import BroNet, SimBa

NetworkBuilder = Callable[[int, int, int], nn.Module]
"""Builds a module ``[member, batch, in_dim] -> [member, batch, out_dim]`` from ``members``, ``in_dim``, ``out_dim``."""

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
