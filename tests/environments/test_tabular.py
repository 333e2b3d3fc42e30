import gymnasium as gym
import numpy as np
import pytest

import lightning_maxent.environments  # noqa: F401  registers them
from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import random_mdp, read_mdp


@pytest.mark.parametrize(
    "sizes", [{}, {"states": 5, "actions": 2, "seed": 7}, {"states": 20, "branching": 3, "terminal_states": 4}]
)
def test_read_mdp_returns_the_random_mdp_of_the_seed(sizes):
    read = read_mdp(gym.make("lightning_maxent/RandomMDP-v0", **sizes), discount=0.9)
    drawn = random_mdp(**({"states": 8, "actions": 3, "seed": 0} | sizes))
    played = np.repeat(~drawn.terminal, drawn.actions)
    np.testing.assert_array_equal(read.terminal, drawn.terminal)
    np.testing.assert_allclose(read.start, drawn.start)
    np.testing.assert_allclose(read.reward[~drawn.terminal], drawn.reward[~drawn.terminal], rtol=1e-12)
    np.testing.assert_allclose(read.transition.toarray()[played], drawn.transition.toarray()[played])


def test_the_seed_of_a_reset_leaves_the_mdp_as_it_is():
    env = gym.make("lightning_maxent/RandomMDP-v0")
    table = env.unwrapped.P
    env.reset(seed=5)
    assert table == env.unwrapped.P
    assert table != gym.make("lightning_maxent/RandomMDP-v0", seed=1).unwrapped.P


def test_the_time_limit_truncates():
    env = gym.make("lightning_maxent/RandomMDP-v0", terminal_states=0)
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(100)]
    assert ends == [(False, False)] * 99 + [(False, True)]


@pytest.mark.parametrize("wrong", [{"states": 1}, {"actions": 0}, {"terminal_states": 8}])
def test_invalid_sizes_are_refused(wrong):
    with pytest.raises(MaxEntError, match="random MDP"):
        gym.make("lightning_maxent/RandomMDP-v0", **wrong)
