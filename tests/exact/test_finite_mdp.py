import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import (
    FiniteMDP,
    evaluate_policy,
    expected_return,
    random_mdp,
    read_mdp,
    soft_value_iteration,
    value_iteration,
)

TOY_TEXT = ["FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4", "CliffWalking-v1", "CliffWalkingSlippery-v1"]
GOOD = {"transition": [[[0.5, 0.5]], [[0.0, 1.0]]], "reward": [[1.0], [0.0]], "discount": 0.9}


class Table(gym.Env):
    """An environment that consists of its table only."""

    def __init__(self, table):
        self.P = table


def deterministic_frozen_lake(**kwargs):
    return gym.make("FrozenLake-v1", is_slippery=False, **kwargs)


def test_states_and_actions_are_counted_by_the_reward():
    mdp = random_mdp(states=7, actions=3, seed=0)
    assert (mdp.states, mdp.actions, mdp.transition.shape) == (7, 3, (21, 7))


def test_start_is_uniform_over_the_states_that_are_not_terminal():
    assert_allclose(random_mdp(5, 2, seed=0, terminal_states=1).start, [0.25, 0.25, 0.25, 0.25, 0])


def test_without_being_told_no_state_is_terminal():
    assert not FiniteMDP(**GOOD).terminal.any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [sparse.coo_array, sparse.csc_array, sparse.csr_matrix, sparse.lil_array])
def test_sparse_and_dense_transitions_make_the_same_mdp(seed, kind):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(6, 0.3), size=(6, 2))
    reward, terminal = rng.standard_normal((6, 2)), np.arange(6) == 2
    dense = FiniteMDP(transition, reward, 0.9, terminal)
    thin = FiniteMDP(kind(transition.reshape(12, 6)), reward, 0.9, terminal)
    for one, other in zip(soft_value_iteration(dense, 0.3), soft_value_iteration(thin, 0.3)):
        assert_allclose(one, other)


def test_entries_of_a_sparse_transition_for_the_same_next_state_add_up():
    twice = sparse.csr_array(([0.25, 0.5, 0.25, 1.0], [1, 0, 1, 1], [0, 3, 4]), shape=(2, 2))
    mdp = FiniteMDP(twice, [[1.0], [0.0]], 0.9)
    assert_array_equal(mdp.transition.toarray(), [[0.5, 0.5], [0.0, 1.0]])
    assert mdp.transition.nnz == 3


def test_continuing_transitions_neither_enter_nor_leave_terminal_states():
    mdp = FiniteMDP(
        [[[0.2, 0.3, 0.5]], [[0.1, 0.4, 0.5]], [[0.6, 0.2, 0.2]]], np.ones((3, 1)), 0.9, [False, True, False]
    )
    assert_array_equal(mdp.continuation.toarray(), [[0.2, 0.0, 0.5], [0.0, 0.0, 0.0], [0.6, 0.0, 0.2]])


@pytest.mark.parametrize("row", [[0.0, 0.0], [0.3, 0.7], [1.0, 0.0]])
def test_nothing_depends_on_the_rows_of_terminal_states(row):
    mdp = FiniteMDP([[[0.5, 0.5]], [row]], [[1.0], [100.0]], 0.8, [False, True])
    assert_allclose(evaluate_policy(mdp, [[1.0], [1.0]], alpha=1.0).value, [1 / (1 - 0.8 * 0.5), 0.0])
    assert_allclose(value_iteration(mdp).value, [1 / (1 - 0.8 * 0.5), 0.0])


def test_an_mdp_cannot_be_changed_and_keeps_no_hold_of_what_it_was_built_from():
    reward, terminal, start = np.zeros((2, 1)), np.array([False, True]), np.array([1.0, 0.0])
    transition = sparse.csr_array([[0.5, 0.5], [0.0, 1.0]])
    mdp = FiniteMDP(transition, reward, 0.9, terminal, start)
    for array in (
        mdp.reward,
        mdp.terminal,
        mdp.start,
        mdp.transition.data,
        mdp.transition.indices,
        mdp.continuation.data,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        mdp.discount = 0.5
    reward += 1
    terminal[0] = True
    start[:] = 0
    transition.data[:] = 0
    assert (mdp.reward[0, 0], mdp.terminal[0], mdp.start[0], mdp.transition.data[0]) == (0, False, 1, 0.5)


def test_one_field_can_be_replaced():
    mdp = random_mdp(4, 2, seed=0)
    other = dataclasses.replace(mdp, discount=0.5)
    assert other.discount == 0.5
    assert_array_equal(other.transition.toarray(), mdp.transition.toarray())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"transition": [[[0.5, 0.5]], [[0.2, 0.7]]]}, "of state 1, action 0 must sum to one, but sum to 0.8999"),
        (
            {"transition": [[[0.5, 0.5]], [[-0.5, 1.5]]]},
            "of state 1, action 0 to state 0 has the probability -0.5, which is",
        ),
        (
            {"transition": [[[np.nan, 0.5]], [[0, 1]]]},
            "of state 0, action 0 to state 0 has the probability nan, not a fin",
        ),
        (
            {"transition": [[[0.5, np.inf]], [[0, 1]]]},
            "of state 0, action 0 to state 1 has the probability inf, not a fin",
        ),
        ({"transition": [[0.5, 0.5], [0.0, 1.0]]}, r"the transition must have the shape \(2, 1, 2\), but has \(2, 2\)"),
        ({"transition": sparse.csr_array(np.eye(3))}, r"the transition must have the shape \(2, 2\), but has \(3, 3\)"),
        ({"reward": [[np.nan], [0.0]]}, "The reward of state 0, action 0 is nan, not a finite number"),
        ({"reward": [1.0, 0.0]}, r"The reward must be an array \[state, action\], but has the shape \(2,\)"),
        ({"terminal": [0, 1]}, "terminal must hold one boolean per state, 2 of them, but is int64"),
        (
            {"terminal": [False]},
            r"terminal must hold one boolean per state, 2 of them, but is bool of the shape \(1,\)",
        ),
        ({"terminal": [True, True]}, "Every state is terminal, so no episode can begin"),
        ({"discount": 1.1}, r"The discount must lie in \[0, 1\], but is 1.1"),
        ({"discount": -0.1}, r"The discount must lie in \[0, 1\], but is -0.1"),
        ({"discount": np.nan}, r"The discount must lie in \[0, 1\], but is nan"),
        ({"start": [0.5, 0.4]}, "start must hold probabilities that sum to one, but their sum is 0.9"),
        ({"start": [-0.5, 1.5]}, "start must hold probabilities that sum to one, but .* the smallest is -0.5"),
        ({"start": [np.nan, 1.0]}, "start must hold probabilities that sum to one, but their sum is nan"),
        ({"start": [1.0]}, r"start must have the shape \(2,\), but has \(1,\)"),
        ({"start": [0.5, 0.5], "terminal": [False, True]}, "start lets episodes begin in state 1, which is terminal"),
        ({"discount": 1.0}, "values at discount 1 would be infinite: give a discount below 1 or terminal states"),
        (
            {"discount": 1.0, "terminal": [False, True], "transition": [[[1.0, 0.0]], [[0.0, 1.0]]]},
            "At discount 1 every state must lead to a terminal one, but state 0 does not",
        ),
    ],
)
def test_an_invalid_mdp_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(MaxEntError, match=sentence) as refusal:
        FiniteMDP(**(GOOD | change))
    assert "\n" not in str(refusal.value)


def test_at_discount_one_a_terminal_state_may_be_many_steps_away():
    ladder = np.eye(50, k=1)[:, None]
    assert FiniteMDP(ladder, np.ones((50, 1)), 1.0, np.arange(50) == 49).discount == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("branching", [None, 3])
def test_random_mdps_repeat_with_their_seed_and_end_in_their_last_states(seed, branching):
    one, same, other = (random_mdp(20, 3, s, branching=branching, terminal_states=2) for s in (seed, seed, seed + 1))
    assert_array_equal(one.transition.toarray(), same.transition.toarray())
    assert_array_equal(one.reward, same.reward)
    assert not np.array_equal(one.reward, other.reward)
    assert_array_equal(np.flatnonzero(one.terminal), [18, 19])
    assert_allclose(one.transition.sum(axis=1), 1)


def test_a_sparse_random_mdp_branches_no_wider_than_asked():
    assert np.diff(random_mdp(200, 3, seed=0, branching=4).transition.indptr).max() == 4


@pytest.mark.parametrize(
    "sizes",
    [{"states": 0}, {"actions": 0}, {"terminal_states": 5}, {"terminal_states": -1}, {"branching": 0}],
)
def test_invalid_sizes_are_refused(sizes):
    with pytest.raises(MaxEntError, match="A random MDP needs at least one action"):
        random_mdp(**({"states": 5, "actions": 2, "seed": 0} | sizes))


@pytest.mark.parametrize("env_id", TOY_TEXT)
def test_rows_read_off_toy_text_sum_to_one_and_episodes_start_where_they_should(env_id):
    mdp = read_mdp(env_id, 0.9)
    sums = mdp.transition.sum(axis=1).reshape(mdp.reward.shape)
    assert_allclose(sums[~mdp.terminal], 1)
    first = gym.make(env_id).unwrapped.initial_state_distrib
    assert_allclose(mdp.start[: len(first)], first)


@pytest.mark.parametrize("env_id", TOY_TEXT)
def test_steps_of_the_environment_are_steps_of_the_mdp_read_off_it(env_id):
    mdp, env = read_mdp(env_id, 0.9), gym.make(env_id).unwrapped
    env.action_space.seed(0)
    state, _ = env.reset(seed=0)
    assert mdp.start[state] > 0
    for _ in range(200):
        action = env.action_space.sample()
        following, reward, terminated, _, _ = env.step(action)
        row = mdp.transition[[state * mdp.actions + action]].toarray()[0]
        assert [to for to in {following, mdp.states - 1} if row[to] > 0 and mdp.terminal[to] == terminated]
        if len(env.P[state][action]) == 1:
            assert mdp.reward[state, action] == reward
        state = env.reset()[0] if terminated else following


def test_the_shortest_way_past_the_cliff_costs_thirteen():
    mdp = read_mdp("CliffWalking-v1", 1.0)
    best = value_iteration(mdp)
    assert expected_return(mdp, best.policy) == pytest.approx(-13)
    assert best.value[36] == pytest.approx(-13)


def test_slippery_frozen_lake_is_crossed_within_its_time_limit_with_probability_0_74():
    mdp = read_mdp("FrozenLake-v1", 1.0)
    policy = value_iteration(mdp).policy
    assert expected_return(mdp, policy, horizon=100) == pytest.approx(0.74, abs=0.005)
    assert expected_return(mdp, policy) == pytest.approx(14 / 17)  # without limit


@pytest.mark.parametrize("discount", [0.5, 0.9, 1.0])
def test_the_goal_of_the_lake_that_is_not_slippery_is_six_steps_away(discount):
    mdp = read_mdp(deterministic_frozen_lake(), discount)
    assert value_iteration(mdp).value[0] == pytest.approx(discount**5)


def test_the_best_taxi_pays_twenty_less_one_per_step():
    mdp = read_mdp("Taxi-v4", 1.0)
    state = gym.make("Taxi-v4").unwrapped.encode(0, 0, 0, 1)  # at the passenger; destination in the other corner
    steps = 1 + 8 + 1  # pick up, drive round the wall (4 columns, 2 rows down and up again), drop off
    assert value_iteration(mdp).value[state] == pytest.approx(20 - (steps - 1))


def test_a_state_entered_with_and_without_termination_has_its_endings_in_one_more_state():
    table = {0: {0: [(0.5, 1, 1.0, False), (0.5, 1, 3.0, True)]}, 1: {0: [(1.0, 0, -1.0, False)]}}
    mdp = read_mdp(Table(table), 0.8)
    assert_array_equal(mdp.terminal, [False, False, True])
    first = (2 - 0.8 * 0.5) / (1 - 0.8 * 0.5 * 0.8)  # V0 = 2 + 0.4 V1, V1 = -1 + 0.8 V0
    assert_allclose(evaluate_policy(mdp, np.ones((3, 1))).value, [first, -1 + 0.8 * first, 0])
    assert read_mdp("Taxi-v4", 0.9).states == 501


def test_an_environment_without_distribution_of_its_first_state_starts_anywhere():
    table = {0: {0: [(1.0, 1, 0.0, False)]}, 1: {0: [(1.0, 2, 0.0, True)]}, 2: {0: [(1.0, 2, 0.0, True)]}}
    mdp = read_mdp(Table(table), 0.8)
    assert_array_equal(mdp.terminal, [False, False, True])
    assert_array_equal(mdp.start, [0.5, 0.5, 0])


def test_an_environment_without_table_is_refused():
    with pytest.raises(MaxEntError, match="CartPole-v1>> has no table of transitions `P`; give an environment of"):
        read_mdp("CartPole-v1", 0.9)


def test_an_environment_that_does_not_exist_is_refused():
    with pytest.raises(MaxEntError, match=r"The environment 'FrozenLacke-v1' cannot be made: .*Did you mean"):
        read_mdp("FrozenLacke-v1", 0.9)
