"""The data that environments, replay buffer and algorithm exchange."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor


class Transition(NamedTuple):
    """Environment transitions.  Actions lie in [-1, 1]; finite actions are one-hot (see ``lightning_maxent.actions``).

    ``next_obs`` is the true next observation, never the first observation of the next episode.  ``terminated`` marks
    terminal states.  An episode truncated by a time limit is not terminated, so its last step bootstraps.
    """

    obs: Float[Tensor, "*batch obs_dim"]
    action: Float[Tensor, "*batch action_dim"]
    reward: Float[Tensor, "*batch"]
    next_obs: Float[Tensor, "*batch obs_dim"]
    terminated: Bool[Tensor, "*batch"]


class Rollout(NamedTuple):
    """Consecutive steps of one policy in several parallel environments; the fields are those of ``Transition``.

    Actions are unclipped samples of the policy; the environments got them clipped to [-1, 1].  ``done`` marks the last
    step of an episode, terminated or truncated; the next row is then the first step of the next episode.
    """

    obs: Float[Tensor, "time env obs_dim"]
    action: Float[Tensor, "time env action_dim"]
    reward: Float[Tensor, "time env"]
    next_obs: Float[Tensor, "time env obs_dim"]
    terminated: Bool[Tensor, "time env"]
    done: Bool[Tensor, "time env"]


class Round(NamedTuple):
    """The input of a training step: transitions ``[updates, batch]`` or a rollout, and the environment steps so far."""

    batch: Transition | Rollout
    env_steps: int


class Episode(NamedTuple):
    """One complete evaluation episode of ``time`` steps, with deterministic or sampled actions.

    ``obs`` and ``learner_reward`` are scaled as for the learner; ``reward`` is the environment's reward.  ``seed`` is that
    of the reset before the episode; None for an episode that followed another one without a seed.
    """

    obs: Float[Tensor, "time+1 obs_dim"]
    action: Float[Tensor, "time action_dim"]
    reward: Float[Tensor, " time"]
    learner_reward: Float[Tensor, " time"]
    terminated: bool
    deterministic: bool
    seed: int | None = None
