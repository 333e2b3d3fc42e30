"""What travels between environments, buffer and algorithm."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor


class Transition(NamedTuple):
    """Environment transitions; actions lie in [-1, 1], finite ones are one-hot (see ``lightning_maxent.actions``).

    ``next_obs`` is the true next observation, never the first one of the next episode.  ``terminated`` is the end of
    the decision process; an episode cut by a time limit is not terminated and bootstraps.
    """

    obs: Float[Tensor, "*batch obs_dim"]
    action: Float[Tensor, "*batch action_dim"]
    reward: Float[Tensor, "*batch"]
    next_obs: Float[Tensor, "*batch obs_dim"]
    terminated: Bool[Tensor, "*batch"]


class Rollout(NamedTuple):
    """What one policy met in environments side by side, in order; the fields are those of ``Transition``.

    Actions are as drawn: those beyond [-1, 1] were clipped before they were played.  ``done`` marks the last step of an
    episode, whether terminated or cut by a time limit; the next row is then the first of another one.
    """

    obs: Float[Tensor, "time env obs_dim"]
    action: Float[Tensor, "time env action_dim"]
    reward: Float[Tensor, "time env"]
    next_obs: Float[Tensor, "time env obs_dim"]
    terminated: Bool[Tensor, "time env"]
    done: Bool[Tensor, "time env"]


class Round(NamedTuple):
    """What one training step receives: ``[updates, batch]`` transitions or a rollout, and the clock after them."""

    batch: Transition | Rollout
    env_steps: int


class Episode(NamedTuple):
    """One whole evaluation episode of ``time`` steps, played with the policy's mode or with its samples.

    ``obs`` and ``learner_reward`` are as the learner sees them, ``reward`` is the environment's own.
    """

    obs: Float[Tensor, "time+1 obs_dim"]
    action: Float[Tensor, "time action_dim"]
    reward: Float[Tensor, " time"]
    learner_reward: Float[Tensor, " time"]
    terminated: bool
    deterministic: bool
