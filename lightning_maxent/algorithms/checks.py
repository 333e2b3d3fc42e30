"""Checks of algorithms: every network needs a loss and an optimizer under its name."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_maxent.algorithms.feeding import AbstractFeeding
from lightning_maxent.contracts import diverged
from lightning_maxent.errors import DivergedError, MaxEntError
from lightning_maxent.objectives import Scalar
from lightning_maxent.old_names import renamed_maker
from lightning_maxent.strategy import GradientAveragingStrategy

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")
CLIPPING = (
    "gradient_clip_val cannot be used: set --model.optimizers.max_grad_norm, which clips each network's gradient."
)


def check_trainer(trainer: pl.Trainer) -> None:
    """Check the settings of a Trainer.

    Raises:
        MaxEntError: for a precision with 16-bit weights, another strategy for several devices than
            ``GradientAveragingStrategy``, or ``gradient_clip_val``.
    """
    if trainer.precision not in PRECISIONS:
        raise MaxEntError(
            f"The precision {trainer.precision} is not supported, because most steps of an optimizer or a target network "
            f"are smaller than the rounding of its 16-bit weights: choose {', '.join(PRECISIONS)}."
        )
    if not isinstance(trainer.strategy, SingleDeviceStrategy | GradientAveragingStrategy):
        raise MaxEntError(
            f"The strategy {type(trainer.strategy).__name__} cannot train several networks with optimizers of their own on "
            f"several devices: leave out trainer.strategy on the command line and in make_trainer, and give a pl.Trainer of "
            f"your own strategy=lightning_maxent.GradientAveragingStrategy()."
        )
    if trainer.gradient_clip_val is not None:
        raise MaxEntError(CLIPPING)


def check_network(algorithm: str, name: str, network: object) -> None:
    """Raise ``MaxEntError`` if a name in ``networks`` of an algorithm is not that of a network.

    Args:
        algorithm: name of the algorithm.
        name: the name in ``networks``.
        network: the attribute of that name, or None.
    """
    if not isinstance(network, nn.Module):
        raise MaxEntError(
            f"{algorithm} names {name!r} among its networks, but has no network of that name: assign the network to "
            f"self.{name}, or correct the name in networks."
        )


def check_feeding(algorithm: str, feeding: object) -> None:
    """Raise ``MaxEntError`` unless an algorithm says how it is fed."""
    if not isinstance(feeding, AbstractFeeding):
        raise MaxEntError(
            f"{algorithm} does not say what it learns from: set feeding = Replay() or feeding = Rollouts() of "
            f"lightning_maxent.algorithms.feeding in the class."
        )


def check_losses(algorithm: str, losses: Mapping[str, Scalar], known: Iterable[str], trained: Container[str]) -> None:
    """Raise ``MaxEntError`` for a loss that has no network, is not one number, or has no gradient.

    Args:
        algorithm: name of the algorithm.
        losses: the losses of one update.
        known: names of all networks.
        trained: names of the networks with parameters; a fixed temperature, for example, has none.
    """
    for name, loss in losses.items():
        if name in trained:
            if loss.ndim or not loss.requires_grad:
                found = f"has the shape {list(loss.shape)}" if loss.ndim else "is cut off from all parameters"
                raise MaxEntError(
                    f"The loss {name!r} of {algorithm} must be one number with a gradient, but it {found}: take its mean over "
                    f"the batch, and do not detach it from the network."
                )
        elif name not in known:
            raise MaxEntError(
                f"The losses of {algorithm} have an entry {name!r}, but no network of that name has an optimizer: there are "
                f"{', '.join(known)}."
            )


def check_reached(algorithm: str, name: str, network: nn.Module) -> None:
    """Raise ``MaxEntError`` if no parameter of a network got a gradient from its loss."""
    if all(parameter.grad is None for parameter in network.parameters()):
        raise MaxEntError(
            f"The loss {name!r} of {algorithm} has no gradient in any parameter of {name}, so {name} would never learn: compute "
            f"the loss from that network."
        )


def check_own_gradients(algorithm: str, losses: Mapping[str, Scalar], networks: Mapping[str, nn.Module]) -> None:
    """Raise ``MaxEntError`` if a loss has a gradient in another network than the one of its name.

    Args:
        algorithm: name of the algorithm.
        losses: the losses of one update.
        networks: the trained networks by their names.
    """
    for name, loss in losses.items():
        for other, network in networks.items():
            parameters = [each for each in network.parameters() if each.requires_grad]
            if other != name and parameters:
                gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                if any(gradient is not None for gradient in gradients):
                    raise MaxEntError(
                        f"The loss {name!r} of {algorithm} has a gradient in {other}, which only its own loss may train: "
                        f"compute with {other} under lightning_maxent.targets.frozen or torch.no_grad there, or detach "
                        f"its result."
                    )


def check_tensors(algorithm: str, metrics: Mapping[str, Any]) -> None:
    """Raise ``MaxEntError`` for a metric that is not a tensor."""
    for name, metric in metrics.items():
        if not isinstance(metric, Tensor):
            raise MaxEntError(
                f"{algorithm} records a metric {name!r} of the type {type(metric).__name__}: record a tensor, on the device "
                f"of the model."
            )


def check_recorded(algorithm: str, metrics: Mapping[str, Tensor]) -> None:
    """Raise ``MaxEntError`` for a recorded metric that is not one number."""
    for name, metric in metrics.items():
        if metric.ndim:
            raise MaxEntError(
                f"{algorithm} records a metric {name!r} of the shape {list(metric.shape)}, but a metric is one number per "
                f"update: take its mean."
            )


def check_optimizers(algorithm: str, networks: Mapping[str, nn.Module], optimizers: Sequence[Optimizer]) -> None:
    """Raise ``MaxEntError`` unless ``configure_optimizers`` returned one optimizer per network, in their order."""
    own = [{id(parameter) for parameter in network.parameters()} for network in networks.values()]
    given = [{id(each) for group in optimizer.param_groups for each in group["params"]} for optimizer in optimizers]
    if len(given) != len(own) or not all(moved and moved <= network for moved, network in zip(given, own)):
        raise MaxEntError(
            f"{algorithm}.configure_optimizers must return one optimizer for each network, in the order "
            f"{', '.join(networks)}, but it returns {len(given)} for {len(own)} networks, or one that moves another network."
        )


def check_averaging(callbacks: Iterable[pl.Callback], steps_per_round: int) -> None:
    """Raise ``MaxEntError`` for callbacks of Lightning that would not average weights correctly here.

    Args:
        callbacks: the callbacks of the Trainer.
        steps_per_round: environment steps between two updates of the average; the Trainer counts environment steps.
    """
    averages = [callback for callback in callbacks if isinstance(callback, WeightAveraging)]
    if any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks):
        raise MaxEntError(
            "StochasticWeightAveraging sets learning rates by a schedule that Lightning does not step under manual "
            "optimization: use WeightAveraging or EMAWeightAveraging."
        )
    if len(averages) > 1:
        raise MaxEntError("Only one average of the weights can be evaluated: give one callback of WeightAveraging.")
    for average in averages:
        if isinstance(average, EMAWeightAveraging) and average.update_every_n_steps > 1 and steps_per_round > 1:
            raise MaxEntError(
                f"EMAWeightAveraging updates its average once in a round of {steps_per_round} environment steps: leave "
                f"update_every_n_steps at 1, not {average.update_every_n_steps}, and choose decay for that."
            )


def check_finite_actions(action: Tensor, algorithm: nn.Module) -> Tensor:
    """Return the actions, or raise ``DivergedError`` unless all are finite."""
    if action.isfinite().all():
        return action
    parts = diverged(algorithm.state_dict())
    raise DivergedError(
        f"After {algorithm.gradient_steps:,} updates actions are not finite, and neither are the weights of "
        f"{' and '.join(parts)}: lower the learning rates, and start anew or from the last checkpoint."
        if parts
        else "The policy gave an action that is not finite, although all weights are: check its method forward."
    )


def check_made_by(checkpoint: Mapping[str, Any], algorithm: str) -> None:
    """Raise ``MaxEntError`` for a checkpoint of another algorithm, or of the same one under its former name."""
    made_by = checkpoint.get("algorithm")
    if sentence := renamed_maker(made_by, checkpoint.get("state_dict", {})):
        raise MaxEntError(sentence)
    if made_by not in (None, algorithm):
        raise MaxEntError(
            f"The checkpoint was made by {made_by}, but this is {algorithm}: resume with the same configuration, or start a "
            f"new run from these weights with the callback WarmStart."
        )
