"""The base class of the DataModules: environments, scalings, the count of environment steps, and evaluation."""

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property, partial
from math import ceil, gcd
from typing import Any

import gymnasium as gym
import numpy as np
import pytorch_lightning as pl
import torch
from gymnasium import spaces
from gymnasium.spaces import flatdim
from jaxtyping import Float
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_maxent.actions import AbstractActions
from lightning_maxent.data.action_codec import AbstractActionCodec, action_codec, bounded
from lightning_maxent.data.camera import follow_robot
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
from lightning_maxent.data.spaces import check_render_mode, make_env, say_that_images_are_flattened
from lightning_maxent.data.vectorization import OneProcess, VectorizationBuilder
from lightning_maxent.data.wrapping import WrapperBuilder, named
from lightning_maxent.distributed import gathered, gathered_rows, processes
from lightning_maxent.errors import MaxEntError, check_positive, restoring
from lightning_maxent.transition import Episode, Rollout, Round, Transition

EVALUATION_ENVS = 16  # default number of environments for evaluation; each plays several episodes if there are more


class RoundStream:
    """One epoch: the rounds between two evaluations.

    It has a length, because Lightning would otherwise fetch the next round before the update of the current one.
    """

    def __init__(self, next_round: Callable[[], Round], length: int):
        self._next_round, self._length = next_round, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Round]:
        for _ in range(self._length):
            yield self._next_round()

    def state_dict(self) -> dict[str, Any]:
        """An empty dictionary, because the DataModule saves the state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Does nothing.  Lightning only resumes in the middle of an epoch if this method exists."""


class EpisodeStream:
    """One evaluation: ``episodes`` episodes with deterministic actions, then as many with sampled actions."""

    def __init__(self, play: Callable[[bool], Iterator[Episode]], episodes: int):
        self._play, self._episodes = play, episodes

    def __len__(self) -> int:
        return 2 * self._episodes

    def __iter__(self) -> Iterator[Episode]:
        yield from self._play(True)
        yield from self._play(False)


class EnvironmentDataModule(pl.LightningDataModule, ABC):
    """Steps environments with the actions of the Trainer's module, which has the methods ``explore`` and ``act``.

    A round is ``steps_per_round`` environment steps, followed by one training step.  When a run resumes, its
    environments go on with their episodes if their state can be saved (see ``data.env_states``).

    If several processes train the model, each has its own environments: ``num_envs`` and ``steps_per_round`` are those
    of one process.  ``env_steps``, ``eval_interval`` and all other clocks count the environment steps of all processes,
    and scalings learn from all of them.

    Args:
        env_id: Gymnasium id of the environment, or ``module:Id``.
        env_kwargs: keyword arguments of the environment.
        num_envs: number of parallel copies of the environment.
        steps_per_round: number of environment steps per round, summed over all copies.
        eval_interval: number of environment steps between two evaluations.
        eval_episodes: number of episodes per evaluation with deterministic actions, and again with sampled actions.
        eval_envs: number of environments for evaluation, at most one per episode; null for up to 16.  With 0, the
            training environments are used: their episodes are cut off and start anew after the evaluation, and an
            environment without a time limit gets one of 10,000 steps.
        max_joint_actions: largest number of combinations for which a MultiDiscrete action becomes one Discrete action;
            beyond it, the parts of the action become independent factors.
        action_bounds: [low, high], which replace the infinite bounds of a Box action space; finite bounds stay.
        observation_scaling: builds the scaling of observations from ``obs_dim``.
        reward_scaling: builds the scaling of rewards from ``num_envs``.
        wrappers: builders of wrappers around every copy of the environment, in this order, such as one that changes
            observations.
        train_wrappers: further wrappers, around the copies for training only, such as one that shapes rewards; they keep
            the spaces.
        eval_wrappers: further wrappers, around the copies for evaluation only; they keep the spaces.
        vectorization: how the copies run, in training and in evaluation: ``lightning_maxent.OneProcess``,
            ``lightning_maxent.WorkerProcesses``, or another builder of a Gymnasium ``VectorEnv``.

    Raises:
        MaxEntError: for a number out of range, or numbers that contradict each other; in ``setup``, for a wrapper that
            cannot be built or that changes the spaces of only some copies.
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
        wrappers: list[WrapperBuilder] | None = None,
        train_wrappers: list[WrapperBuilder] | None = None,
        eval_wrappers: list[WrapperBuilder] | None = None,
        vectorization: VectorizationBuilder = OneProcess,
    ):
        super().__init__()
        check_positive(
            num_envs=num_envs, steps_per_round=steps_per_round, eval_interval=eval_interval, eval_episodes=eval_episodes
        )
        if steps_per_round % num_envs:
            raise MaxEntError(
                f"steps_per_round {steps_per_round} must be a multiple of num_envs {num_envs}, because all copies "
                f"take steps together: try {nearest_multiple(steps_per_round, num_envs)}."
            )
        if eval_interval % steps_per_round:
            raise MaxEntError(
                f"eval_interval {eval_interval} must be a multiple of steps_per_round {steps_per_round}: try "
                f"{nearest_multiple(eval_interval, steps_per_round)}."
            )
        if eval_envs is not None and eval_envs < 0:
            raise MaxEntError(
                f"eval_envs must not be negative, but is {eval_envs}; 0 evaluates in the training environments."
            )
        everywhere = {"wrappers": wrappers or []}
        self.wrappers = named(everywhere["wrappers"])
        self._own_wrappers = {"train_wrappers": train_wrappers or [], "eval_wrappers": eval_wrappers or []}
        self._given_env_kwargs, self._everywhere = env_kwargs or {}, everywhere
        self.env_id, self.num_envs, self.steps_per_round = env_id, num_envs, steps_per_round
        # Text can be saved, and compared on resume, for values of any type.
        self.env_kwargs = json.dumps(env_kwargs or {}, sort_keys=True, default=lambda part: type(part).__name__)
        self.eval_interval, self.eval_episodes = eval_interval, eval_episodes
        self.eval_envs = min(eval_episodes, EVALUATION_ENVS if eval_envs is None else eval_envs)
        self.max_joint_actions = max_joint_actions
        self.action_bounds = action_bounds and [float(bound) for bound in action_bounds]
        self._build_observation_scaling, self._build_reward_scaling = observation_scaling, reward_scaling
        self.reward_scaling = reward_scaling(num_envs)
        self.env_steps = 0
        self.runner: AbstractRunner | None = None
        if self.eval_envs == 0 and any(self._own_wrappers.values()):
            raise MaxEntError(
                "eval_envs 0 evaluates in the copies of training, which cannot have other wrappers in evaluation: give "
                "all wrappers in wrappers, and leave out train_wrappers and eval_wrappers."
            )
        self._make = {
            option: partial(make_env, env_id, env_kwargs, everywhere | {option: own}, option.partition("_")[0])
            for option, own in self._own_wrappers.items()
        }
        make_train, make_eval = self._make["train_wrappers"], self._make["eval_wrappers"]
        self._open = partial(EnvCopies, make_train, make_eval, num_envs, vectorization=vectorization)
        self._copies = self._open(eval_envs=self.eval_envs)
        self._finished: list[tuple[float, int]] = []  # return and length of episodes of closed runners
        self._saved_episodes: dict[str, Any] | str | None = None  # of the checkpoint from which the run resumes
        self._collecting = False
        self._told_of_new_episodes = False
        self._trains = False
        self._shared_by = 1  # the number of processes that the parts above are built for

    @property
    def saved_bytes(self) -> int:
        """The largest size of the data that a checkpoint saves in separate files."""
        return 0

    @cached_property
    def _spaces(self) -> tuple[spaces.Space, spaces.Space]:
        """The spaces of observations, before flattening, and of actions."""
        spaces_of_env = _spaces_of(self.make_env)
        say_that_images_are_flattened(self.env_id, spaces_of_env[0])
        return spaces_of_env

    def make_env(self, render_mode: str | None = None) -> gym.Env:
        """A new copy of the environment with its ``wrappers``, whose observations are checked and flattened.

        Args:
            render_mode: replaces the render mode in ``env_kwargs``, such as ``rgb_array``; None changes nothing.

        Raises:
            MaxEntError: if the environment cannot be made or does not have the render mode.
        """
        env_kwargs = self._given_env_kwargs
        if render_mode is not None:
            check_render_mode(self.env_id, env_kwargs, render_mode)
            env_kwargs = env_kwargs | {"render_mode": render_mode}
        with warnings.catch_warnings():  # Gymnasium opens the window of an environment that only gives pictures
            warnings.filterwarnings("ignore", ".*'human' rendering")
            env = make_env(self.env_id, env_kwargs, self._everywhere)
        if render_mode is not None:
            follow_robot(env)
        return env

    @property
    def observation_space(self) -> spaces.Space:
        """The observation space of the environment with its ``wrappers``, before flattening.

        The first access creates an environment.
        """
        return self._spaces[0]

    @property
    def obs_dim(self) -> int:
        """Size of the flattened observation; the first access creates an environment."""
        return flatdim(self.observation_space)

    @property
    def actions(self) -> AbstractActions:
        """The action space; the first access creates an environment."""
        return self.codec.actions

    @cached_property
    def codec(self) -> AbstractActionCodec:
        """Converts actions of the policy to actions of the environment; the first access creates an environment."""
        actions = bounded(self.env_id, self._spaces[1], self.action_bounds)
        return action_codec(self.env_id, actions, self.max_joint_actions)

    @cached_property
    def observation_scaling(self) -> AbstractObservationScaling:
        """The scaling of observations, a part of the saved state."""
        return self._build_observation_scaling(self.obs_dim)

    @property
    def _scalings(self) -> dict[str, AbstractObservationScaling | AbstractRewardScaling]:
        return {"observation_scaling": self.observation_scaling, "reward_scaling": self.reward_scaling}

    # ---- training ---------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        self._trains = stage == "fit"
        self._check_own_wrappers()
        if processes() != self._shared_by:
            self._shared_by = processes()
            self._copies = self._open(eval_envs=min(self.eval_envs, self._own_episodes))
            self.reward_scaling = self._build_reward_scaling(self.num_envs * processes())
        if self._trains:
            self.check_processes(processes())
            self._say_ratio()
            self.env_steps = 0
            if (discount := getattr(self._algorithm, "discount", None)) is not None:
                self.reward_scaling.begin(discount)

    def check_processes(self, count: int) -> None:
        """Raise ``MaxEntError`` unless ``count`` processes can train together with these numbers."""
        if self.eval_interval % (self.steps_per_round * count):
            raise MaxEntError(
                f"eval_interval {self.eval_interval} counts the environment steps of all processes, so it must be a "
                f"multiple of steps_per_round {self.steps_per_round} times {count} processes: set --data.eval_interval "
                f"{nearest_multiple(self.eval_interval, self.steps_per_round * count)}."
            )

    @property
    def _steps_of_all(self) -> int:
        """The environment steps of a round in all processes."""
        return self.steps_per_round * processes()

    @property
    def _own_episodes(self) -> int:
        """The episodes of an evaluation that this process plays, with deterministic actions and again with sampled ones."""
        return ceil(self.eval_episodes / processes())

    def _check_own_wrappers(self) -> None:
        """Make and close a copy with each kind of wrappers, so that a mistake shows before training and not after it."""
        for option, make in self._make.items():
            if not self._own_wrappers[option]:
                continue
            for kind, expected, found in zip(("observation", "action"), self._spaces, _spaces_of(make)):
                if found != expected and (kind == "action" or flatdim(found) != flatdim(expected)):
                    raise MaxEntError(
                        f"data.{option} change the {kind} space from {expected} to {found}, but all copies need the "
                        f"same: give the wrapper that does so in data.wrappers."
                    )

    def _say_ratio(self) -> None:
        if (updates := self._updates_per_round()) is not None:
            rank_zero_info(f"Training makes {ratio_of_updates(updates, self._steps_of_all)}.")
        if (count := processes()) > 1:
            together = (
                f"{self.num_envs * count:,} environments",
                f"{self._steps_of_all:,} environment steps per round",
                *self._said_of_updates(count),
                f"{self._own_episodes * count:,} episodes per evaluation",
            )
            rank_zero_info(f"{count} processes; together {', '.join(together)}.")

    def _said_of_updates(self, count: int) -> list[str]:
        """What to say of an update of ``count`` processes together."""
        return []

    @abstractmethod
    def _updates_per_round(self) -> int | None:
        """The number of updates after a round; None if only the algorithm knows."""

    def train_dataloader(self) -> RoundStream:
        return RoundStream(self._next_round, self.eval_interval // self._steps_of_all)

    def _next_round(self) -> Round:
        if self.runner is None:
            self._check_resumed()
            codec = self.codec  # may create and close an environment, so before the training environments exist
            runner = EnvRunner(self._copies.training(), codec, self._seed("train"), self.env_id, self.env_steps)
            self.runner = runner
            if not self._continue_episodes(runner):
                self.reward_scaling.restart()
        self._collecting = True
        steps = [self._step(self.runner, passed) for passed in range(0, self.steps_per_round, self.num_envs)]
        rollout = Rollout(*(torch.stack(rows) for rows in zip(*steps)))
        # An error in the middle of a round leaves the buffer, the scalings and the step count as they were.
        self._store(rollout)
        for obs, reward, done in zip(*self._seen_by_scalings(rollout)):
            self.observation_scaling.update(obs)
            self.reward_scaling.update(reward, done.numpy())
        self.env_steps += self._steps_of_all
        self._collecting = False
        return Round(self._batch(), self.env_steps)

    def _continue_episodes(self, runner: EnvRunner) -> bool:
        """Go on with the episodes of the checkpoint, if there is one; whether the environments do so."""
        saved, self._saved_episodes = self._saved_episodes, None
        if saved is None:
            return False
        if reason := saved if isinstance(saved, str) else runner.load_state_dict(saved):
            rank_zero_info(f"The environments begin new episodes, because {reason}.")
            return False
        return True

    def _episodes_to_save(self) -> dict[str, Any]:
        """The state of the training episodes, with which a run that resumes goes on; empty between two episodes.

        An error in the middle of a round leaves the environments ahead of the saved data, so they are not saved then.
        """
        if self.runner is None and self._saved_episodes is not None:
            return {"episodes": self._saved_episodes}  # resumed, and not yet gone on
        if not isinstance(self.runner, EnvRunner) or self._collecting:
            return {}
        state = self.runner.state_dict()
        if isinstance(state, str) and not self._told_of_new_episodes:
            self._told_of_new_episodes = True
            rank_zero_info(
                f"The state of {self.env_id} cannot be saved, because {state}: if this run resumes, its environments begin "
                f"new episodes."
            )
        return {"episodes": state}

    def _seen_by_scalings(self, rollout: Rollout) -> tuple[Tensor, Tensor, Tensor]:
        """Observations, rewards and ends of episodes, ``[time, env, ...]`` of all processes where a scaling learns."""
        obs, reward, done = rollout.obs, rollout.reward, rollout.done
        if self.observation_scaling.learns:
            obs = gathered_rows(obs, 1)
        if self.reward_scaling.learns:
            reward, done = gathered_rows(reward, 1), gathered_rows(done, 1)
        return obs, reward, done

    def _step(self, runner: AbstractRunner, passed: int) -> Rollout:
        """Take one step in every environment, ``passed`` environment steps after the start of the round."""
        env_steps = self.env_steps + passed * processes()
        transition, done = runner.step(self._choose(self.observation_scaling(runner.obs), env_steps))
        return Rollout(*transition, torch.from_numpy(done))

    @abstractmethod
    def _choose(self, obs: Float[Tensor, "env obs_dim"], env_steps: int) -> Float[Tensor, "env action_dim"]:
        """The next actions, given scaled observations and the number of environment steps so far."""

    @abstractmethod
    def _store(self, rollout: Rollout) -> None:
        """Store the unscaled transitions of a round; called before the scalings are updated with them."""

    @abstractmethod
    def _batch(self) -> Transition | Rollout:
        """The data of the training step after a round."""

    @property
    def _algorithm(self) -> Any:
        """The Trainer's module.  Only ``explore``, ``act`` and, if it has them, ``discount`` and ``feeding`` are used."""
        return self.trainer.lightning_module if self.trainer else None

    def _seed(self, purpose: str) -> int:
        """A seed computed from the run's seed, the environment steps so far and the purpose."""
        entropy = [torch.initial_seed(), self.env_steps, *purpose.encode()]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def metrics(self) -> dict[str, float]:
        """Mean return and length of the training episodes that ended since the last call, in all processes.

        Empty if none ended.
        """
        own = self._finished + (self.runner.drain_returns() if self.runner else [])
        finished = [episode for each in gathered(own) for episode in each]
        self._finished = []
        if not finished:
            return {}
        returns, lengths = zip(*finished)
        return {"train/return_mean": float(np.mean(returns)), "train/length_mean": float(np.mean(lengths))}

    # ---- evaluation -------------------------------------------------------------------------------------------------

    def val_dataloader(self) -> EpisodeStream:
        """Episodes of ``fit`` and ``validate``; equal seeds and environment steps give equal initial states."""
        return EpisodeStream(partial(self._play, {True: "mode", False: "sample"}), self._own_episodes)

    def test_dataloader(self) -> EpisodeStream:
        """Episodes with other initial states than in ``fit``, whose returns were used to choose ``best.ckpt``."""
        return EpisodeStream(partial(self._play, {True: "test mode", False: "test sample"}), self._own_episodes)

    def _play(self, purposes: dict[bool, str], deterministic: bool) -> Iterator[Episode]:
        if self._copies.shared:
            self._end_training_episodes()
        codec, seed = self.codec, self._seed(purposes[deterministic])
        runner = EnvRunner(self._copies.evaluation(), codec, seed, f"{self.env_id} in evaluation")
        for episode in play_episodes(runner, self._act, self._own_episodes, deterministic):
            yield episode._replace(
                obs=self.observation_scaling(episode.obs),
                learner_reward=episode.reward * self.reward_scaling.scale(),
            )

    def _end_training_episodes(self) -> None:
        """End the training episodes, because evaluation uses their environments; the next round starts new episodes."""
        if isinstance(self.runner, EnvRunner):
            self._finished += self.runner.drain_returns()
            self.runner = None

    def _act(self, obs: Float[Tensor, "env obs_dim"], deterministic: bool) -> Float[Tensor, "env action_dim"]:
        return self._algorithm.act(self.observation_scaling(obs), deterministic)

    def teardown(self, stage: str) -> None:
        runner, self.runner = self.runner, None
        with ExitStack() as stack:
            stack.callback(self._copies.close)
            if runner is not None:
                stack.callback(runner.close)

    def on_exception(self, exception: BaseException) -> None:
        """Close the environments: Lightning does not call ``teardown`` after an error."""
        self.teardown("fit")

    # ---- saving -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        state = {
            name: getattr(self, name)
            for name in ("env_id", "env_kwargs", "wrappers", "action_bounds", "num_envs", "env_steps")
        }
        if processes() > 1:
            state["processes"] = processes()
        self._finished += self.runner.drain_returns() if self.runner else []
        state["finished"] = list(self._finished)
        return state | self._episodes_to_save() | {name: _saved(scaling) for name, scaling in self._scalings.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the data of a run.

        Raises:
            MaxEntError: if the state is of another environment or other scalings, or is damaged.
        """
        with restoring("The saved state of the data"):
            self._restore(state_dict)

    def _restore(self, state_dict: dict[str, Any]) -> None:
        for name in ("env_id", "env_kwargs", "wrappers", "action_bounds") if self._trains else ():
            here = getattr(self, name)
            if (there := state_dict.get(name, here)) != here:
                raise MaxEntError(
                    f"The checkpoint was made with {name} {there}, but the configuration has {here}: resume with the same "
                    f"environment, or start a new run from these weights with the callback WarmStart."
                )
        if self._trains and (count := state_dict.get("processes", 1)) != processes():
            rank_zero_info(_shared_out(count, processes()))
        self.env_steps = state_dict["env_steps"]
        self.load_scalings(state_dict)
        if self._trains:
            self._finished = [(episode_return, length) for episode_return, length in state_dict.get("finished", [])]
            self._saved_episodes = state_dict.get("episodes")
            same = state_dict["num_envs"] == self.num_envs and state_dict.get("processes", 1) == processes()
            if self._saved_episodes is not None and not same:
                self._saved_episodes = "the checkpoint was made with another number of them"

    def load_scalings(self, state_dict: dict[str, Any]) -> None:
        """Load only the scalings of observations and rewards from the state of a DataModule.

        Raises:
            MaxEntError: if the class of a scaling is different.
        """
        for name, scaling in self._scalings.items():
            _restore_scaling(name, scaling, state_dict.get(name, {}))

    def _check_resumed(self) -> None:
        """Raise ``MaxEntError`` if a run resumed without the state of its data; Lightning does not warn of this."""
        if self.trainer is not None and self.trainer.global_step and not self.env_steps:
            raise MaxEntError(
                f"The checkpoint is at {self.trainer.global_step} environment steps, but holds no state of "
                f"{type(self).__name__}: it was made with another DataModule; resume with the same configuration."
            )


def ratio_of_updates(updates: int, env_steps: int) -> str:
    """``20 updates per environment step``, ``1 update per 1,024 environment steps``, and the like."""
    divisor = gcd(updates, env_steps)
    updates, env_steps = updates // divisor, env_steps // divisor
    if not updates:
        return "no updates"
    steps = "environment step" if env_steps == 1 else f"{env_steps:,} environment steps"
    return f"{updates:,} update{'s' if updates > 1 else ''} per {steps}"


def nearest_multiple(number: int, unit: int) -> int:
    """The multiple of ``unit`` that is closest to ``number``, but not 0."""
    return unit * max(1, round(number / unit))


def _shared_out(saved: int, now: int) -> str:
    """What becomes of the data of ``saved`` processes in a run that goes on with ``now``."""
    what = (
        "some processes start with copies of the same data"
        if now > saved
        else "each process takes over the data of several"
        if now > 1
        else f"it takes over the data of all {saved}"
    )
    return f"The checkpoint was saved by {saved} {'process' if saved == 1 else 'processes'}, and the run goes on with {now}: {what}."


def _spaces_of(make: Callable[[], gym.Env]) -> tuple[spaces.Space, spaces.Space]:
    """The spaces of observations, before flattening, and of actions; makes a copy and closes it."""
    env = make()
    try:
        return env.get_wrapper_attr("env").observation_space, env.action_space
    finally:
        env.close()


def _saved(scaling: AbstractObservationScaling | AbstractRewardScaling) -> dict[str, Any]:
    return {"kind": type(scaling).__name__, "state": scaling.state_dict()}


def _restore_scaling(
    name: str, scaling: AbstractObservationScaling | AbstractRewardScaling, saved: dict[str, Any]
) -> None:
    """Load the state of a scaling, or raise ``MaxEntError`` if its class is different."""
    if saved.get("kind") != type(scaling).__name__:
        raise MaxEntError(
            f"The checkpoint was made with {name} {saved.get('kind', 'unknown')}, but the configuration has "
            f"{type(scaling).__name__}: resume with the same configuration."
        )
    scaling.load_state_dict(saved["state"])
