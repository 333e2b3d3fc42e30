"""Helpers of several test modules: random transitions, and access to losses, gradients and weights."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_maxent import AbstractAlgorithm, BoxActions, FiniteActions, Transition
from lightning_maxent.run_data import BufferRows


def made_up(obs_dim: int, actions: BoxActions | FiniteActions, size: int, seed: int = 1) -> Transition:
    """Random transitions, the same for a seed; about three of ten end an episode."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(actions, BoxActions):
        action = torch.rand(size, actions.dim, generator=generator) * 2 - 1
    else:
        chosen = [torch.randint(count, (size,), generator=generator) for count in actions.counts]
        action = torch.cat([torch.eye(count)[index] for count, index in zip(actions.counts, chosen)], -1)
    return Transition(
        obs=torch.randn(size, obs_dim, generator=generator),
        action=action,
        reward=torch.randn(size, generator=generator),
        next_obs=torch.randn(size, obs_dim, generator=generator),
        terminated=torch.rand(size, generator=generator) < 0.3,
    )


def named_optimizers(algorithm: AbstractAlgorithm) -> dict[str, torch.optim.Optimizer]:
    return dict(zip(algorithm.trained_networks(), algorithm.configure_optimizers()))


def recorded(algorithm: AbstractAlgorithm) -> dict[str, float]:
    """The numbers that its losses have recorded since the last update."""
    names, values = algorithm.take_metrics()
    return dict(zip(names, values.tolist()))


def lose(algorithm: AbstractAlgorithm, batch: Transition) -> dict[str, Tensor]:
    """Its losses, with the same noise at every call."""
    torch.manual_seed(7)
    return algorithm.losses(batch)


def disturb(algorithm: AbstractAlgorithm) -> None:
    """Change the weights of target networks, so that they differ from their networks."""
    for name, child in algorithm.named_children():
        if name.startswith("target_"):
            with torch.no_grad():
                for parameter in child.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)


def constant(network: nn.Sequential, *numbers: Any) -> None:
    """Let the network give these numbers for every input."""
    last = network[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(np.array(numbers), dtype=torch.float32).view_as(last.bias))


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: state.clone() for name, state in module.state_dict().items()}


def modes(module: nn.Module) -> list[bool]:
    return [each.training for each in module.modules()]


def same(left: Any, right: Any, where: str = "") -> None:
    """Fail unless two nested states are equal to the last bit; says where they are not."""
    if isinstance(left, Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, BufferRows):  # streams differ between runs
        assert (left.first, left.stop) == (right.first, right.stop), where
        same(left.all(), right.all(), where)
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for index, pair in enumerate(zip(left, right)):
            same(*pair, f"{where}[{index}]")
    else:
        assert left == right, where
