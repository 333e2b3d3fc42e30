import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch.testing import assert_close

from lightning_maxent.actions import FiniteActions
from lightning_maxent.errors import MaxEntError
from lightning_maxent.exploration import EpsilonGreedy, PolicyExploration, SoftmaxExploration
from lightning_maxent.schedules import ConstantSchedule, LinearSchedule

ONE, TWO = FiniteActions((4,)), FiniteActions((2, 3))
DRAWS = 20_000
Q = {ONE: torch.tensor([0.5, -1.0, 1.5, 0.0]), TWO: torch.tensor([0.5, -1.0, 1.5, 0.0, 2.0])}
LOG_PROBS = {actions: actions.log_softmax(-2 * q) for actions, q in Q.items()}  # a policy that prefers what Q does not


def constant(number):
    return ConstantSchedule(number)


def joint(actions, played):
    """How often each combination of choices was played."""
    combinations = played.numpy()
    if len(actions.counts) == 1:
        return combinations.sum(0)
    first = actions.counts[0]
    return (combinations[:, :first].T @ combinations[:, first:]).ravel()


def play(exploration, actions, draws=DRAWS):
    return joint(actions, exploration(Q[actions].expand(draws, -1), LOG_PROBS[actions].expand(draws, -1)))


def softmax(actions, scores):
    factors = np.split(scores.double().numpy(), np.cumsum(actions.counts)[:-1])
    probabilities = [scipy.special.softmax(factor) for factor in factors]
    return probabilities[0] if len(factors) == 1 else np.outer(*probabilities).ravel()


def best(actions):
    """The combination of the best choices as a distribution."""
    return (softmax(actions, 1e6 * Q[actions].double()) > 0.5).astype(float)


def agree(observed, probabilities):
    possible = probabilities > 0
    assert observed[~possible].sum() == 0
    if possible.sum() > 1:
        assert scipy.stats.chisquare(observed[possible], observed.sum() * probabilities[possible]).pvalue > 1e-3


@pytest.fixture(params=[ONE, TWO], ids=["one_factor", "two_factors"])
def actions(request):
    return request.param


# ---- epsilon-greedy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.6, 1.0])
def test_epsilon_greedy_plays_the_best_action_with_one_minus_epsilon_plus_its_uniform_share(actions, epsilon):
    """Each of n combinations has the probability ``eps / n``, and the best one has ``1 - eps`` more."""
    count = int(np.prod(actions.counts))
    expected = (1 - epsilon) * best(actions) + epsilon * np.full(count, 1 / count)
    agree(play(EpsilonGreedy(actions, constant(epsilon)), actions), expected)


def test_epsilon_greedy_draws_independently_for_every_environment():
    """If there were one draw for all environments, either all actions of a call would be uniform or none."""
    exploration, calls = EpsilonGreedy(ONE, constant(0.5)), []
    for _ in range(50):
        calls.append(play(exploration, ONE, draws=100)[2] / 100)
    assert 0.4 < min(calls) <= max(calls) < 0.9  # about the expected .625


def test_epsilon_follows_its_schedule(actions):
    schedule = LinearSchedule(1.0, 0.0, 100)
    exploration, count = EpsilonGreedy(actions, schedule), int(np.prod(actions.counts))
    for time, epsilon in ((0, 1.0), (50, 0.5), (100, 0.0), (500, 0.0)):
        schedule.advance(time)
        agree(play(exploration, actions), (1 - epsilon) * best(actions) + epsilon * np.full(count, 1 / count))


@pytest.mark.parametrize("ends", [(-0.1, 0.5), (1.0, 1.1), (2.0, 0.0), (0.5, -0.1)])
def test_an_epsilon_outside_zero_to_one_is_refused(ends):
    with pytest.raises(MaxEntError, match=rf"^epsilon must lie in \[0, 1\], but goes from {ends[0]} to {ends[1]}\.$"):
        EpsilonGreedy(ONE, LinearSchedule(*ends, 10))


# ---- softmax -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_softmax_exploration_draws_actions_by_exp_q_over_its_temperature(actions, temperature):
    expected = softmax(actions, Q[actions].double() / temperature)
    agree(play(SoftmaxExploration(actions, constant(temperature)), actions), expected)


def test_softmax_exploration_does_not_depend_on_the_policy():
    exploration, q = SoftmaxExploration(ONE, constant(1.0)), Q[ONE].expand(100, -1)
    torch.manual_seed(0)
    played = exploration(q, LOG_PROBS[ONE].expand(100, -1))
    torch.manual_seed(0)
    assert_close(exploration(q, ONE.log_softmax(5 * q)), played, rtol=0, atol=0)


def test_the_temperature_of_softmax_exploration_follows_its_schedule():
    schedule = LinearSchedule(2.0, 0.5, 100)
    exploration = SoftmaxExploration(ONE, schedule)
    for time, temperature in ((0, 2.0), (60, 1.1), (200, 0.5)):
        schedule.advance(time)
        agree(play(exploration, ONE), softmax(ONE, Q[ONE].double() / temperature))


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0), (1.0, -1.0)])
def test_a_temperature_of_softmax_exploration_that_reaches_zero_is_refused(ends):
    with pytest.raises(MaxEntError, match=rf"^The temperature .* must stay positive, but reaches {min(ends)}\.$"):
        SoftmaxExploration(ONE, LinearSchedule(*ends, 10))


# ---- the policy itself -------------------------------------------------------------------------------------------------


def test_exploration_by_the_policy_follows_its_probabilities_and_not_q(actions):
    agree(play(PolicyExploration(actions), actions), softmax(actions, -2 * Q[actions].double()))


@pytest.mark.parametrize("build", [PolicyExploration, lambda actions: EpsilonGreedy(actions, constant(0.5))])
def test_explored_actions_are_one_one_hot_vector_for_each_factor(build):
    played = build(TWO)(Q[TWO].expand(50, -1), LOG_PROBS[TWO].expand(50, -1))
    assert played.shape == (50, 5)
    assert set(played.flatten().tolist()) == {0.0, 1.0}
    assert (played[:, :2].sum(-1) == 1).all()
    assert (played[:, 2:].sum(-1) == 1).all()
