import dataclasses
import itertools
import math
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import logsumexp, softmax

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import (
    FiniteMDP,
    boltzmann_policy,
    entropy_regularized_policy,
    evaluate_policy,
    expected_return,
    random_mdp,
    read_mdp,
    soft_bellman_operator,
    soft_policy_iteration,
    soft_value,
    soft_value_iteration,
    solve,
    value_iteration,
)

SEEDS = range(3)
ALPHAS = [0.05, 0.5, 3.0]


def random_policy(mdp, seed, concentration=1.0):
    return np.random.default_rng(seed).dirichlet(np.full(mdp.actions, concentration), size=mdp.states)


def graph(edges, reward, terminal, discount=1.0):
    """A deterministic MDP: ``edges[state][action]`` is the next state."""
    states = len(edges)
    return FiniteMDP(
        np.eye(states)[np.array(edges)], reward, discount, np.arange(states) == terminal, np.eye(states)[0]
    )


def ring(states, discount):
    """A cycle with one action per state, which is hard for BiCGSTAB."""
    around = sparse.coo_array((np.ones(states), (np.arange(states), (np.arange(states) + 1) % states)))
    return FiniteMDP(around, np.random.default_rng(0).standard_normal((states, 1)), discount)


def loop(reward):
    """One state: stay and get ``reward``, or end the episode without a reward."""
    return graph([[0, 1], [1, 1]], [[reward, 0.0], [0.0, 0.0]], terminal=1)


def layers(seed, depth=4, width=3, actions=3):
    """Every state of a layer leads to states of the next one: no cycles."""
    rng = np.random.default_rng(seed)
    states = depth * width + 1
    transition = np.zeros((states, actions, states))
    for state in range(states - 1):
        ahead = slice((state // width + 1) * width, min((state // width + 2) * width, states))
        transition[state, :, ahead] = rng.dirichlet(np.ones(ahead.stop - ahead.start), size=actions)
    return FiniteMDP(transition, rng.standard_normal((states, actions)), 0.95, np.arange(states) == states - 1)


def soft_return_by_hand(mdp, policy, alpha, steps):
    """Sums rewards and entropies step by step over the probabilities of all states, for every first state."""
    transition = mdp.transition.toarray().reshape(mdp.states, mdp.actions, mdp.states)
    total = np.zeros(mdp.states)
    for first in range(mdp.states):
        here = np.eye(mdp.states)[first]
        for t in range(steps):
            after = np.zeros(mdp.states)
            for s, a in itertools.product(np.flatnonzero(~mdp.terminal), range(mdp.actions)):
                played = here[s] * policy[s, a]
                total[first] += mdp.discount**t * played * (mdp.reward[s, a] - alpha * math.log(policy[s, a]))
                after += played * transition[s, a]
            here = after
    return total


def assert_same(one, other, atol=1e-8):
    for part, same in zip(one, other):
        assert_allclose(part, same, atol=atol)


# Soft values and Boltzmann policies


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_soft_value_and_boltzmann_policy_are_logsumexp_and_softmax(seed, alpha):
    q = np.random.default_rng(seed).standard_normal((5, 4)) * 10
    assert_allclose(soft_value(q, alpha), alpha * logsumexp(q / alpha, axis=-1))
    assert_allclose(boltzmann_policy(q, alpha), softmax(q / alpha, axis=-1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_soft_value_is_the_maximum_of_expected_q_plus_entropy_attained_by_the_boltzmann_policy(seed, alpha):
    q = np.random.default_rng(seed).standard_normal((5, 4))

    def objective(policy):
        return (policy * q).sum(-1) - alpha * (policy * np.log(policy)).sum(-1)

    assert_allclose(objective(boltzmann_policy(q, alpha)), soft_value(q, alpha))
    for policy in np.random.default_rng(seed).dirichlet(np.ones(4), size=(200, 5)):
        assert (objective(policy) <= soft_value(q, alpha)).all()


def test_without_entropy_the_value_is_the_largest_and_the_policy_uniform_over_the_maximizers():
    q = np.array([[1.0, 3.0, 3.0], [0.0, -1.0, -2.0]])
    assert_array_equal(soft_value(q, 0.0), [3.0, 0.0])
    assert_array_equal(boltzmann_policy(q, 0.0), [[0, 0.5, 0.5], [1, 0, 0]])


def test_one_state_by_itself_has_a_value_and_a_policy():
    q = np.array([0.0, math.log(3)])
    assert soft_value(q, 1.0) == pytest.approx(math.log(4))
    assert_allclose(boltzmann_policy(q, 1.0), [1 / 4, 3 / 4])


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_values_far_larger_than_alpha_do_not_overflow(shift):
    q = np.array([[0.0, 1.0]]) + shift
    assert_allclose(soft_value(q, 0.1), shift + 1 + 0.1 * math.log1p(math.exp(-10)))
    assert_allclose(boltzmann_policy(q, 0.1), [[1 / (1 + math.exp(10)), 1 / (1 + math.exp(-10))]])


# The optimum of the trajectory objective, E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", [0.0, *ALPHAS])
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99])
def test_soft_bellman_operator_is_a_contraction_with_modulus_gamma_in_the_maximum_norm(seed, alpha, discount):
    mdp, rng = random_mdp(6, 3, seed, discount), np.random.default_rng(seed)
    for spread in (0.01, 1.0, 100.0):
        one, other = rng.standard_normal((2, 6, 3)) * spread
        apart = np.abs(soft_bellman_operator(mdp, one, alpha) - soft_bellman_operator(mdp, other, alpha)).max()
        assert apart <= discount * np.abs(one - other).max() * (1 + 1e-12)


@pytest.mark.parametrize("discount", [0.5, 0.9])
@pytest.mark.parametrize("alpha", [0.0, *ALPHAS])
def test_gamma_is_the_smallest_modulus_a_shift_of_all_values_attains_it(discount, alpha):
    mdp = random_mdp(6, 3, seed=0, discount=discount, terminal_states=0)
    q = np.random.default_rng(0).standard_normal((6, 3))
    moved = soft_bellman_operator(mdp, q + 1.0, alpha) - soft_bellman_operator(mdp, q, alpha)
    assert_allclose(moved, discount)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("discount", [0.5, 0.95, 1.0])
def test_the_fixed_point_is_the_soft_return_of_its_own_boltzmann_policy(seed, alpha, discount):
    mdp = random_mdp(6, 3, seed, discount)
    mdp = dataclasses.replace(mdp, reward=mdp.reward - 10)  # at discount 1 no loop pays for itself
    best = soft_value_iteration(mdp, alpha, tolerance=1e-11)
    assert_allclose(soft_bellman_operator(mdp, best.q, alpha), best.q, atol=1e-9)
    assert_same(evaluate_policy(mdp, best.policy, alpha), best)
    assert_allclose(best.policy, boltzmann_policy(best.q, alpha))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", [0.0, *ALPHAS])
def test_soft_policy_improvement_lowers_the_value_of_no_state(seed, alpha):
    mdp = random_mdp(6, 3, seed)
    solution = evaluate_policy(mdp, random_policy(mdp, seed), alpha)
    for _ in range(4):
        improved = evaluate_policy(mdp, boltzmann_policy(solution.q, alpha), alpha)
        assert (improved.value >= solution.value - 1e-12).all()
        assert (improved.q >= solution.q - 1e-12).all()
        solution = improved


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", [0.0, *ALPHAS])
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95, 1.0])
def test_soft_policy_iteration_and_soft_value_iteration_agree(seed, alpha, discount):
    mdp = random_mdp(6, 3, seed, discount)
    mdp = dataclasses.replace(mdp, reward=mdp.reward - 10)
    assert_same(soft_policy_iteration(mdp, alpha), soft_value_iteration(mdp, alpha))


@pytest.mark.parametrize("discount", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("tolerance", [1.0, 1e-2, 1e-6])
def test_the_error_is_no_larger_than_the_tolerance_and_not_much_smaller(discount, alpha, tolerance):
    mdp = random_mdp(6, 3, seed=0, discount=discount, terminal_states=0)
    exact = soft_policy_iteration(mdp, alpha, tolerance=1e-13)
    error = np.abs(soft_value_iteration(mdp, alpha, tolerance).q - exact.q).max()
    assert discount * tolerance / 10 < error <= tolerance + 1e-12
    assert np.abs(soft_policy_iteration(mdp, alpha, tolerance).q - exact.q).max() <= tolerance


@pytest.mark.parametrize("env_id", ["FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4", "CliffWalking-v1"])
def test_policy_iteration_prefers_terminating_actions_among_equals(env_id):
    mdp = read_mdp(env_id, 1.0)
    q, value, policy = soft_policy_iteration(mdp, 0.0)
    assert_allclose(value, value_iteration(mdp).value, atol=1e-9)
    assert_same(evaluate_policy(mdp, policy), (q, value, policy))


@pytest.mark.parametrize("reward", [0.1, 0.7, 1.1, 1.3, 1.9])
def test_rounding_does_not_make_policy_iteration_choose_a_loop_that_is_as_good_as_the_way_out(reward):
    loops = graph([[0, 0, 2], [2, 2, 2], [2, 2, 2]], [[0, 0, reward], [0, 1, 2], [0, 0, 0]], terminal=2)
    assert_allclose(soft_policy_iteration(loops, 0.0).value, [reward, 2, 0])


@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_a_tolerance_below_the_rounding_of_float64_ends_where_rounding_hides_the_change(discount):
    mdp = random_mdp(6, 3, seed=0, discount=discount)
    mdp = dataclasses.replace(mdp, reward=mdp.reward * 1e9)
    assert_same(soft_value_iteration(mdp, 1e8, 1e-30), soft_policy_iteration(mdp, 1e8, 1e-30), atol=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("discount", [0.5, 0.95])
def test_the_soft_value_exceeds_the_hard_one_by_at_most_alpha_log_actions_per_step(seed, discount):
    mdp = random_mdp(6, 3, seed, discount)
    hard = value_iteration(mdp)
    for alpha in (1.0, 0.1, 0.01, 1e-6):
        above = soft_value_iteration(mdp, alpha).value - hard.value
        assert (above >= -1e-9).all()
        assert (above <= alpha * math.log(3) / (1 - discount) + 1e-9).all()
    assert_allclose(soft_value_iteration(mdp, 1e-6).policy[:-1], hard.policy[:-1], atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_reward_at_alpha_is_reward_over_alpha_at_one(seed, alpha):
    mdp = random_mdp(6, 3, seed)
    scaled = dataclasses.replace(mdp, reward=mdp.reward / alpha)
    for solved in (soft_value_iteration, entropy_regularized_policy):
        one, other = solved(mdp, alpha), solved(scaled, 1.0)
        assert_allclose(one.q / alpha, other.q, atol=1e-7)
        assert_allclose(one.value / alpha, other.value, atol=1e-7)
        assert_allclose(one.policy, other.policy, atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_no_policy_has_a_higher_soft_return_in_any_state(seed, alpha):
    mdp = random_mdp(6, 3, seed)
    best = soft_value_iteration(mdp, alpha)
    others = [random_policy(mdp, i, concentration) for i in range(20) for concentration in (0.1, 1.0, 10.0)]
    others += [0.98 * best.policy + 0.02 * random_policy(mdp, i) for i in range(20)]
    others += [
        value_iteration(mdp).policy,
        np.full_like(best.policy, 1 / 3),
        entropy_regularized_policy(mdp, alpha).policy,
    ]
    for policy in others:
        value = evaluate_policy(mdp, policy, alpha).value
        assert (value <= best.value + 1e-9).all()
        if np.abs(policy - best.policy)[:-1].max() > 0.01:
            assert value.sum() < best.value.sum() - 1e-7


@pytest.mark.parametrize("seed", SEEDS)
def test_no_deterministic_policy_has_a_higher_return_than_value_iteration(seed):
    mdp = random_mdp(5, 2, seed)
    values = [evaluate_policy(mdp, np.eye(2)[[*actions, 0]]).value for actions in itertools.product(range(2), repeat=4)]
    assert_allclose(np.max(values, axis=0), value_iteration(mdp).value)


def test_at_discount_zero_values_are_rewards():
    mdp = random_mdp(6, 3, seed=0, discount=0.0)
    assert_array_equal(soft_value_iteration(mdp, 0.5).q[:-1], mdp.reward[:-1])


@pytest.mark.parametrize("solved", [soft_value_iteration, soft_policy_iteration, entropy_regularized_policy])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_terminal_states_are_worth_nothing_and_their_policy_is_uniform(solved, alpha):
    mdp = random_mdp(6, 3, seed=0, terminal_states=2)
    q, value, policy = solved(mdp, alpha)
    assert_array_equal(q[-2:], 0)
    assert_array_equal(value[-2:], 0)
    assert_allclose(policy[-2:], 1 / 3)
    assert_allclose(evaluate_policy(mdp, random_policy(mdp, 0), alpha).policy[-2:], 1 / 3)


# Evaluation


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_evaluation_is_the_sum_over_all_steps_worked_out_by_hand(seed, alpha):
    mdp = random_mdp(4, 2, seed, discount=0.8)
    policy = random_policy(mdp, seed)
    by_hand = soft_return_by_hand(mdp, policy, alpha, steps=130)  # 0.8^130 is 3e-13
    q, value, _ = evaluate_policy(mdp, policy, alpha)
    assert_allclose(value, by_hand, atol=1e-10)
    transition = mdp.transition.toarray().reshape(4, 2, 4)
    assert_allclose(q[:-1], (mdp.reward + 0.8 * transition @ by_hand)[:-1], atol=1e-10)


def test_evaluation_is_the_mean_of_played_episodes():
    mdp, rng, alpha, episodes = random_mdp(4, 2, seed=0, discount=0.9), np.random.default_rng(0), 0.5, 20_000
    policy, transition = random_policy(mdp, 1), mdp.transition.toarray()
    state, total = np.zeros(episodes, dtype=int), np.zeros(episodes)
    for t in range(150):
        playing = ~mdp.terminal[state]
        action = (rng.random(episodes) > policy[state, 0]).astype(int)
        gain = mdp.reward[state, action] - alpha * np.log(policy[state, action])
        total += 0.9**t * np.where(playing, gain, 0.0)
        following = (rng.random(episodes)[:, None] > transition[state * 2 + action].cumsum(-1)[:, :-1]).sum(-1)
        state = np.where(playing, following, state)
    standard_error = total.std() / math.sqrt(episodes)
    assert abs(total.mean() - evaluate_policy(mdp, policy, alpha).value[0]) < 4 * standard_error


@pytest.mark.parametrize("seed", SEEDS)
def test_a_deterministic_policy_has_no_entropy_and_a_uniform_one_log_actions_per_step(seed):
    mdp = random_mdp(6, 3, seed, discount=0.9, terminal_states=0)
    greedy, uniform = np.eye(3)[np.full(6, 1)], np.full((6, 3), 1 / 3)
    assert_same(evaluate_policy(mdp, greedy, 2.0), evaluate_policy(mdp, greedy))
    added = evaluate_policy(mdp, uniform, 2.0).value - evaluate_policy(mdp, uniform).value
    assert_allclose(added, 2.0 * math.log(3) / (1 - 0.9))


def dense_values(mdp, policy, alpha):
    step = np.einsum("sa,san->sn", policy, mdp.continuation.toarray().reshape(mdp.states, mdp.actions, mdp.states))
    entropy = -np.where(policy > 0, policy * np.log(np.maximum(policy, 1e-300)), 0.0).sum(-1)
    own = np.where(mdp.terminal, 0.0, (policy * mdp.reward).sum(-1) + alpha * entropy)
    return np.linalg.solve(np.eye(mdp.states) - mdp.discount * step, own)


@pytest.mark.parametrize(
    "mdp",
    [
        pytest.param(random_mdp(300, 3, 0, 0.99, branching=4), id="random"),
        pytest.param(random_mdp(300, 3, 0, 1.0, branching=4), id="random, undiscounted"),
        pytest.param(read_mdp("Taxi-v4", 1.0), id="a grid, undiscounted"),
    ],
)
def test_the_iterative_and_the_direct_evaluation_agree(mdp):
    policy = random_policy(mdp, 0)
    exact = dense_values(mdp, policy, 0.5)
    assert mdp.states > solve.DIRECT_STATES
    assert_allclose(evaluate_policy(mdp, policy, 0.5).value, exact, rtol=1e-9, atol=1e-9 * np.abs(exact).max())


def test_evaluation_on_a_ring_is_right_where_bicgstab_fails():
    mdp, discount = ring(3000, 0.9999), 0.9999
    first_round = (discount ** np.arange(3000)) @ mdp.reward[:, 0]
    assert evaluate_policy(mdp, np.ones((3000, 1))).value[0] == pytest.approx(first_round / (1 - discount**3000))


def test_five_thousand_sparse_states_are_solved_in_seconds():
    mdp = random_mdp(5000, 4, seed=0, discount=0.95, branching=5)
    began = time.process_time()
    assert_same(soft_value_iteration(mdp, 0.1), soft_policy_iteration(mdp, 0.1))
    entropy_regularized_policy(mdp, 0.1)
    assert time.process_time() - began < 60  # 2 seconds, and room for a slow machine


# The current-state objective against the trajectory objective


@pytest.mark.parametrize("alpha", [0.3, 1.0, 5.0])
def test_the_two_entropy_objectives_differ_where_only_one_path_has_a_later_choice(alpha):
    # State 0 ends (action 0) or leads to state 1 (action 1), which ends either way; no rewards.
    mdp = graph([[2, 1], [2, 2], [2, 2]], np.zeros((3, 2)), terminal=2)
    # The current-state objective sees values 0 and 0.
    own_state = entropy_regularized_policy(mdp, alpha)
    assert_allclose(own_state.policy[:2], 1 / 2)
    assert_allclose(own_state.q, 0)
    # The trajectory objective sees values 0 and alpha log 2; each of the three ways through gets one third.
    all_states = soft_value_iteration(mdp, alpha)
    assert_allclose(all_states.q[0], [0, alpha * math.log(2)])
    assert_allclose(all_states.policy[0], [1 / 3, 2 / 3])
    assert_allclose(all_states.value[:2], [alpha * math.log(3), alpha * math.log(2)])
    assert_allclose(evaluate_policy(mdp, own_state.policy, alpha).value[0], 1.5 * alpha * math.log(2))


@pytest.mark.parametrize("discount", [0.7, 1.0])
def test_the_two_entropy_objectives_differ_where_entropy_costs_reward(discount):
    # From state 0 to a lottery that pays log 3 or nothing (1), or to one that pays 3/4 log 3 either way (2).
    lottery, sure = math.log(3), 0.75 * math.log(3)
    mdp = graph([[1, 2], [3, 3], [3, 3], [3, 3]], [[0, 0], [lottery, 0], [sure, sure], [0, 0]], 3, discount)
    own_state = entropy_regularized_policy(mdp, 1.0)
    assert_allclose(own_state.policy[:3], [[1 / 2, 1 / 2], [3 / 4, 1 / 4], [1 / 2, 1 / 2]])  # worth the same
    assert_allclose(own_state.value[:3], [discount * sure, sure, sure])
    narrow, wide = 4**discount, (2 * 3**0.75) ** discount  # exp of the soft values log 4 and log 2 + 3/4 log 3
    assert_allclose(soft_value_iteration(mdp, 1.0).policy[0], [narrow / (narrow + wide), wide / (narrow + wide)])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_two_entropy_objectives_agree_for_a_single_decision(seed, alpha):
    rng = np.random.default_rng(seed)
    reward = rng.standard_normal((4, 3))
    mdp = FiniteMDP(np.eye(4)[np.full((4, 3), 3)], reward, 1.0, np.arange(4) == 3)
    for policy in (entropy_regularized_policy(mdp, alpha).policy, soft_value_iteration(mdp, alpha).policy):
        assert_allclose(policy[:3], softmax(reward[:3] / alpha, axis=-1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("make", [random_mdp, lambda states, actions, seed: layers(seed)])
def test_the_entropy_regularized_policy_is_best_in_every_state_given_its_own_values(seed, alpha, make):
    mdp = make(6, 3, seed=seed)
    q, value, policy = entropy_regularized_policy(mdp, alpha)
    assert_same(evaluate_policy(mdp, policy), (q, value, policy))

    def objective(other):
        return (other * q).sum(-1) - alpha * (other * np.log(other)).sum(-1)

    for i in range(50):
        for other in (random_policy(mdp, i), 0.99 * policy + 0.01 * random_policy(mdp, i)):
            assert (objective(other) <= objective(policy) + 1e-9).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_without_cycles_the_entropy_regularized_policy_equals_backward_induction(seed, alpha):
    mdp = layers(seed)
    transition = mdp.transition.toarray().reshape(mdp.states, mdp.actions, mdp.states)
    q, value = np.zeros_like(mdp.reward), np.zeros(mdp.states)
    for state in range(mdp.states - 2, -1, -1):
        q[state] = mdp.reward[state] + mdp.discount * transition[state] @ value
        value[state] = softmax(q[state] / alpha) @ q[state]
    assert_allclose(entropy_regularized_policy(mdp, alpha).q, q, atol=1e-9)


def test_the_entropy_regularized_policy_is_found_where_halving_steps_fails():
    mdp = random_mdp(7, 3, seed=17, discount=1.0)  # halving steps whenever the gap grows never gets there
    q, _, policy = entropy_regularized_policy(mdp, 1.0)
    assert_allclose(policy, boltzmann_policy(q, 1.0), atol=1e-9)


def test_the_entropy_regularized_policy_is_found_with_damped_steps_where_full_ones_cycle():
    transition = [[[0, 1, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 1]], [[0, 0.08, 0.92], [0, 0, 1]]]
    mdp = FiniteMDP(transition, [[1.27, 0.12], [-4.34, -3.13], [-10.8, -0.04]], 0.99)
    q = np.zeros((3, 2))
    for _ in range(500):
        before, q = q, evaluate_policy(mdp, boltzmann_policy(q, 1.0)).q
    assert np.abs(q - before).max() > 1
    q, _, policy = entropy_regularized_policy(mdp, 1.0)
    assert_allclose(policy, boltzmann_policy(q, 1.0), atol=1e-9)


def test_the_most_uniform_of_several_entropy_regularized_policies_is_found():
    # Stay for 0.2 or end: worth it if one is sure to stay on, hardly if one is likely to end next time.
    mdp = dataclasses.replace(loop(0.2), discount=0.999)
    for_ever = evaluate_policy(mdp, [[1.0, 0.0], [0.5, 0.5]])
    assert_allclose(boltzmann_policy(for_ever.q, 1.0), for_ever.policy, atol=1e-12)
    q, _, policy = entropy_regularized_policy(mdp, 1.0)
    assert_allclose(policy, boltzmann_policy(q, 1.0))
    assert policy[0, 0] == pytest.approx(0.63, abs=0.01)


def test_an_entropy_regularized_policy_that_is_not_found_is_refused(monkeypatch):
    monkeypatch.setattr(solve, "MOST_DAMPED_STEPS", 3)
    with pytest.raises(
        MaxEntError, match="No policy was found that is the Boltzmann policy of its own values at alpha"
    ):
        entropy_regularized_policy(random_mdp(6, 3, seed=0), 0.1)


# Returns


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("discount", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("horizon", [0, 1, 7])
def test_expected_return_sums_the_discounted_rewards_of_the_first_steps(seed, discount, horizon):
    mdp = random_mdp(4, 2, seed, discount=0.9)
    policy = random_policy(mdp, seed)
    by_hand = soft_return_by_hand(dataclasses.replace(mdp, discount=discount), policy, 0.0, horizon)
    assert expected_return(mdp, policy, horizon, discount) == pytest.approx(by_hand @ mdp.start)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("discount", [None, 0.5, 1.0])
def test_a_long_horizon_gives_the_infinite_horizon_return(seed, discount):
    mdp = random_mdp(4, 2, seed, discount=0.9)
    policy = random_policy(mdp, seed)
    assert expected_return(mdp, policy, 2000, discount) == pytest.approx(expected_return(mdp, policy, None, discount))
    assert expected_return(mdp, policy) == pytest.approx(evaluate_policy(mdp, policy).value @ mdp.start)


def test_expected_return_begins_where_episodes_begin():
    mdp = dataclasses.replace(random_mdp(4, 2, seed=0), start=[0.25, 0.0, 0.75, 0.0])
    policy = random_policy(mdp, 0)
    value = evaluate_policy(mdp, policy).value
    assert expected_return(mdp, policy) == pytest.approx(0.25 * value[0] + 0.75 * value[2])


def test_with_a_horizon_nothing_needs_to_end():
    assert expected_return(ring(5, 0.9), np.ones((5, 1)), 5, 1.0) == pytest.approx(ring(5, 0.9).reward.sum())


# What cannot be solved


@pytest.mark.parametrize("reward", [-1.0, -0.1])
def test_a_loop_that_costs_more_than_its_entropy_is_worth_is_left(reward):
    expected = -math.log(1 - math.exp(reward))  # exp(V) = exp(reward + V) + exp(0)
    assert soft_value_iteration(loop(reward), 1.0).value[0] == pytest.approx(expected)
    assert soft_policy_iteration(loop(reward), 1.0).value[0] == pytest.approx(expected)


@pytest.mark.parametrize("reward", [0.0, 0.1, 2.0])
def test_a_loop_whose_entropy_pays_for_it_has_no_best_policy_at_discount_one(reward, monkeypatch):
    monkeypatch.setattr(solve, "MOST_SWEEPS", 500)
    with pytest.raises(MaxEntError, match="At discount 1 the values have not converged after 500 sweeps"):
        soft_value_iteration(loop(reward), 1.0)
    with pytest.raises(MaxEntError, match="At discount 1 this policy's values are infinite"):
        soft_policy_iteration(loop(reward), 1.0)


@pytest.mark.parametrize("leaving", [0.0, 1e-20, 1e-14])
def test_a_policy_that_never_ends_has_no_value_at_discount_one(leaving):
    policy = [[1 - leaving, leaving], [0.5, 0.5]]
    for asked in (evaluate_policy, expected_return):
        with pytest.raises(MaxEntError, match="from some state its episodes never end: give a discount below 1"):
            asked(loop(-1.0), policy)
    below = dataclasses.replace(loop(-1.0), discount=0.5)
    assert evaluate_policy(below, policy).value[0] == pytest.approx(-2)


@pytest.mark.parametrize("seed", range(10))
def test_a_policy_that_never_ends_is_refused_even_if_nothing_is_paid(seed):
    stay = np.random.default_rng(seed).dirichlet(np.ones(3), size=3)
    transition = np.zeros((4, 2, 4))
    transition[:3, 0, :3], transition[:, 1, 3] = stay, 1
    mdp = FiniteMDP(transition, np.zeros((4, 2)), 1.0, np.arange(4) == 3)
    with pytest.raises(MaxEntError, match="from some state its episodes never end"):
        evaluate_policy(mdp, np.eye(2)[[0, 0, 0, 0]])


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "asked",
    [
        soft_value_iteration,
        soft_policy_iteration,
        entropy_regularized_policy,
        lambda mdp, alpha: evaluate_policy(mdp, random_policy(mdp, 0), alpha),
        lambda mdp, alpha: soft_bellman_operator(mdp, mdp.reward, alpha),
        lambda mdp, alpha: boltzmann_policy(mdp.reward, alpha),
        lambda mdp, alpha: soft_value(mdp.reward, alpha),
    ],
)
def test_an_alpha_that_is_negative_or_not_finite_is_refused(asked, alpha):
    with pytest.raises(MaxEntError, match="The temperature alpha must be finite and not negative, but is"):
        asked(random_mdp(3, 2, seed=0), alpha)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("solved", [soft_value_iteration, soft_policy_iteration, entropy_regularized_policy])
def test_a_tolerance_that_is_not_positive_is_refused(solved, tolerance):
    with pytest.raises(MaxEntError, match="The tolerance must be finite and positive, but is"):
        solved(random_mdp(3, 2, seed=0), 0.5, tolerance)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ([[1.0, 0.0], [0.5, 0.4], [1.0, 0.0]], "in row 1 their sum is 0.9"),
        ([[1.0, 0.0], [0.5, 0.5], [-0.5, 1.5]], "in row 2 their sum is 1.0 and the smallest is -0.5"),
        ([[np.nan, 0.0], [0.5, 0.5], [1.0, 0.0]], "in row 0 their sum is nan"),
        ([[1.0], [1.0], [1.0]], r"The policy must have the shape \(3, 2\), but has \(3, 1\)"),
        ([1.0, 0.0], r"The policy must have the shape \(3, 2\), but has \(2,\)"),
    ],
)
def test_an_invalid_policy_is_refused(policy, sentence):
    mdp = random_mdp(3, 2, seed=0)
    for asked in (evaluate_policy, expected_return, lambda mdp, policy: expected_return(mdp, policy, 3)):
        with pytest.raises(MaxEntError, match=sentence):
            asked(mdp, policy)


def test_probabilities_of_float32_are_near_enough():
    mdp = random_mdp(50, 7, seed=0)
    policy = random_policy(mdp, 0)
    assert_allclose(
        evaluate_policy(mdp, policy.astype(np.float32)).value, evaluate_policy(mdp, policy).value, rtol=1e-4
    )


def test_a_horizon_or_a_discount_without_meaning_is_refused():
    mdp = random_mdp(3, 2, seed=0)
    with pytest.raises(MaxEntError, match="The horizon must be a number of steps or None, but is -1"):
        expected_return(mdp, random_policy(mdp, 0), horizon=-1)
    with pytest.raises(MaxEntError, match=r"The discount must lie in \[0, 1\], but is 1.5"):
        expected_return(mdp, random_policy(mdp, 0), horizon=3, discount=1.5)
