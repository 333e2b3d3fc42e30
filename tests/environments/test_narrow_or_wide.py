import math

import numpy as np
import pytest

from lightning_maxent.environments.narrow_or_wide import END, FORK, NARROW, WIDE, NarrowOrWide
from lightning_maxent.exact import entropy_regularized_policy, read_mdp, soft_value_iteration

ALPHA = 0.5
MDP = read_mdp(NarrowOrWide(), discount=1.0)


def narrow_to_wide(policy):
    """How much likelier the policy turns to narrow than to wide at the fork."""
    return policy[FORK, :2].sum() / policy[FORK, 2:].sum()


def test_every_episode_of_narrow_or_wide_passes_the_fork():
    env = NarrowOrWide()
    for action, (way, pay) in enumerate([(NARROW, -2.0), (NARROW, -2.0), (WIDE, 0.8), (WIDE, 0.8)]):
        assert env.reset() == (FORK, {})
        assert env.step(action) == (way, 0.0, False, False, {})
        assert env.step(3) == (END, pay, True, False, {})
    env.reset()
    env.step(0)
    assert env.step(0)[1] == 1.0


def test_the_entropy_of_the_current_state_favors_narrow():
    good, bad = math.exp(1 / ALPHA), math.exp(-2 / ALPHA)  # weights of the actions of narrow
    narrow = (good * 1 + 3 * bad * -2) / (good + 3 * bad)  # its value under its own Boltzmann policy
    ratio = math.exp((narrow - 0.8) / ALPHA)
    assert (narrow, ratio) == pytest.approx((0.978, 1.43), abs=0.005)
    solution = entropy_regularized_policy(MDP, ALPHA)
    np.testing.assert_allclose(solution.value[[NARROW, WIDE]], [narrow, 0.8])
    assert narrow_to_wide(solution.policy) == pytest.approx(ratio)
    np.testing.assert_allclose(solution.policy[NARROW], np.array([good, bad, bad, bad]) / (good + 3 * bad))
    np.testing.assert_allclose(solution.policy[WIDE], 0.25)


def test_the_entropy_of_the_whole_trajectory_favors_wide():
    narrow = ALPHA * math.log(math.exp(1 / ALPHA) + 3 * math.exp(-2 / ALPHA))
    wide = 0.8 + ALPHA * math.log(4)
    ratio = math.exp((wide - narrow) / ALPHA)
    assert (narrow, wide, ratio) == pytest.approx((1.004, 1.493, 2.66), abs=0.005)
    solution = soft_value_iteration(MDP, ALPHA)
    np.testing.assert_allclose(solution.value[[NARROW, WIDE]], [narrow, wide])
    assert 1 / narrow_to_wide(solution.policy) == pytest.approx(ratio)


def test_at_the_states_after_the_fork_both_policies_are_the_same():
    one, other = entropy_regularized_policy(MDP, ALPHA), soft_value_iteration(MDP, ALPHA)
    np.testing.assert_allclose(one.policy[[NARROW, WIDE]], other.policy[[NARROW, WIDE]])


@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_a_discount_changes_neither_preference(discount):
    mdp = read_mdp(NarrowOrWide(), discount)
    assert narrow_to_wide(entropy_regularized_policy(mdp, ALPHA).policy) > 1.3
    assert narrow_to_wide(soft_value_iteration(mdp, ALPHA).policy) < 0.5


def test_at_a_low_temperature_both_objectives_choose_the_larger_reward():
    assert narrow_to_wide(entropy_regularized_policy(MDP, 0.05).policy) > 10
    assert narrow_to_wide(soft_value_iteration(MDP, 0.05).policy) > 2
