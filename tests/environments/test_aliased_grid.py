from itertools import product

import gymnasium as gym
import numpy as np
import pytest

import lightning_maxent.environments  # noqa: F401  registers them
from lightning_maxent.environments.aliased_grid import AliasedGrid
from lightning_maxent.exact import best_deterministic_policy, evaluate_policy, expected_return, read_mdp

NORTH, EAST, SOUTH, WEST = np.eye(4)
LEFT, ALIASED, MIDDLE, RIGHT = (1, 0, 0, 1), (1, 0, 1, 0), (1, 0, 0, 0), (1, 1, 0, 0)  # walls: north, east, south, west
PIT = (0, 1, 1, 1)
TIME_LIMIT = 50
MDP = read_mdp(AliasedGrid(), discount=1.0)


def memoryless(left, aliased, middle, right):
    """Probabilities ``[state, action]`` of a policy that acts alike in the two cells with the same observation."""
    return np.array([left, aliased, middle, aliased, right, NORTH, NORTH, NORTH])


def coin(east=0.5):
    """Goes in from the corners, down in the middle and to the side at random."""
    return memoryless(EAST, east * EAST + (1 - east) * WEST, SOUTH, WEST)


def episode_return(policy):
    """The exact return within the time limit, undiscounted."""
    return expected_return(MDP, policy, horizon=TIME_LIMIT)


def played_return(policy, episodes):
    """The mean return of episodes that are played."""
    env, rng, total = gym.make("lightning_maxent/AliasedGrid-v0"), np.random.default_rng(1), 0.0
    for number in range(episodes):
        env.reset(seed=number)
        over = False
        while not over:
            action = rng.choice(4, p=policy[env.unwrapped.state])
            _, reward, terminated, truncated, _ = env.step(action)
            total += reward
            over = terminated or truncated
    return total / episodes


def test_the_walls_around_the_second_and_the_fourth_cell_are_the_same_and_no_others():
    env = AliasedGrid()
    seen = [tuple(env.observe(state)) for state in range(8)]
    assert seen == [LEFT, ALIASED, MIDDLE, ALIASED, RIGHT, PIT, PIT, PIT]
    alike = np.equal.outer(env.observation_labels, env.observation_labels)
    np.testing.assert_array_equal(alike, [[one == other for other in seen] for one in seen])
    assert set(env.observation_labels) == set(range(5))


@pytest.mark.parametrize(
    ("state", "north", "east", "south", "west"),
    [(0, 0, 1, 5, 0), (1, 1, 2, 1, 0), (2, 2, 3, 6, 1), (3, 3, 4, 3, 2), (4, 4, 4, 7, 3)],
)
def test_moves_lead_where_the_map_says(state, north, east, south, west):
    env = AliasedGrid(treasure_reward=5.0, skull_reward=-3.0, step_reward=-0.5)
    pays = {5: -3.5, 6: 4.5, 7: -3.5}
    for action, after in enumerate((north, east, south, west)):
        assert env.P[state][action] == [(1.0, after, pays.get(after, -0.5), after in pays)]


def test_episodes_of_the_aliased_grid_start_in_one_of_the_two_aliased_cells():
    np.testing.assert_array_equal(AliasedGrid().initial_state_distrib, [0, 0.5, 0, 0.5, 0, 0, 0, 0])


def test_a_fair_coin_between_east_and_west_takes_four_steps_on_average():
    assert expected_return(MDP, coin()) == pytest.approx(1 - 0.1 * 4)
    np.testing.assert_allclose(evaluate_policy(MDP, coin()).value, [0.5, 0.6, 0.9, 0.6, 0.5, 0, 0, 0])
    assert episode_return(coin()) == pytest.approx(0.6, abs=1e-6)


def test_a_fair_coin_between_east_and_west_beats_every_deterministic_memoryless_policy():
    returns = {acts: episode_return(memoryless(*np.eye(4)[list(acts)])) for acts in product(range(4), repeat=4)}
    _, best = best_deterministic_policy(MDP, AliasedGrid().observation_labels, horizon=TIME_LIMIT)
    assert best == pytest.approx(max(returns.values()))
    assert best == pytest.approx((0.8 - 1.2) / 2)  # right from one cell, into a skull from the other
    assert episode_return(coin()) - best == pytest.approx(0.8, abs=1e-6)
    assert min(returns.values()) == pytest.approx(-0.1 * TIME_LIMIT)


def test_a_fair_coin_between_east_and_west_is_the_best_one():
    returns = [episode_return(coin(east)) for east in np.linspace(0, 1, 21)]
    assert np.argmax(returns) == 10
    assert (np.diff(returns[:11]) > 0).all()
    assert (np.diff(returns[10:]) < 0).all()


def test_a_policy_that_is_right_in_the_aliased_cells_earns_0_8():
    informed = coin()
    informed[1], informed[3] = EAST, WEST
    assert episode_return(informed) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [(coin(), 0.03), (memoryless(EAST, EAST, SOUTH, SOUTH), 0.1)],
    ids=["coin", "deterministic"],
)
def test_episodes_that_are_played_earn_the_exact_return(policy, tolerance):
    assert played_return(policy, episodes=2_000) == pytest.approx(episode_return(policy), abs=tolerance)


def test_the_time_limit_truncates_a_policy_that_never_arrives():
    env = gym.make("lightning_maxent/AliasedGrid-v0")
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(TIME_LIMIT)]
    assert ends == [(False, False)] * (TIME_LIMIT - 1) + [(False, True)]


def test_the_picture_shows_where_the_agent_is():
    env = gym.make("lightning_maxent/AliasedGrid-v0", render_mode="ansi")
    env.reset(seed=0)
    pictures = {1: ".@...\nX $ X", 3: "...@.\nX $ X"}
    start = env.unwrapped.state
    assert env.render() == pictures[start]
    env.step(1 if start == 1 else 3)
    assert env.render() == "..@..\nX $ X"
    env.step(2)
    assert env.render() == ".....\nX @ X"
