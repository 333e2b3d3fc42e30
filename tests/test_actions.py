import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import tensor
from torch.testing import assert_close

from lightning_maxent.actions import BoxActions, FiniteActions
from lightning_maxent.errors import MaxEntError

COUNTS = {"one_factor": (4,), "two_factors": (2, 3), "ragged_factors": (1, 5, 2)}
INF = math.inf


@pytest.fixture(params=COUNTS.values(), ids=COUNTS)
def counts(request):
    return request.param


def columns(counts):
    """The columns of every factor, counted by hand."""
    start = 0
    for count in counts:
        yield slice(start, start + count)
        start += count


def scores(counts, *batch, dtype=torch.float64, scale=2.0):
    generator = torch.Generator().manual_seed(1)
    return scale * torch.randn(*batch, sum(counts), generator=generator, dtype=dtype)


# ---- probabilities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_log_softmax_is_that_of_each_factor_alone(counts, batch):
    given = scores(counts, *batch)
    log_probs = FiniteActions(counts).log_softmax(given)
    assert log_probs.shape == given.shape
    for own in columns(counts):
        expected = scipy.special.log_softmax(given[..., own].numpy(), axis=-1)
        assert_close(log_probs[..., own], torch.as_tensor(expected))


@pytest.mark.parametrize("alpha", [0.05, 1.0, 30.0])
def test_boltzmann_is_the_softmax_of_q_over_alpha_of_each_factor_alone(counts, alpha):
    q = scores(counts, 5)
    log_probs = FiniteActions(counts).boltzmann(q, torch.tensor(alpha, dtype=q.dtype))
    for own in columns(counts):
        expected = scipy.special.log_softmax(q[:, own].numpy() / alpha, axis=-1)
        assert_close(log_probs[:, own], torch.as_tensor(expected))


def test_boltzmann_at_alpha_zero_is_uniform_over_the_best_choices_of_each_factor():
    q = tensor([[7.0, 7.0, 1.0, 3.0, 2.0], [9.0, -9.0, 4.0, 4.0, 4.0]])
    half, third = -math.log(2), -math.log(3)
    expected = tensor([[half, half, -INF, 0.0, -INF], [0.0, -INF, third, third, third]])
    assert_close(FiniteActions((2, 3)).boltzmann(q, tensor(0.0)), expected)


def test_a_constant_added_to_all_scores_of_one_factor_changes_no_probability():
    actions, given, shift = FiniteActions((2, 3)), scores((2, 3), 4), tensor([5.0, 5.0, -3.0, -3.0, -3.0])
    assert_close(actions.log_softmax(given + shift), actions.log_softmax(given))
    alpha = torch.tensor(0.3, dtype=given.dtype)
    assert_close(actions.boltzmann(given + shift, alpha), actions.boltzmann(given, alpha))


# ---- the best choice ---------------------------------------------------------------------------------------------------


def test_greedy_takes_the_highest_score_of_each_factor_and_the_first_of_equals():
    given = tensor([[1.0, 2.0, 0.0, -1.0, 5.0], [3.0, 3.0, 7.0, 7.0, -INF], [-INF, -2.0, -INF, -INF, -9.0]])
    expected = tensor([[0.0, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 0, 0, 1]])
    assert_close(FiniteActions((2, 3)).greedy(given), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_actions_are_one_one_hot_vector_for_each_factor_in_the_type_of_the_scores(counts, batch, dtype):
    actions = FiniteActions(counts)
    log_probs = actions.log_softmax(scores(counts, *batch, dtype=dtype))
    for played in (actions.greedy(log_probs), actions.sample(log_probs)):
        assert played.shape == (*batch, sum(counts))
        assert played.dtype == dtype
        assert set(played.flatten().tolist()) <= {0.0, 1.0}
        for own in columns(counts):
            assert (played[..., own].sum(-1) == 1).all()


# ---- draws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_draws_of_each_factor_follow_its_probabilities(counts, seed):
    torch.manual_seed(seed)
    given, draws = scores(counts, scale=1.0), 20_000
    played = FiniteActions(counts).sample(FiniteActions(counts).log_softmax(given).expand(draws, -1))
    for own, count in zip(columns(counts), counts):
        expected = draws * scipy.special.softmax(given[own].numpy())
        assert count == 1 or scipy.stats.chisquare(played[:, own].sum(0).numpy(), expected).pvalue > 1e-3


def test_factors_are_drawn_independently_of_each_other():
    torch.manual_seed(0)
    actions, given, draws = FiniteActions((2, 3)), scores((2, 3), scale=1.0), 20_000
    played = actions.sample(actions.log_softmax(given).expand(draws, -1)).numpy()
    joint = played[:, :2].T @ played[:, 2:]
    first, second = (scipy.special.softmax(given[own].numpy()) for own in columns((2, 3)))
    assert scipy.stats.chisquare(joint.ravel(), draws * np.outer(first, second).ravel()).pvalue > 1e-3


def test_every_row_is_drawn_from_its_own_probabilities():
    torch.manual_seed(0)
    log_probs = torch.full((4, 4), -INF).fill_diagonal_(0.0)
    assert_close(FiniteActions((4,)).sample(log_probs.repeat(100, 1)), torch.eye(4).repeat(100, 1), rtol=0, atol=0)


def test_an_action_of_probability_zero_is_never_drawn():
    torch.manual_seed(0)
    log_probs = tensor([-INF, 0.0, math.log(0.25), -INF, math.log(0.75)]).expand(100_000, -1)
    drawn = FiniteActions((2, 3)).sample(log_probs).sum(0)
    assert drawn[0] == drawn[3] == 0
    assert drawn[1] == 100_000
    assert drawn[2] > 0


# ---- entropies ---------------------------------------------------------------------------------------------------------


def test_highest_entropy_is_that_of_the_uniform_distribution_over_all_combinations(counts):
    combinations = math.prod(counts)
    expected = scipy.stats.entropy(np.full(combinations, 1 / combinations))
    assert FiniteActions(counts).max_entropy == pytest.approx(float(expected))


def test_default_target_entropy_is_seven_tenths_of_the_highest(counts):
    assert FiniteActions(counts).target_entropy == pytest.approx(0.7 * sum(math.log(count) for count in counts))


@pytest.mark.parametrize("dim", [1, 2, 17])
def test_entropies_of_a_box_are_those_of_a_cube_with_edges_of_two(dim):
    actions = BoxActions(dim)
    assert actions.dim == dim
    assert actions.max_entropy == pytest.approx(dim * float(scipy.stats.uniform(-1, 2).entropy()))
    assert actions.target_entropy == -dim


# ---- sizes -------------------------------------------------------------------------------------------------------------


def test_an_action_has_a_number_for_every_choice_of_every_factor(counts):
    actions = FiniteActions(np.array(counts).tolist())
    assert actions.counts == counts
    assert actions.dim == sum(counts)


@pytest.mark.parametrize("counts", [(), (0,), (3, 0), (-1, 2)])
def test_factors_without_choices_and_actions_without_factors_are_refused(counts):
    with pytest.raises(MaxEntError, match=r"^Every factor .* at least one choice, but counts is .*\.$"):
        FiniteActions(counts)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_actions_chosen_from_a_q_of_nan_are_nan(alpha):
    """Otherwise nobody would notice that a policy has diverged."""
    actions = FiniteActions((2, 3))
    q = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0], [math.nan, 1.0, 2.0, 3.0, 4.0]])
    played = actions.sample(actions.boltzmann(q, torch.tensor(alpha)))
    assert played.isnan().all(-1).tolist() == actions.greedy(q).isnan().all(-1).tolist() == [False, True]


def test_balanced_terms_have_the_same_sum_for_every_combination_and_equal_means(counts):
    actions = FiniteActions(counts)
    q = torch.randn(2, 4, actions.dim, dtype=torch.float64)
    balanced = actions.balanced(q)
    eyes = [torch.eye(count, dtype=torch.float64) for count in counts]
    every = torch.stack([torch.cat(rows) for rows in itertools.product(*eyes)])
    torch.testing.assert_close(balanced @ every.T, q @ every.T)
    means = torch.stack([factor.mean(-1) for factor in balanced.split(counts, -1)])
    torch.testing.assert_close(means, means[:1].expand_as(means))
