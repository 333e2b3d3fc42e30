"""The base class of all algorithms: optimizers, the training step, the count of environment steps, and metrics."""

from abc import ABC, abstractmethod
from collections.abc import Container, Hashable, Iterator, Set
from typing import Any, ClassVar, TypeVar

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_maxent.algorithms.checks import (
    check_averaging,
    check_feeding,
    check_finite_actions,
    check_losses,
    check_made_by,
    check_network,
    check_optimizers,
    check_own_gradients,
    check_reached,
    check_recorded,
    check_tensors,
    check_trainer,
)
from lightning_maxent.algorithms.feeding import AbstractFeeding
from lightning_maxent.algorithms.gradient_step import GradientStep
from lightning_maxent.contracts import check_same_tensors
from lightning_maxent.distributed import own_buffers, processes
from lightning_maxent.errors import MaxEntError
from lightning_maxent.execution import Eager, Metrics, chosen_execution
from lightning_maxent.lightning_internals import callbacks_of, set_global_step
from lightning_maxent.metrics.means import EpisodeMeans, MetricMeans
from lightning_maxent.metrics.training_log import TrainingLog
from lightning_maxent.networks import AbstractConstraint
from lightning_maxent.objectives import Scalar
from lightning_maxent.optimizers import Clock, LearningRates, Optimizers
from lightning_maxent.run_data import data_of
from lightning_maxent.schedules import AbstractSchedule
from lightning_maxent.targets import frozen_statistics
from lightning_maxent.temperature import AbstractTemperature
from lightning_maxent.transition import Episode, Round

LONGEST_DELAY = 1_000  # number of updates after which a network without any loss so far causes a warning

Kind = TypeVar("Kind", bound=nn.Module)


class AbstractAlgorithm(pl.LightningModule, ABC):
    """An algorithm computes a dictionary of losses, one for each network, from a batch of data.

    A key of the dictionary is the name of a network: of its attribute, its optimizer and its loss in the logs.  A
    subclass lists the names in ``networks``, sets ``feeding``, builds the networks and implements the abstract methods.
    This class steps optimizers and learning-rate schedules, counts environment steps and computes the metrics of
    evaluation episodes.

    A subclass that overrides ``configure_optimizers`` returns one optimizer for each of ``trained_networks()``, in that
    order, without or with learning-rate schedulers in one of Lightning's formats.  Schedulers are stepped on
    ``optimizers.schedule_clock``; their learning rates must depend on the number of steps only.

    Args:
        temperature: alpha, the weight of entropy.
        optimizers: optimizers and learning-rate schedules of the networks.
        discount: gamma in [0, 1].

    Raises:
        MaxEntError: for a discount outside [0, 1], or an optimizer for a network that is not in ``networks``.
    """

    networks: ClassVar[tuple[str, ...]] = ()
    """Names of the trained networks, in the order of their optimizers."""

    feeding: AbstractFeeding
    """Turns the data of a round into the batches of its updates: ``Replay()`` or ``Rollouts()``."""

    def __init__(self, temperature: AbstractTemperature, optimizers: Optimizers, discount: float):
        super().__init__()
        if not 0 <= discount <= 1:
            raise MaxEntError(f"The discount must lie in [0, 1], but is {discount}.")
        if not self.networks:
            raise MaxEntError(
                f"{type(self).__name__} has no names of networks to train: set them in the class, as in "
                f'networks = ("critic", "policy").'
            )
        optimizers.check(type(self).__name__, self.networks)
        self.automatic_optimization = False  # one optimizer per network
        self.temperature, self.discount = temperature, discount
        self._optimizers, self._learning_rates = optimizers, LearningRates([])
        self._recorded: dict[str, Tensor] = {}
        self._metrics, self._episodes = MetricMeans(), EpisodeMeans()
        self._gradient_step, self._execution = GradientStep(optimizers.max_grad_norm), Eager()
        self.gradient_steps = 0
        self._found: dict[tuple[type[nn.Module], str], list[Any]] = {}
        self._moved: set[str] = set()  # names of networks that had a loss so far

    def prepare(self, data: Any) -> Any:
        """Turn transitions, or a whole rollout, into the argument of ``losses``; by default unchanged."""
        return data

    def batches(self, data: Any) -> Iterator[Any]:
        """The batches of the updates of a round."""
        return self.feeding.batches(data, self.prepare)

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Scalar]:
        """The loss of every network that this update trains, by the network's name.

        No loss may have a gradient in another network: put passes through other networks under ``frozen``.
        """

    def follow_targets(self) -> None:
        """Update the target networks, if there are any; called once after every update."""

    @abstractmethod
    def _act(self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool) -> Float[Tensor, "batch action_dim"]:
        """Actions sampled from the policy, or its deterministic actions."""

    def _explore(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """Actions that collect training data; by default, samples of the policy."""
        return self._act(obs, deterministic=False)

    @abstractmethod
    def estimates(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """What the algorithm estimates for states and actions: values, in scaled rewards, and the entropy in nats.

        Args:
            obs: the states.
            action: one action in each state, in the learner's form.

        Returns:
            Tensors by name: ``entropy``, and ``V`` and ``Q`` if the algorithm learns them.
        """

    @abstractmethod
    def episode_diagnostics(self, episode: Episode) -> tuple[Float[Tensor, " time"], dict[str, Tensor]]:
        """Entropies and metrics of an episode with sampled actions.

        Returns:
            The entropy of the policy in nats at every step, and metrics by name, such as the bias of predicted values.
        """

    # ---- learning ---------------------------------------------------------------------------------------------------

    def trained_networks(self) -> list[str]:
        """The names in ``networks`` whose networks have parameters, in the same order.

        Raises:
            MaxEntError: for a name that no network has.
        """
        for name in self.networks:
            check_network(type(self).__name__, name, getattr(self, name, None))
        return [name for name in self.networks if any(True for _ in self.get_submodule(name).parameters())]

    def build_optimizers(self) -> dict[str, Optimizer]:
        """One optimizer for each of ``trained_networks()``, by the name of the network, in that order.

        Raises:
            MaxEntError: for wrong arguments of an optimizer, or an optimizer that does not support a network.
        """
        parameters = {name: list(self.get_submodule(name).parameters()) for name in self.trained_networks()}
        return {name: self._optimizers.build(name, of_network) for name, of_network in parameters.items()}

    def configure_optimizers(self) -> Any:
        """The result of ``build_optimizers``, with learning-rate schedulers if a schedule is set."""
        return self._optimizers.scheduled(self.build_optimizers())

    @property
    def phase(self) -> Hashable:
        """What distinguishes this update from others with different losses; None if all have the same losses."""
        return None

    def update(self, batch: Any, optimizers: dict[str, Optimizer]) -> None:
        """Take one gradient step in every network that has a loss, as the execution of the Trainer says.

        Raises:
            MaxEntError: for a loss without a network of its name, or without a gradient in this network.
        """
        metrics = self._execution.update(self, batch, optimizers)
        self._metrics.add(metrics)
        self.gradient_steps += 1
        if self.gradient_steps == LONGEST_DELAY and (idle := optimizers.keys() - self._moved):
            rank_zero_warn(
                f"There was no loss for {' and '.join(sorted(idle))} in {LONGEST_DELAY:,} updates, so it does not learn: "
                f"return an entry of that name in the losses of {type(self).__name__}."
            )

    def compute_gradients(self, batch: Any, optimizers: dict[str, Optimizer]) -> Set[str]:
        """Compute the losses of a batch and their gradients, in one backward pass for all losses.

        Returns:
            The names of the networks that have a gradient.

        Raises:
            MaxEntError: for a loss that is not one number, that has no network of its name, or, at the first loss of a
                network, that has a gradient in another network.
        """
        losses = self.checked_losses(batch, optimizers)
        if losses.keys() - self._moved:  # only at the first loss of a network
            networks = {name: self.get_submodule(name) for name in optimizers}
            check_own_gradients(type(self).__name__, losses, networks)
        if losses:
            total = torch.stack(tuple(losses.values())).sum()
            self._gradient_step.compute(total, [optimizers[name] for name in losses])
        return losses.keys()

    def checked_losses(self, batch: Any, optimizers: Container[str]) -> dict[str, Scalar]:
        """The losses of a batch for networks with an optimizer, which are recorded.

        Raises:
            MaxEntError: for a loss that is not one number, or that has no network of its name.
        """
        losses = self.losses(batch)
        check_losses(type(self).__name__, losses, self.networks, optimizers)
        losses = {name: loss for name, loss in losses.items() if name in optimizers}
        self.record({f"loss/{name}": loss for name, loss in losses.items()})
        return losses

    def apply_gradients(self, names: Set[str], optimizers: dict[str, Optimizer]) -> None:
        """Step the optimizers of some networks, then restore their constraints and update the target networks.

        Raises:
            MaxEntError: at the first loss of a network, if it has no gradient in that network.
        """
        for name in names - self._moved:
            check_reached(type(self).__name__, name, self.get_submodule(name))
            self._moved.add(name)
        self._gradient_step.step([optimizers[name] for name in names])
        for name in names:
            for module in self._of_kind(AbstractConstraint, name):  # not in target networks
                module.project()
        self.follow_targets()

    def _of_kind(self, kind: type[Kind], network: str = "") -> list[Kind]:
        """All submodules of a class, at any depth, of one network or of the whole algorithm.

        The result is cached, because the search takes too long to be repeated in every update.
        """
        if (kind, network) not in self._found:
            modules = self.get_submodule(network).modules()
            self._found[kind, network] = [module for module in modules if isinstance(module, kind)]
        return self._found[kind, network]

    def setup(self, stage: str) -> None:
        if stage == "predict":
            raise MaxEntError(
                "trainer.predict is not supported, because the data are environments: use load_policy(path) or "
                "TrainedPolicy(model, data) for the actions of a policy, and trainer.test(model, data) to play episodes."
            )
        check_feeding(type(self).__name__, getattr(self, "feeding", None))
        data = data_of(self.trainer)
        check_averaging(callbacks_of(self.trainer), processes() * (data.steps_per_round if data else 1))

    def configure_callbacks(self) -> list[pl.Callback]:
        """A ``TrainingLog``, unless the Trainer has one.

        Lightning calls this first, before its own checks, so the Trainer is checked here.
        """
        check_trainer(self.trainer)
        return [] if any(isinstance(each, TrainingLog) for each in callbacks_of(self.trainer)) else [TrainingLog()]

    def on_fit_start(self) -> None:
        self._trained = self.trained_networks()
        networks = {name: self.get_submodule(name) for name in self._trained}
        check_optimizers(type(self).__name__, networks, self.trainer.optimizers)
        self._gradient_step = GradientStep(self._optimizers.max_grad_norm, self.trainer)
        gradients = self._gradient_step
        self._execution = chosen_execution(callbacks_of(self.trainer), gradients.hooks, gradients.scales, self.device)
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
            self.trainer.should_stop = True  # else Lightning skips the evaluation after a short last epoch

    def advance_schedules(self, env_steps: int) -> None:
        """Tell every schedule, at any depth, the number of environment steps."""
        for module in self._of_kind(AbstractSchedule):
            module.advance(env_steps)

    # ---- playing ----------------------------------------------------------------------------------------------------

    def forward(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """The deterministic actions of the policy, on the device of the model.

        Observations are flat and scaled as in training.  Actions are vectors in [-1, 1] or one-hot vectors.
        ``load_policy`` and ``TrainedPolicy`` use the observations and actions of the environment.
        """
        with frozen_statistics(self):
            return self._act(obs, deterministic=True)

    @torch.no_grad()
    def act(
        self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool = False
    ) -> Float[Tensor, "batch action_dim"]:
        """Actions on the CPU, sampled or deterministic, for observations on any device.

        Raises:
            DivergedError: if an action is not finite.
        """
        with frozen_statistics(self):
            action = self._act(obs.to(self.device).type(self.dtype), deterministic).float().cpu()
        return check_finite_actions(action, self)

    @torch.no_grad()
    def explore(self, obs: Float[Tensor, "batch obs_dim"]) -> Float[Tensor, "batch action_dim"]:
        """Actions that collect training data, on the CPU, for observations on any device.

        Raises:
            DivergedError: if an action is not finite.
        """
        with frozen_statistics(self):
            action = self._explore(obs.to(self.device).type(self.dtype)).float().cpu()
        return check_finite_actions(action, self)

    # ---- measuring --------------------------------------------------------------------------------------------------

    def record(self, metrics: dict[str, Tensor]) -> None:
        """Add one number of this update for each name to the means of the current logging interval.

        The numbers stay on their device, so that updates do not wait for the device.

        Raises:
            MaxEntError: for a number that is not a tensor.
        """
        check_tensors(type(self).__name__, metrics)
        self._recorded.update({name: metric.detach() for name, metric in metrics.items()})

    def take_metrics(self) -> Metrics:
        """The numbers recorded since the last call, on their device.

        Raises:
            MaxEntError: for a metric that is not one number.
        """
        recorded, self._recorded = self._recorded, {}
        check_recorded(type(self).__name__, recorded)
        values = [metric.float() for metric in recorded.values()]
        return Metrics(tuple(recorded), torch.stack(values) if values else torch.empty(0))

    def drain_metrics(self) -> dict[str, float]:
        """The means of the values recorded since the last call, the target entropy, scheduled learning rates, and the
        number of gradient steps so far.
        """
        means = self._metrics.drain()
        target_entropy = self.temperature.target_entropy()
        if target_entropy is not None:
            means["entropy_target"] = float(target_entropy)
        return means | self._learning_rates.now() | {"gradient_steps": float(self.gradient_steps)}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint |= {"gradient_steps": self.gradient_steps, "algorithm": type(self).__name__}
        checkpoint["metrics"] = self._metrics.state_dict()
        if processes() > 1:
            checkpoint["own_buffers"] = own_buffers(self)
        if "lr_schedulers" in checkpoint:
            checkpoint["lr_schedulers"] = []  # see LearningRates

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Check the checkpoint and restore the number of gradient steps.

        Raises:
            MaxEntError: if another algorithm made the checkpoint, or its tensors do not fit.
        """
        check_made_by(checkpoint, type(self).__name__)
        check_same_tensors(checkpoint, self)
        checkpoint["state_dict"] |= checkpoint.get("own_buffers", {})
        self.gradient_steps = checkpoint.get("gradient_steps", 0)
        if metrics := checkpoint.get("metrics"):
            self._metrics.load_state_dict(metrics, self.device)

    def episode_metrics(self, episode: Episode) -> dict[str, Tensor]:
        """Metrics of one evaluation episode.

        Episodes with deterministic actions have ``return`` and ``length``.  Episodes with sampled actions have
        ``sampled_return``; ``entropy``, the mean over steps in nats; ``soft_return``, the sum of scaled rewards and of
        alpha times the entropy of every step; and the metrics of ``episode_diagnostics``.
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
            self.log(f"{stage}/{name}", metric, sync_dist=True)  # equal on all processes; Lightning warns otherwise
