"""How each network is optimized, and how learning rates change over a run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lightning_maxent.errors import MaxEntError, errors_of

OptimizerBuilder = Callable[[Iterable[nn.Parameter]], Optimizer]
ScheduleBuilder = Callable[[Optimizer], LRScheduler]
Clock = Literal["updates", "env_steps"]


class FusedAdam(torch.optim.Adam):
    """Adam with the step size of Haarnoja et al. 2018a, table 1, which updates all parameters in one fused operation.

    Args:
        params: what to optimize.
        lr: the learning rate.
        fused: False for devices or settings that do not support the fused operation.
        **kwargs: further settings of ``torch.optim.Adam``.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 3e-4, fused: bool = True, **kwargs: Any):
        super().__init__(params, lr=lr, fused=fused, **kwargs)


@dataclass(frozen=True)
class Optimizers:
    """One optimizer for each network that an algorithm trains, and one learning-rate schedule for all of them.

    A network without an entry of its own gets the default.  A network without parameters gets no optimizer.

    Args:
        default: builds the optimizer of every network without an entry of its own.
        value: builds the optimizer of V.
        critic: builds the optimizer of Q.
        policy: builds the optimizer of the policy.
        temperature: builds the optimizer of a learned temperature.
        trust_region: builds the optimizer of the multiplier of REPPO's trust region.
        schedule: builds the learning-rate schedule of each optimizer, such as
            ``torch.optim.lr_scheduler.CosineAnnealingLR``.  Without one, learning rates are constant.
        schedule_clock: when schedules take a step: after every update of the algorithm, or once for every environment
            step.  All schedules follow this clock, also that of a network that is not updated every time.
    """

    default: OptimizerBuilder = FusedAdam
    value: OptimizerBuilder | None = None
    critic: OptimizerBuilder | None = None
    policy: OptimizerBuilder | None = None
    temperature: OptimizerBuilder | None = None
    trust_region: OptimizerBuilder | None = None
    schedule: ScheduleBuilder | None = None
    schedule_clock: Clock = "updates"

    def exceptions(self) -> dict[str, OptimizerBuilder]:
        """The entries of single networks, by the networks' names."""
        names = [each.name for each in fields(self) if each.name not in ("default", "schedule", "schedule_clock")]
        return {name: builder for name in names if (builder := getattr(self, name)) is not None}

    def of(self, network: str) -> OptimizerBuilder:
        """What builds the optimizer of a network."""
        return self.exceptions().get(network, self.default)

    def entry(self, network: str) -> str:
        """Where the optimizer of a network is set: ``optimizers.default``, or the entry of its own."""
        return f"optimizers.{network if network in self.exceptions() else 'default'}"

    def check(self, algorithm: str, networks: Sequence[str]) -> None:
        """Raise ``MaxEntError`` for an entry of a network that the algorithm does not train.

        Args:
            algorithm: its name.
            networks: names of those that it trains.
        """
        for name in self.exceptions():
            if name not in networks:
                raise MaxEntError(
                    f"There is an entry optimizers.{name}, but {algorithm} trains no {name}: leave it out; {algorithm} trains "
                    f"{', '.join(networks)}."
                )

    def build(self, network: str, parameters: Sequence[nn.Parameter]) -> Optimizer:
        """The optimizer of a network, which is tried out first.

        When it loads a checkpoint, it keeps its own settings.

        Args:
            network: its name.
            parameters: of the network; at least one.

        Raises:
            MaxEntError: for arguments that an optimizer refuses, or an optimizer that cannot step such parameters.
        """
        optimizer = self._built(network, parameters)
        self._try_step(network, parameters)
        optimizer.register_state_dict_post_hook(lambda optimizer, state: state | {"kind": type(optimizer).__name__})
        optimizer.register_load_state_dict_pre_hook(partial(_keep_settings, network))
        return optimizer

    def _built(self, network: str, parameters: Sequence[nn.Parameter]) -> Optimizer:
        try:
            return self.of(network)(parameters)
        except (RuntimeError, TypeError, ValueError) as error:
            said, entry = " ".join(str(error).split()).rstrip("."), self.entry(network)
            off = f"--model.{entry}.init_args.fused=false"
            advice = f": the default optimizer is fused, which {off} switches off." if "fused" in said else "."
            raise MaxEntError(f"{entry} cannot build the optimizer of {network}: {said}{advice}") from error

    def _try_step(self, network: str, parameters: Sequence[nn.Parameter]) -> None:
        """Step copies of the parameters by zero gradients: some optimizers want a closure, others sparse gradients."""
        copies = [nn.Parameter(each.detach().clone()) for each in parameters]
        for each in copies:
            each.grad = torch.zeros_like(each)
        optimizer = self._built(network, copies)
        try:
            optimizer.step()
        except Exception as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise MaxEntError(
                f"{self.entry(network)} cannot be {type(optimizer).__name__}, whose step failed ({said}): choose one that steps "
                f"by dense gradients without a closure, such as torch.optim.Adam."
            ) from error

    def scheduled(self, optimizers: Mapping[str, Optimizer]) -> Any:
        """What Lightning's ``configure_optimizers`` returns: the optimizers, and their schedules where there are any.

        Args:
            optimizers: by the names of the networks.

        Raises:
            MaxEntError: for a schedule that cannot be built.
        """
        if self.schedule is None:
            return list(optimizers.values())
        with errors_of("optimizers.schedule"):
            schedulers = {name: self.schedule(optimizer) for name, optimizer in optimizers.items()}
        named = [{"scheduler": scheduler, "name": f"{name}_lr"} for name, scheduler in schedulers.items()]
        return list(optimizers.values()), named


DEFAULT_OPTIMIZERS = Optimizers()


def _keep_settings(network: str, optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """What an optimizer loads: moments from a checkpoint, but its settings, such as the step size, as they are now.

    Raises:
        MaxEntError: if another kind of optimizer saved it.
    """
    groups, kind = list(zip(optimizer.param_groups, saved["param_groups"])), type(optimizer).__name__
    alike = all(theirs.keys() <= own.keys() | {"initial_lr"} for own, theirs in groups)
    if (there := saved.get("kind", kind if alike else "another optimizer")) != kind:
        raise MaxEntError(
            f"The checkpoint was made with {there} as the optimizer of {network}, but it is {kind} here: resume with that one, "
            f"or begin a new run with these weights by the callback WarmStart."
        )
    kept = [theirs | {key: each for key, each in own.items() if key != "params"} for own, theirs in groups]
    return saved | {"param_groups": kept}


class LearningRates:
    """The learning rates that follow a schedule.

    A schedule is a function of the steps of its clock.  No checkpoint holds it: a run that goes on repeats the steps, so
    that settings that were changed in the meantime hold as if they had been given from the start.

    Args:
        schedulers: each with the name of the network whose optimizer it changes.

    Raises:
        MaxEntError: for a schedule that waits for a metric.
    """

    def __init__(self, schedulers: Sequence[tuple[str, LRScheduler]]):
        self._schedulers, self._steps = schedulers, 0
        for name, scheduler in schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                raise MaxEntError(
                    f"The learning rate of {name} cannot follow ReduceLROnPlateau, which waits for a metric: choose a schedule "
                    f"that depends on the number of steps alone, such as torch.optim.lr_scheduler.LinearLR."
                )
            # or torch would warn where a network waits for its first update and its learning rate does not
            scheduler.optimizer._opt_called = True  # type: ignore[attr-defined]

    def advance(self, steps: int) -> None:
        """Bring all of them to this number of steps of the clock, not before the present one.

        Raises:
            MaxEntError: for a schedule that ends earlier.
        """
        with errors_of("The learning-rate schedule"):
            for _ in range(self._steps, steps):
                for _, scheduler in self._schedulers:
                    scheduler.step()
        self._steps = steps

    def now(self) -> dict[str, float]:
        """The learning rate of each network, under the name of its column; of the first group of its parameters."""
        return {f"lr/{name}": float(each.get_last_lr()[0]) for name, each in self._schedulers}
