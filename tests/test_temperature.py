import math
import re

import pytest
import torch
from torch import tensor
from torch.optim import SGD
from torch.testing import assert_close

from lightning_maxent.actions import BoxActions, FiniteActions
from lightning_maxent.errors import MaxEntError
from lightning_maxent.temperature import FixedTemperature, LearnedTemperature


@pytest.mark.parametrize("action_dim", [1, 2, 6, 17])
def test_default_target_entropy_is_minus_the_size_of_the_action(action_dim):
    assert_close(
        LearnedTemperature(BoxActions(action_dim)).target_entropy(), tensor(-float(action_dim)), rtol=0, atol=0
    )


@pytest.mark.parametrize("alpha", [0.01, 1.0, 5.0])
def test_learned_alpha_starts_at_initial_alpha(alpha):
    assert_close(LearnedTemperature(BoxActions(3), initial_alpha=alpha)(), tensor(alpha))


@pytest.mark.parametrize("initial_alpha", [0.1, 1.0, 3.0])
def test_gradient_in_log_alpha_is_minus_alpha_times_log_prob_plus_target_entropy(initial_alpha):
    log_prob = tensor([-3.0, 0.5, 4.0])
    temperature = LearnedTemperature(BoxActions(2), initial_alpha=initial_alpha, target_entropy=-1.5)
    temperature.loss(log_prob).mean().backward()
    assert_close(temperature.log_alpha.grad, -tensor(initial_alpha) * (log_prob.mean() - 1.5))


@pytest.mark.parametrize("action_dim", [1, 3])
def test_alpha_falls_above_the_target_entropy_rises_below_and_is_constant_at_it(action_dim):
    def alpha_after_one_step(entropy):
        temperature = LearnedTemperature(BoxActions(action_dim))
        optimizer = SGD(temperature.parameters(), lr=0.1)
        temperature.loss(torch.full((4,), -entropy)).mean().backward()
        optimizer.step()
        return float(temperature().detach())

    target = -float(action_dim)
    assert alpha_after_one_step(target + 0.5) == pytest.approx(math.exp(-0.05))  # exp(-lr * alpha * surplus)
    assert alpha_after_one_step(target - 0.5) == pytest.approx(math.exp(0.05))
    assert alpha_after_one_step(target) == pytest.approx(1.0)


def test_learned_alpha_stays_positive_under_any_step():
    temperature = LearnedTemperature(BoxActions(1))
    optimizer = SGD(temperature.parameters(), lr=10.0)
    temperature.loss(tensor([-2.0])).mean().backward()
    optimizer.step()
    assert_close(temperature().detach(), tensor(math.exp(-30.0)))  # not 1 - 30


def test_state_dict_restores_a_learned_alpha_which_continues_to_learn():
    trained = LearnedTemperature(BoxActions(2))
    with torch.no_grad():
        trained.log_alpha.fill_(-1.25)
    restored = LearnedTemperature(BoxActions(2), initial_alpha=7.0)
    optimizer = SGD(restored.parameters(), lr=0.1)  # built before loading, as a resumed run does
    restored.load_state_dict(trained.state_dict())
    assert_close(restored(), tensor(math.exp(-1.25)))
    restored.loss(tensor([3.0])).mean().backward()
    optimizer.step()
    assert_close(restored.log_alpha.detach(), tensor(-1.25 + 0.1 * math.exp(-1.25) * (3 - 2)))


def test_fixed_alpha_is_constant_without_parameters_or_target_entropy():
    temperature = FixedTemperature(BoxActions(3), alpha=0.4)
    assert list(temperature.parameters()) == []
    assert_close(temperature(), tensor(0.4))
    assert temperature.target_entropy() is None
    assert_close(temperature.loss(tensor([1.0, -5.0])), torch.zeros(2), rtol=0, atol=0)


def test_fixed_alpha_may_be_zero():
    assert float(FixedTemperature(BoxActions(1), alpha=0.0)()) == 0.0


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf, -math.inf])
def test_fixed_alpha_that_is_negative_or_not_a_number_is_refused(alpha):
    with pytest.raises(MaxEntError, match="alpha"):
        FixedTemperature(BoxActions(1), alpha=alpha)


@pytest.mark.parametrize("alpha", [0.0, -0.1, math.nan, math.inf])
def test_initial_alpha_without_a_finite_logarithm_is_refused(alpha):
    with pytest.raises(MaxEntError, match="initial_alpha"):
        LearnedTemperature(BoxActions(1), initial_alpha=alpha)


@pytest.mark.parametrize("action_dim", [1, 2, 6])
def test_target_entropy_is_refused_from_the_entropy_of_the_uniform_distribution_upwards(action_dim):
    uniform = action_dim * math.log(2)
    for unreachable in (uniform, uniform + 1.0):
        with pytest.raises(MaxEntError, match="cannot be reached"):
            LearnedTemperature(BoxActions(action_dim), target_entropy=unreachable)
    reachable = LearnedTemperature(BoxActions(action_dim), target_entropy=uniform - 0.01)
    assert_close(reachable.target_entropy(), tensor(uniform - 0.01))


@pytest.mark.parametrize("target_entropy", [math.nan, math.inf, -math.inf])
def test_target_entropy_that_is_not_finite_is_refused(target_entropy):
    with pytest.raises(MaxEntError, match="must be finite"):
        LearnedTemperature(BoxActions(1), target_entropy=target_entropy)


# ---- over finite actions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(2,), (7,), (2, 3), (1, 5, 2)])
def test_default_target_entropy_of_finite_actions_is_seven_tenths_of_the_highest_that_they_allow(counts):
    target = LearnedTemperature(FiniteActions(counts)).target_entropy()
    assert_close(target, tensor(0.7 * math.log(math.prod(counts))))


@pytest.mark.parametrize("counts", [(2,), (7,), (2, 3), (1, 5, 2)])
def test_target_entropy_of_finite_actions_is_refused_from_log_n_upwards(counts):
    """With such a target the loss would raise alpha without end."""
    highest = math.log(math.prod(counts))
    for unreachable in (highest + 1e-6, highest + 1.0, 100.0):
        with pytest.raises(MaxEntError) as refusal:
            LearnedTemperature(FiniteActions(counts), target_entropy=unreachable)
        assert re.search(
            rf"^target_entropy .*at most {highest:.3f} nats.* Choose a lower target, or a FixedTemperature\.$",
            str(refusal.value),
        )
    reachable = LearnedTemperature(FiniteActions(counts), target_entropy=highest - 1e-3)
    assert_close(reachable.target_entropy(), tensor(highest - 1e-3))


def test_target_entropy_log_2_is_refused_for_two_actions_and_accepted_for_three():
    with pytest.raises(MaxEntError, match=r"^target_entropy 0\.693\d* cannot be reached: .* at most 0\.693 nats"):
        LearnedTemperature(FiniteActions((2,)), target_entropy=math.log(2))
    assert_close(
        LearnedTemperature(FiniteActions((3,)), target_entropy=math.log(2)).target_entropy(), tensor(0.6931472)
    )


@pytest.mark.parametrize("counts", [(3,), (2, 3)])
def test_alpha_falls_for_a_uniform_policy_and_rises_for_a_deterministic_one(counts):
    def alpha_after_one_step(entropy):
        temperature = LearnedTemperature(FiniteActions(counts))
        optimizer = SGD(temperature.parameters(), lr=0.1)
        temperature.loss(torch.full((4,), -entropy)).mean().backward()
        optimizer.step()
        return float(temperature().detach())

    highest = math.log(math.prod(counts))
    assert alpha_after_one_step(highest) == pytest.approx(math.exp(-0.1 * 0.3 * highest))
    assert alpha_after_one_step(0.0) == pytest.approx(math.exp(0.1 * 0.7 * highest))


@pytest.mark.parametrize("target_entropy", [-1e-6, -2.0])
def test_target_entropy_below_that_of_a_deterministic_policy_is_refused(target_entropy):
    """With such a target the loss would lower alpha without end."""
    with pytest.raises(MaxEntError, match=r"at least 0 nats.*Choose a higher target, or a FixedTemperature\.$"):
        LearnedTemperature(FiniteActions((3,)), target_entropy=target_entropy)


def test_a_learned_temperature_is_refused_for_a_single_action():
    with pytest.raises(MaxEntError, match=r"or a FixedTemperature\.$"):
        LearnedTemperature(FiniteActions((1,)))
