"""Finite Markov decision processes as Gymnasium environments."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.toy_text.utils import categorical_sample
from jaxtyping import Float

from lightning_maxent.exact import FiniteMDP, random_mdp

Outcome = tuple[float, int, float, bool]  # probability, next state, reward, terminated
Table = dict[int, dict[int, list[Outcome]]]  # [state][action]: the possible outcomes


class TabularEnv(gym.Env[Any, Any]):
    """An environment with a table of transitions, in the format of Gymnasium's toy-text environments.

    The attributes ``P`` (the table) and ``initial_state_distrib`` let ``lightning_maxent.exact.read_mdp`` read the MDP.
    The observation is the state, an integer, unless a subclass overrides ``observe``.  An episode ends where the table
    says ``terminated``.

    Args:
        table: the outcomes of every action in every state; the rows of terminal states are not used.
        start: the probability of each first state, ``[state]``.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own declaration
    state: int

    def __init__(self, table: Table, start: Float[np.ndarray, " state"]):
        self.P, self.initial_state_distrib = table, start
        self.observation_space: spaces.Space = spaces.Discrete(len(table))
        self.action_space = spaces.Discrete(len(table[0]))

    def observe(self, state: int) -> Any:
        """The observation in a state."""
        return state

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = int(categorical_sample(self.initial_state_distrib, self.np_random))
        return self.observe(self.state), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        outcomes = self.P[self.state][int(action)]
        chosen = categorical_sample([probability for probability, *_ in outcomes], self.np_random)
        _, self.state, reward, terminated = outcomes[chosen]
        return self.observe(self.state), reward, terminated, False, {}


class RandomMDP(TabularEnv):
    """The MDP of ``lightning_maxent.exact.random_mdp`` as an environment, for comparisons with exact values.

    ======== ==========================================================================================
    obs      the state: Discrete(states)
    actions  Discrete(actions)
    reward   one number per state and action, drawn once from the standard normal distribution
    ends     in one of the last ``terminal_states`` states; the time limit truncates after 100 steps
    ======== ==========================================================================================

    Args:
        states: number of states, including terminal ones.
        actions: number of actions in every state.
        seed: the seed with which the MDP is drawn; the seed of ``reset`` is for the episodes.
        branching: the largest number of next states of a state and action; None for all states.
        terminal_states: number of terminal states.

    Raises:
        MaxEntError: for sizes that are too small.
    """

    def __init__(
        self, states: int = 8, actions: int = 3, seed: int = 0, branching: int | None = None, terminal_states: int = 1
    ):
        mdp = random_mdp(states, actions, seed, branching=branching, terminal_states=terminal_states)
        super().__init__(table_of(mdp), mdp.start)


def table_of(mdp: FiniteMDP) -> Table:
    """The table of an MDP, with absorbing terminal states; the inverse of ``lightning_maxent.exact.read_mdp``."""
    return {
        state: {
            action: [(1.0, state, 0.0, True)] if mdp.terminal[state] else _outcomes(mdp, state, action)
            for action in range(mdp.actions)
        }
        for state in range(mdp.states)
    }


def _outcomes(mdp: FiniteMDP, state: int, action: int) -> list[Outcome]:
    rows, row = mdp.transition, state * mdp.actions + action
    entries = slice(rows.indptr[row], rows.indptr[row + 1])
    reward = float(mdp.reward[state, action])
    return [
        (probability, following, reward, bool(mdp.terminal[following]))
        for probability, following in zip(rows.data[entries].tolist(), rows.indices[entries].tolist())
    ]
