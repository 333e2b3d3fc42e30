import numpy as np
import pytest
from numpy.testing import assert_allclose

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact import exploitability, game_value

SEEDS = range(5)
MATCHING_PENNIES = [[1, -1], [-1, 1]]
ROCK_PAPER_SCISSORS = [[0, -1, 1], [1, 0, -1], [-1, 1, 0]]


def random_game(seed, rows=4, columns=3):
    return np.random.default_rng(seed).standard_normal((rows, columns))


@pytest.mark.parametrize(
    ("payoff", "value", "policy"),
    [
        (MATCHING_PENNIES, 0, [1 / 2, 1 / 2]),
        (ROCK_PAPER_SCISSORS, 0, [1 / 3, 1 / 3, 1 / 3]),
        ([[3, -1], [-2, 1]], 1 / 7, [3 / 7, 4 / 7]),  # 3p - 2(1-p) = -p + (1-p), so p = 3/7
        ([[2, 3], [1, 4]], 2, [1, 0]),  # a saddle point
        ([[0, 0], [1, 1]], 1, [0, 1]),  # a row that dominates
        ([[5, -7, 2]], -7, [1]),
        ([[5], [7]], 7, [0, 1]),
    ],
)
def test_games_worked_out_by_hand(payoff, value, policy):
    found, rows = game_value(payoff)
    assert found == pytest.approx(value, abs=1e-12)
    assert_allclose(rows, policy, atol=1e-9)
    assert exploitability(payoff, rows) == pytest.approx(0, abs=1e-12)


def test_a_game_with_one_payoff_has_that_value():
    assert game_value(np.full((2, 3), 4.0))[0] == pytest.approx(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_maximin_of_one_player_equals_the_minimax_of_the_other(seed):
    payoff = random_game(seed)
    assert game_value(payoff)[0] == pytest.approx(-game_value(-payoff.T)[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_no_policy_guarantees_more_than_the_value(seed):
    payoff = random_game(seed)
    policies = np.random.default_rng(seed).dirichlet(np.ones(4), size=500)
    assert ((policies @ payoff).min(-1) <= game_value(payoff)[0] + 1e-9).all()


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_value_scales_and_shifts_with_the_payoff(scale):
    payoff = random_game(0)
    value, policy = game_value(payoff)
    scaled, same = game_value(scale * (payoff + 2))
    assert scaled == pytest.approx(scale * (value + 2))
    assert_allclose(same, policy, atol=1e-9)


@pytest.mark.parametrize(
    ("payoff", "policy", "gained"),
    [
        (MATCHING_PENNIES, [1, 0], 1),
        (MATCHING_PENNIES, [0.75, 0.25], 0.5),
        (ROCK_PAPER_SCISSORS, [0.5, 0.5, 0], 0.5),  # paper earns -1/2 from rock, nothing from paper
        ([[3, -1], [-2, 1]], [1 / 2, 1 / 2], 1 / 7),  # sure of 0 where 1/7 could be had
    ],
)
def test_exploitability_worked_out_by_hand(payoff, policy, gained):
    assert exploitability(payoff, policy) == pytest.approx(gained)


@pytest.mark.parametrize("seed", SEEDS)
def test_exploitability_is_never_negative_and_zero_at_an_equilibrium(seed):
    payoff = random_game(seed)
    for policy in np.random.default_rng(seed).dirichlet(np.full(4, 0.5), size=30):
        assert exploitability(payoff, policy) >= 0
    equilibrium = game_value(payoff)[1]
    assert 0 <= exploitability(payoff, equilibrium) < 1e-9


def test_rounding_makes_no_exploitability_negative():
    assert 0 <= exploitability(ROCK_PAPER_SCISSORS, [1 / 3, 1 / 3, 1 / 3]) < 1e-15


@pytest.mark.parametrize("payoff", [[1.0, 2.0], [[np.nan, 1.0]], [[np.inf, 1.0]], np.zeros((0, 2))])
def test_an_invalid_payoff_matrix_is_refused(payoff):
    with pytest.raises(
        MaxEntError, match=r"The payoff must be a matrix \[row action, column action\] of finite numbers"
    ):
        game_value(payoff)
    with pytest.raises(MaxEntError, match="The payoff must be a matrix"):
        exploitability(payoff, [1.0])


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ([0.5, 0.4], "The policy must hold probabilities that sum to one, but their sum is 0.9"),
        ([1.5, -0.5], "the smallest is -0.5"),
        ([1.0], r"The policy must have the shape \(2,\), but has \(1,\)"),
    ],
)
def test_an_invalid_row_policy_is_refused(policy, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        exploitability(MATCHING_PENNIES, policy)
