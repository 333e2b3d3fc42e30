import math
from copy import deepcopy

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from lightning_maxent.actions import FiniteActions
from lightning_maxent.errors import MaxEntError
from lightning_maxent.schedules import ConstantSchedule, ExponentialSchedule, LinearSchedule
from lightning_maxent.temperature import AnnealedTemperature

SCHEDULES = {
    "constant": lambda: ConstantSchedule(0.3),
    "linear": lambda: LinearSchedule(2.0, 0.5, 1000),
    "linear_upwards": lambda: LinearSchedule(-1.0, 3.0, 1000),
    "linear_to_zero": lambda: LinearSchedule(1.0, 0.0, 1000),
    "exponential": lambda: ExponentialSchedule(2.0, 0.02, 1000),
    "exponential_upwards": lambda: ExponentialSchedule(0.1, 10.0, 1000),
}


@pytest.fixture(params=SCHEDULES.values(), ids=SCHEDULES)
def schedule(request):
    return request.param()


def at(schedule, *times):
    values = []
    for time in times:
        schedule.advance(time)
        values.append(schedule())
    return torch.stack(values)


# ---- numbers at a time -------------------------------------------------------------------------------------------------


def test_a_constant_schedule_is_the_same_at_all_times():
    assert_close(at(ConstantSchedule(0.3), 0, 5, 10**9), tensor([0.3, 0.3, 0.3]), rtol=0, atol=0)


def test_a_linear_schedule_is_halfway_in_the_middle_and_stays_at_its_end():
    values = at(LinearSchedule(2.0, 0.5, 1000), 0, 250, 500, 1000, 1001, 10**9)
    assert_close(values, tensor([2.0, 1.625, 1.25, 0.5, 0.5, 0.5]))


def test_a_linear_schedule_reaches_zero_exactly_and_is_never_negative():
    values = at(LinearSchedule(0.7, 0.0, 3), *range(20))
    assert (values >= 0).all()
    assert_close(values[3:], torch.zeros(17), rtol=0, atol=0)


def test_an_exponential_schedule_is_the_geometric_mean_in_the_middle_and_stays_at_its_end():
    values = at(ExponentialSchedule(2.0, 0.02, 1000), 0, 250, 500, 1000, 1001, 10**9)
    expected = [2.0, 2 * 10**-0.5, 0.2, 0.02, 0.02, 0.02]
    assert_close(values, tensor(expected), rtol=1e-5, atol=0)


@pytest.mark.parametrize("duration", [1, 7])
def test_a_schedule_lasts_exactly_for_its_duration(duration):
    for schedule in (LinearSchedule(1.0, 0.5, duration), ExponentialSchedule(1.0, 0.5, duration)):
        last, end, beyond = at(schedule, duration - 1, duration, duration + 1)
        assert last > 0.5
        assert float(end) == float(beyond) == pytest.approx(0.5)


def test_linear_schedules_have_equal_differences_and_exponential_ones_equal_ratios():
    line = at(LinearSchedule(2.0, 0.5, 6), *range(7))
    assert_close(line.diff(), torch.full((6,), -0.25))
    exponential = at(ExponentialSchedule(2.0, 0.5, 6), *range(7))
    assert_close(exponential[1:] / exponential[:-1], torch.full((6,), 0.25 ** (1 / 6)))


def test_a_schedule_starts_and_ends_at_its_given_values_and_stays_between_them(schedule):
    start, end = schedule.ends()
    values = at(schedule, *range(0, 1500, 50))
    assert float(values[0]) == pytest.approx(start)
    assert float(values[-1]) == pytest.approx(end)
    assert values.min() >= min(start, end) - 1e-6
    assert values.max() <= max(start, end) + 1e-6
    assert (values.diff() * (end - start) >= 0).all()  # and never turns back


def test_a_schedule_returns_a_float32_scalar_without_gradient(schedule):
    value = schedule()
    assert (value.shape, value.dtype, value.requires_grad) == ((), torch.float32, False)


def test_a_schedule_has_no_parameters(schedule):
    assert list(schedule.parameters()) == []


def test_state_dict_keeps_the_time_of_a_schedule_and_so_its_value(schedule):
    restored = deepcopy(schedule)
    schedule.advance(300)
    restored.load_state_dict(schedule.state_dict())
    assert int(restored.env_steps) == 300
    assert_close(restored(), schedule(), rtol=0, atol=0)


# ---- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(number):
    sentence = r"^A schedule needs finite numbers, but was given .*\.$"
    for build in (
        lambda: ConstantSchedule(number),
        lambda: LinearSchedule(number, 1.0, 10),
        lambda: LinearSchedule(1.0, number, 10),
        lambda: ExponentialSchedule(number, 1.0, 10),
        lambda: ExponentialSchedule(1.0, number, 10),
    ):
        with pytest.raises(MaxEntError, match=sentence):
            build()


@pytest.mark.parametrize("kind", [LinearSchedule, ExponentialSchedule])
@pytest.mark.parametrize("duration", [0, -5])
def test_a_duration_below_one_step_is_refused(kind, duration):
    with pytest.raises(MaxEntError, match=rf"^A schedule's duration .* at least 1 .*, but is {duration}\.$"):
        kind(1.0, 0.5, duration)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -2.0)])
def test_an_exponential_schedule_to_zero_is_refused_and_a_linear_one_is_advised(ends):
    with pytest.raises(MaxEntError, match=r"^An exponential schedule .* positive .*LinearSchedule may reach zero\.$"):
        ExponentialSchedule(*ends, 10)


# ---- an annealed temperature -------------------------------------------------------------------------------------------

ACTIONS = FiniteActions((3,))


def test_an_annealed_alpha_is_its_schedule():
    schedule = LinearSchedule(1.0, 0.0, 10)
    temperature = AnnealedTemperature(ACTIONS, schedule)
    for time, alpha in ((0, 1.0), (4, 0.6), (10, 0.0), (99, 0.0)):
        schedule.advance(time)
        assert_close(temperature(), tensor(alpha))


def test_an_annealed_alpha_has_no_parameters_and_no_target_entropy():
    temperature = AnnealedTemperature(ACTIONS, ConstantSchedule(0.5))
    assert list(temperature.parameters()) == []
    assert temperature.target_entropy() is None
    assert_close(temperature.loss(tensor([1.0, -5.0])), torch.zeros(2), rtol=0, atol=0)


@pytest.mark.parametrize(
    "schedule", [LinearSchedule(1.0, -0.1, 10), LinearSchedule(-0.1, 1.0, 10), ConstantSchedule(-0.1)]
)
def test_an_alpha_that_would_become_negative_is_refused(schedule):
    with pytest.raises(MaxEntError, match=r"^The temperature alpha must not become negative, .* -0\.1\.$"):
        AnnealedTemperature(ACTIONS, schedule)


def test_an_alpha_may_be_annealed_to_zero():
    schedule = LinearSchedule(1.0, 0.0, 10)
    schedule.advance(10)
    assert float(AnnealedTemperature(ACTIONS, schedule)()) == 0.0


def test_a_resumed_run_goes_on_annealing_where_it_stopped():
    schedule = LinearSchedule(1.0, 0.0, 10)
    schedule.advance(7)
    restored = AnnealedTemperature(ACTIONS, LinearSchedule(1.0, 0.0, 10))
    restored.load_state_dict(AnnealedTemperature(ACTIONS, schedule).state_dict())
    assert_close(restored(), tensor(0.3))
