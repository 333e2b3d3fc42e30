"""What every algorithm has: networks with a loss and an optimizer each, one training step, one clock."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_maxent.algorithms.checks import (
    check_averaging,
    check_finite_actions,
    check_losses,
    check_made_by,
    check_network,
    check_optimizers,
    check_reached,
)
from lightning_maxent.algorithms.feeding import AbstractFeeding
from lightning_maxent.contracts import check_same_tensors
from lightning_maxent.errors import MaxEntError
from lightning_maxent.lightning_internals import callbacks_of, set_global_step
from lightning_maxent.metric_means import EpisodeMeans, MetricMeans
from lightning_maxent.networks import AbstractConstraint
from lightning_maxent.objectives import Scalar
from lightning_maxent.optimizers import Clock, LearningRates, Optimizers
from lightning_maxent.run_data import data_of
from lightning_maxent.schedules import AbstractSchedule
from lightning_maxent.targets import frozen_statistics
from lightning_maxent.temperature import AbstractTemperature
from lightning_maxent.training_log import TrainingLog
from lightning_maxent.transition import Episode, Round

LONGEST_DELAY = 1_000  # updates that a network may have to wait for its first loss, before a warning

Kind = TypeVar("Kind", bound=nn.Module)


class AbstractAlgorithm(pl.LightningModule, ABC):
    """An algorithm is a dictionary of losses, keyed by the network that each one moves.

    A key is the name of a network attribute, of its optimizer and of its loss in the logs.  A subclass names its networks
    in ``networks``, says how it is fed in ``feeding``, builds the parts and implements the abstract methods.  This class
    steps optimizers and learning-rate schedules, advances the clock and measures evaluation episodes.

    A subclass that overrides ``configure_optimizers`` returns one optimizer for each of ``trained_networks()``, in that
    order, alone or with learning-rate schedulers in one of Lightning's forms.  The schedulers take their steps on
    ``optimizers.schedule_clock`` like any other; they must depend on the number of steps alone.

    Args:
        temperature: the weight of entropy.
        optimizers: how to optimize the networks.
        discount: gamma in [0, 1].

    Raises:
        MaxEntError: for a discount outside [0, 1], or an optimizer for a network that is not among ``networks``.
    """

    networks: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that are trained, in the order of their optimizers."""

    feeding: AbstractFeeding
    """Which data of a round the algorithm learns from, and in which batches: ``Replay()`` or ``Rollouts()``."""

    def __init__(self, temperature: AbstractTemperature, optimizers: Optimizers, discount: float):
        super().__init__()
        if not 0 <= discount <= 1:
            raise MaxEntError(f"The discount must lie in [0, 1], but is {discount}.")
        if not self.networks:
            raise MaxEntError(
                f"{type(self).__name__} does not say which networks it trains: name their attributes in the class, as in "
                f'networks = ("critic", "policy").'
            )
        optimizers.check(type(self).__name__, self.networks)
        self.automatic_optimization = False  # one optimizer per network
        self.temperature, self.discount = temperature, discount
        self._optimizers, self._learning_rates = optimizers, LearningRates([])
        self._metrics, self._episodes = MetricMeans(), EpisodeMeans()
        self.gradient_steps = 0
        self._found: dict[tuple[type[nn.Module], str], list[Any]] = {}
        self._moved: set[str] = set()  # networks whose loss has reached them

    def prepare(self, data: Any) -> Any:
        """What the losses are computed from, given a batch of transitions or a whole rollout; by default the same."""
        return data

    def batches(self, data: Any) -> Iterator[Any]:
        """What each update of a round learns from."""
        return self.feeding.batches(data, self.prepare)

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Scalar]:
        """The loss of every network to be moved this time.  Gradients are disjoint: freeze what is passed through."""

    def follow_targets(self) -> None:
        """Let every slow copy, if there are any, follow its network; called once after every update."""

    @abstractmethod
    def _act(self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool) -> Float[Tensor, "batch action_dim"]:
        """Samples of the policy, or its one best guess if ``deterministic``."""

    def _explore(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """Actions to learn from; the policy's samples, since that is what entropy is for."""
        return self._act(obs, deterministic=False)

    @abstractmethod
    def episode_diagnostics(self, episode: Episode) -> tuple[Float[Tensor, " time"], dict[str, Tensor]]:
        """Of an episode played with the policy's samples: the entropy (nats) of every state in which it acted, and what
        was predicted of its returns beside what came.
        """

    # ---- learning ---------------------------------------------------------------------------------------------------

    def trained_networks(self) -> list[str]:
        """Those of ``networks`` that have parameters, in the same order.

        Raises:
            MaxEntError: for a name that is not that of a network.
        """
        for name in self.networks:
            check_network(type(self).__name__, name, getattr(self, name, None))
        return [name for name in self.networks if any(True for _ in self.get_submodule(name).parameters())]

    def build_optimizers(self) -> dict[str, Optimizer]:
        """One optimizer for each of ``trained_networks()``, by the network's name, in that order.

        Raises:
            MaxEntError: for arguments that an optimizer refuses, or an optimizer that cannot step these networks.
        """
        parameters = {name: list(self.get_submodule(name).parameters()) for name in self.trained_networks()}
        return {name: self._optimizers.build(name, of_network) for name, of_network in parameters.items()}

    def configure_optimizers(self) -> Any:
        """What ``build_optimizers`` built, and a learning-rate scheduler for each where a schedule is set."""
        return self._optimizers.scheduled(self.build_optimizers())

    def update(self, batch: Any, optimizers: dict[str, Optimizer]) -> None:
        """One gradient step of every network that has a loss, after one shared backward pass.

        Stepping waits for the backward pass: a weight changed in place between two of them would spoil the second.
        Both are torch's own: without a gradient scaler Lightning's do the same, and its hooks around them cost 2 %.

        Raises:
            MaxEntError: for a loss that moves no network.
        """
        losses = self.losses(batch)
        check_losses(type(self).__name__, losses, self.networks, optimizers)
        losses = {name: loss for name, loss in losses.items() if name in optimizers}
        if losses:
            self._step(losses, optimizers)
        self.follow_targets()
        self.record({f"loss/{name}": loss for name, loss in losses.items()})
        self.gradient_steps += 1
        if self.gradient_steps == LONGEST_DELAY and (idle := optimizers.keys() - self._moved):
            rank_zero_warn(
                f"After {LONGEST_DELAY:,} updates there was no loss for {' and '.join(sorted(idle))}: the losses of "
                f"{type(self).__name__} must have an entry of that name, or the network never learns."
            )

    def _step(self, losses: dict[str, Scalar], optimizers: dict[str, Optimizer]) -> None:
        for name in losses:
            optimizers[name].zero_grad()
        torch.stack(tuple(losses.values())).sum().backward()
        for name in losses.keys() - self._moved:  # the first time
            check_reached(type(self).__name__, name, self.get_submodule(name))
            self._moved.add(name)
        for name in losses:
            optimizers[name].step()
            for module in self._of_kind(AbstractConstraint, name):  # not those of slow copies, which follow as they are
                module.project()

    def _of_kind(self, kind: type[Kind], network: str = "") -> list[Kind]:
        """All parts of a class, of one network or of all, however deep.

        Found once, since looking takes longer than a small update's overhead.
        """
        if (kind, network) not in self._found:
            modules = self.get_submodule(network).modules()
            self._found[kind, network] = [module for module in modules if isinstance(module, kind)]
        return self._found[kind, network]

    def setup(self, stage: str) -> None:
        if stage == "predict":
            raise MaxEntError(
                "trainer.predict cannot be used, since the data are environments: load_policy(path), or "
                "TrainedPolicy(model, data), gives actions for observations, and trainer.test(model, data) plays episodes."
            )
        self.check_trainer(self.trainer)
        data = data_of(self.trainer)
        check_averaging(callbacks_of(self.trainer), data.steps_per_round if data else 1)

    @staticmethod
    def check_trainer(trainer: pl.Trainer) -> None:
        """Refuse a Trainer with which nothing here can be right; it may be asked before the Trainer starts processes.

        Raises:
            MaxEntError: for another precision than 32-true and bf16-mixed, more than one device, or a strategy for several.
        """
        if trainer.precision not in ("32-true", "bf16-mixed"):  # a gradient scaler cannot serve several optimizers
            raise MaxEntError(f"The precision {trainer.precision} is not supported: choose 32-true or bf16-mixed.")
        if not isinstance(trainer.strategy, SingleDeviceStrategy):
            raise MaxEntError(
                f"A run uses one device, but the Trainer was given {trainer.world_size} with the strategy "
                f"{type(trainer.strategy).__name__}: set devices and num_nodes to 1 and give no strategy."
            )

    def configure_callbacks(self) -> list[pl.Callback]:
        """A log of losses and training returns, unless the Trainer has one."""
        return [] if any(isinstance(each, TrainingLog) for each in callbacks_of(self.trainer)) else [TrainingLog()]

    def on_fit_start(self) -> None:
        self._trained = self.trained_networks()
        networks = {name: self.get_submodule(name) for name in self._trained}
        check_optimizers(type(self).__name__, networks, self.trainer.optimizers)
        names = {id(optimizer): name for name, optimizer in zip(self._trained, self.trainer.optimizers)}
        schedulers: list[Any] = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        self._learning_rates = LearningRates([(names[id(each.optimizer)], each) for each in schedulers])

    def on_train_start(self) -> None:
        self._advance_learning_rates("updates", self.gradient_steps)
        self._advance_learning_rates("env_steps", self.trainer.global_step)

    def _advance_learning_rates(self, clock: Clock, steps: int) -> None:
        if clock == self._optimizers.schedule_clock:
            self._learning_rates.advance(steps)

    def training_step(self, batch: Round, batch_idx: int) -> None:
        optimizers = self.optimizers(use_pl_optimizer=False)
        named = dict(zip(self._trained, optimizers if isinstance(optimizers, list) else [optimizers], strict=True))
        self.feeding.check(type(self).__name__, batch.batch)
        for each in self.batches(batch.batch):
            self.update(each, named)
            self._advance_learning_rates("updates", self.gradient_steps)
        self._advance_learning_rates("env_steps", batch.env_steps)
        self.advance_schedules(batch.env_steps)
        set_global_step(self.trainer, batch.env_steps)
        if 0 <= self.trainer.max_steps <= batch.env_steps:
            self.trainer.should_stop = True  # or Lightning would skip the evaluation at the end of a short last epoch

    def advance_schedules(self, env_steps: int) -> None:
        """Set the clock of every schedule, at whatever depth."""
        for module in self._of_kind(AbstractSchedule):
            module.advance(env_steps)

    # ---- playing ----------------------------------------------------------------------------------------------------

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """The policy's one best guess, as ``model(obs)``: all of it in the learner's coordinates and on the model's device.

        Observations are flat, and scaled where the data module scales them; actions are continuous ones in [-1, 1], or
        one-hot vectors.  ``load_policy`` and ``TrainedPolicy`` take and give the environment's own.
        """
        with frozen_statistics(self):
            return self._act(obs, deterministic=True)

    @torch.no_grad()
    def act(
        self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool = False
    ) -> Float[Tensor, "batch action_dim"]:
        """Actions on the CPU for observations from anywhere: the policy's samples, or its one best guess.

        Raises:
            DivergedError: if one is not finite.
        """
        with frozen_statistics(self):
            action = self._act(obs.to(self.device), deterministic).cpu()
        return check_finite_actions(action, self)

    @torch.no_grad()
    def explore(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """Actions to learn from, on the CPU for observations from anywhere.

        Raises:
            DivergedError: if one is not finite.
        """
        with frozen_statistics(self):
            action = self._explore(obs.to(self.device)).cpu()
        return check_finite_actions(action, self)

    # ---- measuring --------------------------------------------------------------------------------------------------

    def record(self, metrics: dict[str, Tensor]) -> None:
        """Add to the means of this logging interval, without leaving the device."""
        self._metrics.add(metrics)

    def drain_metrics(self) -> dict[str, float]:
        """Means over what was recorded since the last call, learning rates that follow a schedule, the target entropy, and
        the number of gradient steps so far.
        """
        means = self._metrics.drain()
        target_entropy = self.temperature.target_entropy()
        if target_entropy is not None:
            means["entropy_target"] = float(target_entropy)
        return means | self._learning_rates.now() | {"gradient_steps": float(self.gradient_steps)}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint |= {"gradient_steps": self.gradient_steps, "algorithm": type(self).__name__}
        if "lr_schedulers" in checkpoint:
            checkpoint["lr_schedulers"] = []  # see LearningRates

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Take on a run of the same algorithm.

        Raises:
            MaxEntError: if it was made by another one, or its tensors do not fit.
        """
        check_made_by(checkpoint, type(self).__name__)
        check_same_tensors(checkpoint, self)
        self.gradient_steps = checkpoint.get("gradient_steps", 0)

    def episode_metrics(self, episode: Episode) -> dict[str, Tensor]:
        """What one evaluation episode shows.

        Deterministic episodes give ``return`` and ``length``.  Sampled ones give ``sampled_return``, ``entropy`` (nats,
        mean over the states visited), ``soft_return`` (the return, of rewards as the learner sees them, with alpha times the
        entropy of every state added), and what was predicted of it.
        """
        episode_return = episode.reward.sum()
        if episode.deterministic:
            return {"return": episode_return, "length": torch.tensor(float(len(episode.reward)))}
        entropy, predictions = self.episode_diagnostics(episode)
        return {
            "sampled_return": episode_return,
            "soft_return": episode.learner_reward.sum() + self.temperature() * entropy.sum(),
            "entropy": entropy.mean(),
        } | predictions

    def validation_step(self, batch: Episode, batch_idx: int) -> None:
        self._episodes.add(self.episode_metrics(batch))

    def on_validation_epoch_end(self) -> None:
        self._log_episodes("eval")

    def test_step(self, batch: Episode, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self._log_episodes("test")

    def _log_episodes(self, stage: str) -> None:
        for name, metric in self._episodes.drain().items():
            self.log(f"{stage}/{name}", metric)
