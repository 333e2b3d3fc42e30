import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import (
    FiniteMDP,
    best_deterministic_policy,
    expected_return,
    lift,
    memoryless,
    random_mdp,
    value_iteration,
)

SEEDS = range(4)


def two_states_that_look_alike(discount):
    """Each state needs the other action: the right one pays 1 and changes the state, the wrong one pays -1.

    Singh, Jaakkola & Jordan 1994, "Learning without state-estimation in partially observable Markovian decision
    processes", figure 1.
    """
    changes = np.array([[True, False], [False, True]])
    transition = np.where(changes[..., None], 1 - np.eye(2)[:, None], np.eye(2)[:, None])
    return FiniteMDP(transition, np.where(changes, 1.0, -1.0), discount)


@pytest.mark.parametrize("discount", [0.5, 0.9])
def test_with_aliased_states_a_random_policy_beats_deterministic_ones(discount):
    mdp = two_states_that_look_alike(discount)
    policy, attained = best_deterministic_policy(mdp, [0, 0])
    assert_array_equal(policy, [[1, 0]])  # both actions are as good: the first
    # Right at first in one state, then wrong for ever; wrong for ever from the other.
    wrong_for_ever = -1 / (1 - discount)
    assert attained == pytest.approx((1 + discount * wrong_for_ever + wrong_for_ever) / 2)
    assert expected_return(mdp, lift([[0.5, 0.5]], [0, 0])) == pytest.approx(0)
    assert best_deterministic_policy(mdp, [0, 1])[1] == pytest.approx(1 / (1 - discount))


def test_a_policy_is_lifted_to_the_states_that_give_its_observations():
    assert_array_equal(lift([[1, 0], [0.5, 0.5]], [1, 0, 1]), [[0.5, 0.5], [1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("seed", SEEDS)
def test_with_observed_states_the_best_policy_is_that_of_value_iteration(seed):
    mdp = random_mdp(6, 3, seed)
    policy, attained = best_deterministic_policy(mdp, np.arange(6))
    assert attained == pytest.approx(mdp.start @ value_iteration(mdp).value)
    assert_array_equal(policy[:-1], value_iteration(mdp).policy[:-1])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("horizon", "discount"), [(None, None), (None, 0.5), (5, None), (5, 1.0), (0, 1.0)])
@pytest.mark.parametrize("batch", [1, 500, memoryless.BATCH])
def test_the_best_memoryless_policy_equals_a_brute_force_search(seed, horizon, discount, batch, monkeypatch):
    monkeypatch.setattr(memoryless, "BATCH", batch)
    mdp, observation = random_mdp(7, 2, seed, terminal_states=2), np.array([2, 0, 0, 3, 3, 1, 3])
    best, highest = None, -np.inf
    for first, second, third in itertools.product(range(2), repeat=3):
        policy = np.eye(2)[[first, 0, second, third]]  # 1 is seen in a terminal state only
        attained = expected_return(mdp, lift(policy, observation), horizon, discount)
        if attained > highest + 1e-12:
            best, highest = policy, attained
    policy, attained = best_deterministic_policy(mdp, observation, horizon, discount)
    assert_array_equal(policy, best)
    assert attained == pytest.approx(highest)


def test_ties_go_to_the_lower_action_at_the_first_observation():
    # Two steps that pay 1 if their actions differ.
    mdp = FiniteMDP(
        np.eye(4)[[[1, 2], [3, 3], [3, 3], [3, 3]]],
        [[0, 0], [0, 1], [1, 0], [0, 0]],
        1.0,
        np.arange(4) == 3,
        start=[1, 0, 0, 0],
    )
    policy, attained = best_deterministic_policy(mdp, [0, 1, 1, 0], horizon=2)
    assert_array_equal(policy, [[1, 0], [0, 1]])
    assert attained == 1


def test_unreachable_states_add_no_policies():
    mdp = random_mdp(60, 2, seed=0, terminal_states=55)
    assert len(best_deterministic_policy(mdp, np.arange(60))[0]) == 60


def test_more_than_a_million_policies_are_refused():
    with pytest.raises(MaxEntError, match=r"There are 4\^10 deterministic policies, more than 1,000,000 to try"):
        best_deterministic_policy(random_mdp(11, 4, seed=0), np.arange(11))


def test_one_action_is_one_policy_however_many_observations():
    mdp = random_mdp(80, 1, seed=0)
    assert best_deterministic_policy(mdp, np.arange(80))[1] == pytest.approx(expected_return(mdp, np.ones((80, 1))))


def test_at_discount_one_a_horizon_is_needed():
    with pytest.raises(MaxEntError, match="At discount 1 the episodes of some policies may never end: give a horizon"):
        best_deterministic_policy(random_mdp(4, 2, seed=0), [0, 0, 0, 0], discount=1.0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"observation": [0, 1]}, "observation must hold one label per state, 4 of them, but holds 2"),
        (
            {"observation": [0.0, 1.0, 2.0, 3.0]},
            "observation must hold one integer from zero on per state, but is float64",
        ),
        ({"observation": [0, -1, 0, 0]}, "observation must hold one integer from zero on per state"),
        ({"observation": [[0, 1, 2, 3]]}, r"but is int64 of the shape \(1, 4\)"),
        ({"horizon": -1}, "The horizon must be a number of steps or None, but is -1"),
        ({"discount": 1.5}, r"The discount must lie in \[0, 1\], but is 1.5"),
    ],
)
def test_invalid_arguments_of_the_memoryless_search_are_refused(arguments, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        best_deterministic_policy(random_mdp(4, 2, seed=0), **({"observation": [0, 0, 1, 1]} | arguments))


@pytest.mark.parametrize(
    ("policy", "observation", "sentence"),
    [
        ([[1.0, 0.0]], [0, 1], r"must be \[observation, action\] with 2 observations, but has the shape \(1, 2\)"),
        ([1.0, 0.0], [0, 1], r"must be \[observation, action\] with 2 observations, but has the shape \(2,\)"),
        ([[1.0, 0.5]], [0, 0], "The policy must hold probabilities that sum to one, but in row 0 their sum is 1.5"),
        ([[1.0, 0.0]], [0.5], "observation must hold one integer from zero on per state, but is float64"),
    ],
)
def test_invalid_arguments_of_lift_are_refused(policy, observation, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        lift(policy, observation)
