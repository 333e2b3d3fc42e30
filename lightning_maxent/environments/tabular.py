"""Finite Markov decision processes as environments: a table, and one who plays it."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.toy_text.utils import categorical_sample
from jaxtyping import Float

from lightning_maxent.exact import FiniteMDP, random_mdp

Outcome = tuple[float, int, float, bool]  # probability, next state, reward, terminated
Table = dict[int, dict[int, list[Outcome]]]  # [state][action]: what may follow


class TabularEnv(gym.Env[Any, Any]):
    """Plays a table in the format of Gymnasium's toy-text environments.

    It carries the table as ``P`` and the distribution of the first state as ``initial_state_distrib``, so that
    ``lightning_maxent.exact.read_mdp`` reads its Markov decision process off.  Shows the state, an integer, unless
    ``observe`` says otherwise; an episode ends where the table says ``terminated``.

    Args:
        table: the outcomes of every action in every state; an absorbing state's own row is never played from.
        start: the probability of each first state, ``[state]``.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own declaration
    state: int

    def __init__(self, table: Table, start: Float[np.ndarray, " state"]):
        self.P, self.initial_state_distrib = table, start
        self.observation_space: spaces.Space = spaces.Discrete(len(table))
        self.action_space = spaces.Discrete(len(table[0]))

    def observe(self, state: int) -> Any:
        """What the agent sees of a state."""
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
    """``lightning_maxent.exact.random_mdp`` to play: a world without structure, for comparisons with exact values.

    ======== ==========================================================================================
    shows    the state: Discrete(states)
    actions  Discrete(actions)
    reward   that of the state and the action, drawn once from the standard normal distribution
    ends     in one of the last ``terminal_states`` states; the time limit truncates after 100 steps
    ======== ==========================================================================================

    Args:
        states: how many, the terminal ones included.
        actions: how many in every state.
        seed: which MDP this is; the seed given to ``reset`` draws the episodes within it.
        branching: how many next states a state and action may have; None for all of them.
        terminal_states: how many states end the episode.

    Raises:
        MaxEntError: for sizes without meaning.
    """

    def __init__(
        self, states: int = 8, actions: int = 3, seed: int = 0, branching: int | None = None, terminal_states: int = 1
    ):
        mdp = random_mdp(states, actions, seed, branching=branching, terminal_states=terminal_states)
        super().__init__(table_of(mdp), mdp.start)


def table_of(mdp: FiniteMDP) -> Table:
    """The table of an MDP, whose terminal states absorb; ``lightning_maxent.exact.read_mdp`` is its inverse."""
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
