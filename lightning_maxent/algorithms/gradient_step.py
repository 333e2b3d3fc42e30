"""The gradient step: one backward pass for all losses, then a step of each optimizer."""

from collections.abc import Collection

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_maxent.distributed import average, processes, running_statistics
from lightning_maxent.lightning_internals import call_hook, gradient_scaler, is_listening
from lightning_maxent.objectives import Scalar
from lightning_maxent.optimizers import parameters_of

HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "backward", "on_before_optimizer_step")


class GradientStep:
    """Computes the gradients of a loss and steps optimizers, with the hooks and the gradient scaler of Lightning.

    Lightning's own calls take 2 % of an update even if they do nothing, so hooks that nobody overrides are not called.

    If several processes train the model, the gradients become the means over all processes after the backward pass, and
    with them the running statistics of the model, so that all processes take the same step.  ``on_after_backward`` is
    called before that, and ``on_before_optimizer_step`` after it.

    Args:
        max_grad_norm: largest norm of the gradient of each optimizer; None for no clipping.
        trainer: the Trainer; None outside of a Trainer, without hooks and gradient scaler.
    """

    def __init__(self, max_grad_norm: float | None = None, trainer: pl.Trainer | None = None):
        self._max_grad_norm, self._trainer = max_grad_norm, trainer
        self.hooks = {hook for hook in HOOKS if trainer and is_listening(trainer, hook)}
        self._scaler = gradient_scaler(trainer) if trainer else None
        self._statistics: list[Tensor] | None = None  # the running statistics, if there are several processes
        if trainer and processes() > 1:
            self._statistics = running_statistics(trainer.lightning_module)

    @property
    def scales(self) -> bool:
        """Whether a gradient scaler is used, as with the precision 16-mixed."""
        return self._scaler is not None

    def __reduce__(self) -> tuple[type["GradientStep"], tuple[float | None]]:
        """A copy has no Trainer, as a copy of a LightningModule has none."""
        return GradientStep, (self._max_grad_norm,)

    def compute(self, loss: Scalar, optimizers: Collection[Optimizer]) -> None:
        """Replace the gradients of the optimizers' parameters by those of ``loss``, times the scale of the scaler."""
        for optimizer in optimizers:
            self._call("on_before_zero_grad", optimizer)
            optimizer.zero_grad()
        if self._trainer and (self._scaler or self.hooks & {"on_before_backward", "on_after_backward", "backward"}):
            self._trainer.lightning_module.manual_backward(loss)
        else:
            loss.backward()

    def step(self, optimizers: Collection[Optimizer]) -> None:
        """Step all optimizers with the gradients of their parameters, averaged over all processes.

        All gradients have the same scale, so the scaler changes it only after the last step.  It leaves out the step of
        a network whose gradient is not finite.
        """
        if self._statistics is not None:
            parameters = [each for optimizer in optimizers for each in parameters_of(optimizer)]
            average([each.grad for each in parameters if each.grad is not None] + self._statistics)
        if self._scaler:
            for optimizer in optimizers:
                self._scaler.unscale_(optimizer)
        for optimizer in optimizers:
            self._call("on_before_optimizer_step", optimizer)
            if self._max_grad_norm is not None:
                nn.utils.clip_grad_norm_(parameters_of(optimizer), self._max_grad_norm)
            if self._scaler:
                self._scaler.step(optimizer)
            else:
                optimizer.step()
        if self._scaler:
            self._scaler.update()
        torch.clear_autocast_cache()  # else the next update would use 16-bit copies of the weights before this step

    def _call(self, hook: str, optimizer: Optimizer) -> None:
        if self._trainer and hook in self.hooks:
            call_hook(self._trainer, hook, optimizer)
