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
SHARED = ("default", "schedule", "schedule_clock", "max_grad_norm")  # entries that are not those of single networks


class FusedAdam(torch.optim.Adam):
    """Adam with fused updates and the learning rate of Haarnoja et al. 2018a, table 1.

    Args:
        params: the parameters to optimize.
        lr: the learning rate; 3e-4 in the paper.
        fused: False for devices or settings that do not support the fused operation.
        **kwargs: further settings of ``torch.optim.Adam``.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 3e-4, fused: bool = True, **kwargs: Any):
        super().__init__(params, lr=lr, fused=fused, **kwargs)


@dataclass(frozen=True)
class Optimizers:
    """One optimizer for each network that an algorithm trains, and one learning-rate schedule for all of them.

    A network without its own entry gets the default.  A network without parameters gets no optimizer.

    Args:
        default: builds the optimizer of every network without its own entry.
        value: builds the optimizer of V.
        critic: builds the optimizer of Q.
        policy: builds the optimizer of the policy.
        temperature: builds the optimizer of a learned temperature.
        trust_region: builds the optimizer of the multiplier of REPPO's trust region.
        schedule: builds the learning-rate schedule of each optimizer, such as
            ``torch.optim.lr_scheduler.CosineAnnealingLR``.  Without one, learning rates are constant.
        schedule_clock: when schedules take a step: ``updates``, after every update of the algorithm, or ``env_steps``,
            once per environment step.  This also holds for networks that are not updated every time.
        max_grad_norm: largest norm of the gradient of each network, after clipping; null for no clipping.
    """

    default: OptimizerBuilder = FusedAdam
    value: OptimizerBuilder | None = None
    critic: OptimizerBuilder | None = None
    policy: OptimizerBuilder | None = None
    temperature: OptimizerBuilder | None = None
    trust_region: OptimizerBuilder | None = None
    schedule: ScheduleBuilder | None = None
    schedule_clock: Clock = "updates"
    max_grad_norm: float | None = None

    def exceptions(self) -> dict[str, OptimizerBuilder]:
        """The entries of single networks, by the networks' names."""
        names = [each.name for each in fields(self) if each.name not in SHARED]
        return {name: builder for name in names if (builder := getattr(self, name)) is not None}

    def of(self, network: str) -> OptimizerBuilder:
        """The builder of a network's optimizer."""
        return self.exceptions().get(network, self.default)

    def entry(self, network: str) -> str:
        """The option that sets the optimizer of a network: its own entry, or ``optimizers.default``."""
        return f"optimizers.{network if network in self.exceptions() else 'default'}"

    def check(self, algorithm: str, networks: Sequence[str]) -> None:
        """Raise ``MaxEntError`` for an entry of a network that the algorithm does not train, or a norm that is not positive.

        Args:
            algorithm: name of the algorithm.
            networks: names of the networks that it trains.
        """
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise MaxEntError(f"max_grad_norm must be positive, but is {self.max_grad_norm}; .inf turns clipping off.")
        for name in self.exceptions():
            if name not in networks:
                raise MaxEntError(
                    f"There is an entry optimizers.{name}, but {algorithm} trains no {name}: leave it out; {algorithm} "
                    f"trains {', '.join(networks)}."
                )

    def build(self, network: str, parameters: Sequence[nn.Parameter]) -> Optimizer:
        """Build the optimizer of a network, after a trial step on copies of its parameters.

        When the optimizer loads a checkpoint, it keeps its current settings, such as the learning rate.

        Args:
            network: name of the network.
            parameters: parameters of the network; at least one.

        Raises:
            MaxEntError: if the optimizer refuses its arguments, or its step fails.
        """
        optimizer = self._built(network, parameters)
        self._try_step(network, parameters)
        for group in optimizer.param_groups:
            group["name"] = network  # for Lightning's LearningRateMonitor
        optimizer.register_state_dict_post_hook(lambda optimizer, state: state | {"kind": type(optimizer).__name__})
        optimizer.register_load_state_dict_pre_hook(partial(_keep_settings, network))
        return optimizer

    def _built(self, network: str, parameters: Sequence[nn.Parameter]) -> Optimizer:
        try:
            return self.of(network)(parameters)
        except (RuntimeError, TypeError, ValueError) as error:
            said, entry = " ".join(str(error).split()).rstrip("."), self.entry(network)
            off = f"--model.{entry}.init_args.fused=false"
            advice = f": the default optimizer is fused, and {off} changes this." if "fused" in said else "."
            raise MaxEntError(f"{entry} cannot build the optimizer of {network}: {said}{advice}") from error

    def _try_step(self, network: str, parameters: Sequence[nn.Parameter]) -> None:
        """Try a step with zero gradients on copies, because some optimizers need a closure or sparse gradients."""
        copies = [nn.Parameter(each.detach().clone()) for each in parameters]
        for each in copies:
            each.grad = torch.zeros_like(each)
        optimizer = self._built(network, copies)
        try:
            optimizer.step()
        except Exception as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise MaxEntError(
                f"{self.entry(network)} cannot be {type(optimizer).__name__}, because its step failed ({said}): choose "
                f"an optimizer for dense gradients without a closure, such as torch.optim.Adam."
            ) from error

    def scheduled(self, optimizers: Mapping[str, Optimizer]) -> Any:
        """The result of Lightning's ``configure_optimizers``: the optimizers, with their schedules if there are any.

        Args:
            optimizers: the optimizers by the names of the networks.

        Raises:
            MaxEntError: if a schedule cannot be built.
        """
        if self.schedule is None:
            return list(optimizers.values())
        with errors_of("optimizers.schedule"):
            schedulers = {name: self.schedule(optimizer) for name, optimizer in optimizers.items()}
        named = [{"scheduler": scheduler, "name": f"{name}_lr"} for name, scheduler in schedulers.items()]
        return list(optimizers.values()), named


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """The parameters that an optimizer steps: those of its groups that get a gradient, in their order."""
    return [each for group in optimizer.param_groups for each in group["params"] if each.requires_grad]


DEFAULT_OPTIMIZERS = Optimizers()
"""``FusedAdam`` for every network, without a schedule and without clipping."""

CLIPPED_OPTIMIZERS = Optimizers(max_grad_norm=0.5)  # common practice on policy, as in Huang et al. 2022, detail 11


def _keep_settings(network: str, optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """The state that an optimizer loads from a checkpoint: the saved moments, but the current settings.

    Raises:
        MaxEntError: if the state is that of another kind of optimizer.
    """
    groups, kind = list(zip(optimizer.param_groups, saved["param_groups"])), type(optimizer).__name__
    alike = all(theirs.keys() <= own.keys() | {"initial_lr"} for own, theirs in groups)
    if (there := saved.get("kind", kind if alike else "another optimizer")) != kind:
        raise MaxEntError(
            f"The checkpoint was made with {there} as the optimizer of {network}, but here it is {kind}: resume with "
            f"{there}, or start a new run from these weights with the callback WarmStart."
        )
    kept = [theirs | {key: each for key, each in own.items() if key != "params"} for own, theirs in groups]
    return saved | {"param_groups": kept}


class LearningRates:
    """The learning rates that follow a schedule.

    A learning rate depends only on the number of steps of its clock.  Checkpoints do not hold schedules: a resumed run
    repeats the steps of the schedule, so changed settings take effect as if they had been given from the start.

    Args:
        schedulers: pairs of a network's name and the schedule of its optimizer.

    Raises:
        MaxEntError: for a schedule that depends on a metric.
    """

    def __init__(self, schedulers: Sequence[tuple[str, LRScheduler]]):
        self._schedulers, self._steps = schedulers, 0
        for name, scheduler in schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                raise MaxEntError(
                    f"The learning rate of {name} cannot follow ReduceLROnPlateau, which needs a metric: choose a "
                    f"schedule that only depends on the number of steps, such as torch.optim.lr_scheduler.LinearLR."
                )
            # else torch warns if a schedule takes a step before the first update of its network
            scheduler.optimizer._opt_called = True  # type: ignore[attr-defined]
            # Lightning asks for a state that is not saved, and LambdaLR of a builtin function has none
            scheduler.state_dict = dict

    def advance(self, steps: int) -> None:
        """Advance all schedules to a number of steps of the clock; they do not go back.

        Raises:
            MaxEntError: if a schedule raises an error, for example because it has ended.
        """
        with errors_of("The learning-rate schedule"):
            for _ in range(self._steps, steps):
                for _, scheduler in self._schedulers:
                    scheduler.step()
        self._steps = steps

    def now(self) -> dict[str, float]:
        """The learning rate of each network (of its first parameter group), by the name of its column ``lr/<name>``."""
        return {f"lr/{name}": float(each.get_last_lr()[0]) for name, each in self._schedulers}
