"""What every DataModule has in common: environments, how the learner sees them, the clock, and evaluation."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from gymnasium import spaces
from gymnasium.spaces import flatdim
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.data.action_codec import AbstractActionCodec, action_codec, bounded
from lightning_maxent.data.env_copies import EnvCopies
from lightning_maxent.data.env_runner import AbstractRunner, EnvRunner, play_episodes
from lightning_maxent.data.scaling import (
    AbstractObservationScaling,
    AbstractRewardScaling,
    ObservationScalingBuilder,
    RawObservations,
    RawRewards,
    RewardScalingBuilder,
)
from lightning_maxent.data.spaces import env_maker, say_that_images_are_flattened
from lightning_maxent.errors import MaxEntError, check_positive
from lightning_maxent.transition import Episode, Rollout, Round, Transition

EVALUATION_ENVS = 16  # at the most, side by side; more episodes than that are played one after another


class RoundStream:
    """One epoch of rounds: as many as lie between two evaluations.

    Sized, so that Lightning does not fetch a round ahead, which would step environments before the update.
    """

    def __init__(self, next_round: Callable[[], Round], length: int):
        self._next_round, self._length = next_round, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Round]:
        for _ in range(self._length):
            yield self._next_round()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what a stream goes on from is the state of its DataModule, saved there."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore; that this method exists tells Lightning that an epoch may be resumed half-way."""


class EpisodeStream:
    """One evaluation: so many deterministic episodes, then as many sampled ones."""

    def __init__(self, play: Callable[[bool], Iterator[Episode]], episodes: int):
        self._play, self._episodes = play, episodes

    def __len__(self) -> int:
        return 2 * self._episodes

    def __iter__(self) -> Iterator[Episode]:
        yield from self._play(True)
        yield from self._play(False)


class EnvironmentDataModule(pl.LightningDataModule, ABC):
    """Environments and evaluation; the Trainer's module plays through ``explore`` and ``act``.

    A round is ``steps_per_round`` environment steps, then one training step.  Environments start a new episode on resume.

    Args:
        env_id: a Gymnasium id, or ``module:Id``.
        env_kwargs: the environment's keyword arguments.
        num_envs: copies stepped side by side.
        steps_per_round: environment steps of a round, over all copies.
        eval_interval: environment steps from one evaluation to the next.
        eval_episodes: episodes of one evaluation with the policy's mode, and again as many with its samples.
        eval_envs: copies of the environment that evaluation opens beside those of training, at most one per episode; if
            null, up to 16.  With 0, evaluation plays in the copies of training: it cuts their episodes, and new ones
            begin after it; without a time limit of their own, they get one of 10,000 steps.
        max_joint_actions: a MultiDiscrete action of up to so many combinations is presented as one choice among them
            all; one of more, as independent factors.
        action_bounds: [low, high] in place of each infinite bound of a Box of actions; its finite bounds stay.
        observation_scaling: builds, from ``obs_dim``, how the learner sees observations.
        reward_scaling: builds, from ``num_envs``, how the learner sees rewards.

    Raises:
        MaxEntError: for numbers that cannot work together.
    """

    def __init__(
        self,
        env_id: str,
        env_kwargs: dict[str, Any] | None = None,
        num_envs: int = 8,
        steps_per_round: int = 1_024,
        eval_interval: int = 10_240,
        eval_episodes: int = 10,
        eval_envs: int | None = None,
        max_joint_actions: int = 1_000,
        action_bounds: tuple[float, float] | None = None,
        observation_scaling: ObservationScalingBuilder = RawObservations,
        reward_scaling: RewardScalingBuilder = RawRewards,
    ):
        super().__init__()
        check_positive(
            num_envs=num_envs, steps_per_round=steps_per_round, eval_interval=eval_interval, eval_episodes=eval_episodes
        )
        if steps_per_round % num_envs:
            raise MaxEntError(
                f"steps_per_round {steps_per_round} must be a multiple of num_envs {num_envs}, since all copies step "
                f"together: try {num_envs * max(1, round(steps_per_round / num_envs))}."
            )
        if eval_interval % steps_per_round:
            raise MaxEntError(
                f"eval_interval {eval_interval} must be a multiple of steps_per_round {steps_per_round}: try "
                f"{steps_per_round * max(1, round(eval_interval / steps_per_round))}."
            )
        if eval_envs is not None and eval_envs < 0:
            raise MaxEntError(f"eval_envs must be a number of copies, 0 for those of training, but is {eval_envs}.")
        self.make_env = env_maker(env_id, env_kwargs)
        self.env_id, self.num_envs, self.steps_per_round = env_id, num_envs, steps_per_round
        # As text, whatever is in them: to be saved, and compared on resume.
        self.env_kwargs = json.dumps(env_kwargs or {}, sort_keys=True, default=lambda part: type(part).__name__)
        self.eval_interval, self.eval_episodes = eval_interval, eval_episodes
        self.eval_envs = min(eval_episodes, EVALUATION_ENVS if eval_envs is None else eval_envs)
        self.max_joint_actions = max_joint_actions
        self.action_bounds = action_bounds and [float(bound) for bound in action_bounds]
        self._build_observation_scaling = observation_scaling
        self.reward_scaling = reward_scaling(num_envs)
        self.env_steps = 0
        self.runner: AbstractRunner | None = None
        self._copies = EnvCopies(self.make_env, num_envs, self.eval_envs)
        self._finished: list[tuple[float, int]] = []  # episodes of runners that evaluation ended
        self._trains = False

    @property
    def saved_bytes(self) -> int:
        """The most that a checkpoint keeps of the data in files of their own, beside itself."""
        return 0

    @cached_property
    def _spaces(self) -> tuple[spaces.Space, AbstractActionCodec]:
        env = self.make_env()
        try:
            seen = env.get_wrapper_attr("env").observation_space
            say_that_images_are_flattened(self.env_id, seen)
            actions = bounded(self.env_id, env.action_space, self.action_bounds)
            return seen, action_codec(self.env_id, actions, self.max_joint_actions)
        finally:
            env.close()

    @property
    def observation_space(self) -> spaces.Space:
        """The environment's own, before observations are flattened; makes the environment once to look."""
        return self._spaces[0]

    @property
    def obs_dim(self) -> int:
        """Size of the flattened observation; makes the environment once to look."""
        return flatdim(self.observation_space)

    @property
    def actions(self) -> AbstractActions:
        """The action space; makes the environment once to look."""
        return self.codec.actions

    @property
    def codec(self) -> AbstractActionCodec:
        """Between the learner's actions and the environment's; makes the environment once to look."""
        return self._spaces[1]

    @cached_property
    def observation_scaling(self) -> AbstractObservationScaling:
        """How the learner sees observations; a part of the state saved."""
        return self._build_observation_scaling(self.obs_dim)

    @property
    def _scalings(self) -> dict[str, AbstractObservationScaling | AbstractRewardScaling]:
        return {"observation_scaling": self.observation_scaling, "reward_scaling": self.reward_scaling}

    # ---- training ---------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self._trains = stage == "fit"
        if self._trains:
            self.env_steps = 0
            if (discount := getattr(self._algorithm, "discount", None)) is not None:
                self.reward_scaling.begin(discount)

    def train_dataloader(self) -> RoundStream:
        return RoundStream(self._next_round, self.eval_interval // self.steps_per_round)

    def _next_round(self) -> Round:
        if self.runner is None:
            self._check_resumed()
            codec = self.codec  # looks at a copy and closes it, before others are open
            self.runner = EnvRunner(self._copies.training(), codec, self._seed("train"), self.env_id, self.env_steps)
            self.reward_scaling.restart()
        steps = [self._step(self.runner, passed) for passed in range(0, self.steps_per_round, self.num_envs)]
        rollout = Rollout(*(torch.stack(rows) for rows in zip(*steps)))
        # Taken in whole or not at all: a round that an error cuts short leaves everything at the same moment.
        self._store(rollout)
        for obs, reward, done in zip(rollout.obs, rollout.reward, rollout.done):
            self.observation_scaling.update(obs)
            self.reward_scaling.update(reward, done.numpy())
        self.env_steps += self.steps_per_round
        return Round(self._batch(), self.env_steps)

    def _step(self, runner: AbstractRunner, passed: int) -> Rollout:
        """One step of every environment, ``passed`` environment steps after the start of the round."""
        transition, done = runner.step(self._choose(self.observation_scaling(runner.obs), self.env_steps + passed))
        return Rollout(*transition, torch.from_numpy(done))

    @abstractmethod
    def _choose(self, obs: Float[Tensor, "env obs_dim"], env_steps: int) -> Float[Tensor, "env action_dim"]:
        """Actions to play next, from observations as the learner sees them and the clock."""

    @abstractmethod
    def _store(self, rollout: Rollout) -> None:
        """Take in what was met, as the environments gave it, before scalings learn from it."""

    @abstractmethod
    def _batch(self) -> Transition | Rollout:
        """What the learner gets to see after a round."""

    @property
    def _algorithm(self) -> Any:
        """The Trainer's module: all that data knows of it is ``explore``, ``act`` and, if it has one, its ``discount``."""
        return self.trainer.lightning_module if self.trainer else None

    def _seed(self, purpose: str) -> int:
        """A seed that follows from the run's seed, the clock and what it is for; needs no state to be saved."""
        entropy = [torch.initial_seed(), self.env_steps, *purpose.encode()]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def metrics(self) -> dict[str, float]:
        """Mean return and length of the training episodes that ended since the last call, where any did."""
        finished = self._finished + (self.runner.drain_returns() if self.runner else [])
        self._finished = []
        if not finished:
            return {}
        returns, lengths = zip(*finished)
        return {"train/return_mean": float(np.mean(returns)), "train/length_mean": float(np.mean(lengths))}

    # ---- evaluation -------------------------------------------------------------------------------------------------

    def val_dataloader(self) -> EpisodeStream:
        """Episodes of ``fit`` and ``validate``, which begin at the same starts where seed and clock are the same."""
        return EpisodeStream(partial(self._play, {True: "mode", False: "sample"}), self.eval_episodes)

    def test_dataloader(self) -> EpisodeStream:
        """Episodes from other starts: ``best.ckpt`` was chosen for its return from those of ``fit``, where it had luck too."""
        return EpisodeStream(partial(self._play, {True: "test mode", False: "test sample"}), self.eval_episodes)

    def _play(self, purposes: dict[bool, str], deterministic: bool) -> Iterator[Episode]:
        if self._copies.shared:
            self._end_training_episodes()
        codec, seed = self.codec, self._seed(purposes[deterministic])
        runner = EnvRunner(self._copies.evaluation(), codec, seed, f"{self.env_id} in evaluation")
        for episode in play_episodes(runner, self._act, self.eval_episodes, deterministic):
            yield episode._replace(
                obs=self.observation_scaling(episode.obs),
                learner_reward=episode.reward * self.reward_scaling.scale(),
            )

    def _end_training_episodes(self) -> None:
        """Evaluation takes the environments: the next round begins new episodes in them, just as it does on resume."""
        if isinstance(self.runner, EnvRunner):
            self._finished += self.runner.drain_returns()
            self.runner = None

    def _act(self, obs: Float[Tensor, "env obs_dim"], deterministic: bool) -> Float[Tensor, "env action_dim"]:
        return self._algorithm.act(self.observation_scaling(obs), deterministic)

    def teardown(self, stage: str) -> None:
        if self.runner is not None:
            self.runner.close()
        self._copies.close()
        self.runner = None

    # ---- saving -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        state = {
            name: getattr(self, name) for name in ("env_id", "env_kwargs", "action_bounds", "num_envs", "env_steps")
        }
        return state | {name: _saved(scaling) for name, scaling in self._scalings.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in ("env_id", "env_kwargs", "action_bounds") if self._trains else ():
            here = getattr(self, name)
            if (there := state_dict.get(name, here)) != here:
                raise MaxEntError(
                    f"The checkpoint was made with {name} {there}, but it is {here} here, and a run stays with its "
                    f"environment: resume with that one, or begin a new run with these weights by the callback WarmStart."
                )
        self.env_steps = state_dict["env_steps"]
        self.load_scalings(state_dict)

    def load_scalings(self, state_dict: dict[str, Any]) -> None:
        """Take on the scalings alone of the state of a DataModule, whose networks have learned with them.

        Raises:
            MaxEntError: if they are of another kind.
        """
        for name, scaling in self._scalings.items():
            _restore(name, scaling, state_dict.get(name, {}))

    def _check_resumed(self) -> None:
        """Lightning keys this state by class name and is silent where it finds none."""
        if self.trainer is not None and self.trainer.global_step and not self.env_steps:
            raise MaxEntError(
                f"The clock stands at {self.trainer.global_step} environment steps, but its data at none: the "
                f"checkpoint was made with another DataModule than {type(self).__name__}; resume with the "
                f"configuration that made it."
            )


def _saved(scaling: AbstractObservationScaling | AbstractRewardScaling) -> dict[str, Any]:
    return {"kind": type(scaling).__name__, "state": scaling.state_dict()}


def _restore(name: str, scaling: AbstractObservationScaling | AbstractRewardScaling, saved: dict[str, Any]) -> None:
    """Networks that learned from observations or rewards of one scale mean nothing on another."""
    if saved.get("kind") != type(scaling).__name__:
        raise MaxEntError(
            f"The checkpoint was made with {name} {saved.get('kind', 'unknown')}, but it is {type(scaling).__name__} "
            f"here: resume with the configuration that made it."
        )
    scaling.load_state_dict(saved["state"])
