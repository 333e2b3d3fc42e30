"""Markov decision processes with finitely many states and actions, as arrays."""

from dataclasses import dataclass
from functools import cached_property

import gymnasium as gym
import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csgraph, csr_array

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact.checks import ROUNDING, check_discount, distribution


@dataclass(frozen=True, eq=False, init=False, repr=False)
class FiniteMDP:
    """A Markov decision process.  Its arrays are read-only.

    Entering a terminal state ends the episode.  The value of a terminal state is zero, and its rows of ``transition``
    are never used, so they need not sum to one.

    Args:
        transition: probability of the next state, either dense ``[state, action, next state]`` or any ``scipy.sparse``
            matrix ``[state * action, next state]`` with the row ``state * actions + action``.  Stored as the latter.
        reward: expected reward ``[state, action]``.
        discount: in [0, 1]; for 1, a terminal state must be reachable from every state.
        terminal: booleans ``[state]``; by default no state is terminal.
        start: probability ``[state]`` of the first state; by default uniform over the states that are not terminal.

    Raises:
        MaxEntError: for arrays whose shapes do not match, that are not finite or not probabilities, or for a discount
            that makes values infinite.
    """

    transition: csr_array
    reward: Float64[np.ndarray, "state action"]
    discount: float
    terminal: Bool[np.ndarray, " state"]
    start: Float64[np.ndarray, " state"]

    def __init__(
        self,
        transition: ArrayLike | sparse.sparray | sparse.spmatrix,
        reward: ArrayLike,
        discount: float,
        terminal: ArrayLike | None = None,
        start: ArrayLike | None = None,
    ):
        rewards = _reward(reward)
        ends = _terminal(terminal, len(rewards))
        rows = _transition(transition, rewards.shape, ends)
        check_discount(discount)
        first = _start(start, ends)
        for array in (rewards, ends, first):
            array.setflags(write=False)
        fields = {
            "transition": _read_only(rows),
            "reward": rewards,
            "discount": discount,
            "terminal": ends,
            "start": first,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        if discount == 1:
            self._check_that_episodes_end()

    @property
    def states(self) -> int:
        return self.reward.shape[0]

    @property
    def actions(self) -> int:
        return self.reward.shape[1]

    @cached_property
    def continuation(self) -> csr_array:
        """``transition`` with zero probability into and out of terminal states: steps that do not end the episode."""
        lasting = (~self.terminal).astype(float)
        return _read_only(
            sparse.diags_array(np.repeat(lasting, self.actions)) @ self.transition @ sparse.diags_array(lasting)
        )

    def can_terminate(self, policy: Float64[np.ndarray, "state action"]) -> Bool[np.ndarray, " state"]:
        """The states from which ``policy`` reaches a terminal state with positive probability."""
        if not self.terminal.any():
            return self.terminal
        backwards = chain(self.transition, policy).T
        steps = csgraph.dijkstra(backwards, indices=np.flatnonzero(self.terminal), unweighted=True, min_only=True)
        return np.isfinite(steps)

    def _check_that_episodes_end(self) -> None:
        if not self.terminal.any():
            raise MaxEntError(
                "Without terminal states, values at discount 1 would be infinite: give a discount below 1 or terminal "
                "states."
            )
        endless = np.flatnonzero(~self.can_terminate(np.full(self.reward.shape, 1 / self.actions)))
        if endless.size:
            raise MaxEntError(
                f"At discount 1 every state must lead to a terminal one, but state {endless[0]} does not: give a "
                f"discount below 1, or make it terminal."
            )


def chain(transition: csr_array, policy: Float64[np.ndarray, "state action"]) -> csr_array:
    """Transition probabilities ``[state, next state]`` under a policy, from ``[state * action, next state]``."""
    states, actions = policy.shape
    rows = np.arange(states * actions)
    choice = csr_array((policy.ravel(), rows, np.arange(states + 1) * actions), shape=(states, states * actions))
    step = csr_array(choice @ transition)
    step.eliminate_zeros()
    return step


def _read_only(matrix: csr_array) -> csr_array:
    for array in (matrix.data, matrix.indices, matrix.indptr):
        array.setflags(write=False)
    return matrix


def _reward(reward: ArrayLike) -> Float64[np.ndarray, "state action"]:
    rewards = np.array(reward, dtype=np.float64)
    if rewards.ndim != 2 or 0 in rewards.shape:
        raise MaxEntError(f"The reward must be an array [state, action], but has the shape {rewards.shape}.")
    if not np.isfinite(rewards).all():
        state, action = np.argwhere(~np.isfinite(rewards))[0]
        raise MaxEntError(
            f"The reward of state {state}, action {action} is {rewards[state, action]}, not a finite number."
        )
    return rewards


def _terminal(terminal: ArrayLike | None, states: int) -> Bool[np.ndarray, " state"]:
    ends = np.zeros(states, dtype=bool) if terminal is None else np.array(terminal)
    if ends.dtype != bool or ends.shape != (states,):
        raise MaxEntError(
            f"terminal must hold one boolean per state, {states} of them, but is {ends.dtype} of the shape "
            f"{ends.shape}."
        )
    if ends.all():
        raise MaxEntError("Every state is terminal, so no episode can begin: leave at least one state to start from.")
    return ends


def _transition(
    transition: ArrayLike | sparse.sparray | sparse.spmatrix,
    shape: tuple[int, int],
    terminal: Bool[np.ndarray, " state"],
) -> csr_array:
    states, actions = shape
    if sparse.issparse(transition):
        given, needed = sparse.csr_array(transition, dtype=np.float64, copy=True), (states * actions, states)
    else:
        given, needed = np.asarray(transition, dtype=np.float64), (states, actions, states)
    if given.shape != needed:
        raise MaxEntError(
            f"For a reward of the shape {shape}, [state, action], the transition must have the shape {needed}, but has "
            f"{given.shape}."
        )
    rows = csr_array(given.reshape(states * actions, states))
    rows.sum_duplicates()
    for wrong, what in ((~np.isfinite(rows.data), "not a finite number"), (rows.data < 0, "which is negative")):
        if wrong.any():
            entry = int(np.flatnonzero(wrong)[0])
            state, action = divmod(int(np.searchsorted(rows.indptr, entry, side="right")) - 1, actions)
            raise MaxEntError(
                f"The transition of state {state}, action {action} to state {rows.indices[entry]} has the probability "
                f"{rows.data[entry]}, {what}."
            )
    sums = rows.sum(axis=1).reshape(shape)
    wrong = (np.abs(sums - 1) > ROUNDING) & ~terminal[:, None]
    if wrong.any():
        state, action = np.argwhere(wrong)[0]
        raise MaxEntError(
            f"The transition probabilities of state {state}, action {action} must sum to one, but sum to "
            f"{sums[state, action]}."
        )
    rows.eliminate_zeros()
    return rows


def _start(start: ArrayLike | None, terminal: Bool[np.ndarray, " state"]) -> Float64[np.ndarray, " state"]:
    first = distribution("start", ~terminal / np.count_nonzero(~terminal) if start is None else start, terminal.shape)
    if first[terminal].any():
        raise MaxEntError(
            f"start lets episodes begin in state {np.flatnonzero(terminal & (first > 0))[0]}, which is terminal: give "
            f"terminal states the probability zero."
        )
    return first


def random_mdp(
    states: int,
    actions: int,
    seed: int,
    discount: float = 0.9,
    branching: int | None = None,
    terminal_states: int = 1,
) -> FiniteMDP:
    """An MDP with random transitions and standard normal rewards; the last ``terminal_states`` states are terminal.

    Transition probabilities are drawn from the flat Dirichlet distribution, over all states if ``branching`` is None,
    else over ``branching`` states drawn with replacement, which makes the MDP sparse.

    Raises:
        MaxEntError: for sizes that are too small, or if ``discount`` is 1 and no terminal state can be reached.
    """
    if min(states, actions) < 1 or not 0 <= terminal_states < states or (branching is not None and branching < 1):
        raise MaxEntError(
            f"A random MDP needs at least one action, one state that is not terminal and one next state, but was asked "
            f"for {states} states, {terminal_states} of them terminal, {actions} actions and branching {branching}."
        )
    rng = np.random.default_rng(seed)
    reward = rng.standard_normal((states, actions))
    terminal = np.arange(states) >= states - terminal_states
    if branching is None:
        return FiniteMDP(rng.dirichlet(np.ones(states), size=(states, actions)), reward, discount, terminal)
    rows = states * actions
    following = rng.integers(states, size=rows * branching)
    probability = rng.dirichlet(np.ones(branching), size=rows).ravel()
    first = np.arange(rows + 1) * branching
    return FiniteMDP(csr_array((probability, following, first), shape=(rows, states)), reward, discount, terminal)


def read_mdp(env: str | gym.Env, discount: float) -> FiniteMDP:
    """The MDP of a Gymnasium toy-text environment, such as FrozenLake-v1 or Taxi-v4.

    The environment must have the table ``env.unwrapped.P[state][action]``, a list of ``(probability, next state,
    reward, terminated)``.  In the table a transition is terminated; in a ``FiniteMDP`` a state is terminal.  If some
    transitions into a state terminate and others do not, the terminating ones lead to one extra state, appended at the
    end.  The first state follows ``initial_state_distrib`` if the environment has it.  Time limits are left out,
    because they truncate episodes and do not terminate them.

    Args:
        env: an id or an environment.
        discount: in [0, 1].

    Raises:
        MaxEntError: if there is no such environment, or it has no such table.
    """
    world = _open(env)
    table, start = getattr(world, "P", None), getattr(world, "initial_state_distrib", None)
    if isinstance(env, str):
        world.close()
    if not isinstance(table, dict | list):
        raise MaxEntError(
            f"{world} has no table of transitions `P`; give an environment of toy-text, such as FrozenLake-v1, or "
            f"build a FiniteMDP by hand."
        )
    return _from_table(table, start, discount)


def _open(env: str | gym.Env) -> gym.Env:
    if not isinstance(env, str):
        return env.unwrapped
    try:
        return gym.make(env).unwrapped
    except (gym.error.Error, ImportError) as error:
        raise MaxEntError(f"The environment {env!r} cannot be made: {error}") from error


def _from_table(table: dict | list, start: np.ndarray | None, discount: float) -> FiniteMDP:
    states, actions = len(table), len(table[0])
    entries = np.array(
        [
            (state * actions + action, probability, following, reward, terminated)
            for state in range(states)
            for action in range(actions)
            for probability, following, reward, terminated in table[state][action]
        ],
        dtype=np.float64,
    )
    row, following, terminated = entries[:, 0].astype(int), entries[:, 2].astype(int), entries[:, 4] == 1
    probability, reward = entries[:, 1], np.bincount(row, weights=entries[:, 1] * entries[:, 3])
    ending = np.isin(np.arange(states), following[terminated])
    both = ending & np.isin(np.arange(states), following[~terminated])
    if both.any():
        following[terminated & both[following]] = states
        ending = np.append(ending & ~both, True)
        reward = np.append(reward, np.zeros(actions))
        start = None if start is None else np.append(start, 0.0)
    transition = sparse.coo_array((probability, (row, following)), shape=(len(ending) * actions, len(ending)))
    return FiniteMDP(transition, reward.reshape(-1, actions), discount, ending, start)
