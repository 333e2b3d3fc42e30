"""Statistics of few runs: against numbers by hand, against scipy, and against known properties of the bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm, trim_mean

from lightning_maxent.comparison.statistics import (
    area_under_curve,
    coverage_of_many_tasks,
    interquartile_mean,
    interquartile_mean_over_tasks,
    interval,
    mean_difference,
    mean_over_tasks,
    median_over_tasks,
    normalize,
    probability_of_improvement,
    resampled,
)

SCORES = st.integers(-5, 5).map(float)
PAIRS = st.integers(1, 9).flatmap(lambda n: arrays(np.float64, (2, n), elements=SCORES))  # runs of equal seeds
RUNS = st.integers(1, 9).flatmap(lambda n: arrays(np.float64, n, elements=st.integers(-5, 5).map(float)))


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("scores", "middle"),
    [
        ([7.0], 7.0),
        ([0.0, 10.0], 5.0),  # a quarter is half of each
        ([0.0, 1.0, 10.0], 0 / 6 + 1 * 2 / 3 + 10 / 6),
        ([100.0, 2.0, 1.0, -100.0], 1.5),
        ([0.0, 1.0, 4.0, 9.0, 16.0], (0.75 * 1 + 4 + 0.75 * 9) / 2.5),
        ([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -50.0], (2 + 3 + 4 + 5) / 4),
    ],
)
def test_interquartile_mean_by_hand(scores, middle):
    assert interquartile_mean(np.array(scores)) == pytest.approx(middle)


@pytest.mark.parametrize("runs", [4, 8, 40])
def test_interquartile_mean_is_the_trimmed_mean_where_a_quarter_is_a_whole_number(runs):
    scores = generator().normal(size=(6, runs))
    assert interquartile_mean(scores) == pytest.approx(trim_mean(scores, 0.25, axis=-1))


def test_interquartile_mean_is_twice_the_integral_of_the_quantile_function():
    scores = generator().normal(size=7)
    levels = np.linspace(0.25, 0.75, 200_001)
    quantiles = np.sort(scores)[np.minimum((levels * 7).astype(int), 6)]
    assert interquartile_mean(scores) == pytest.approx(2 * np.trapezoid(quantiles, levels), abs=1e-4)


@settings(deadline=None)
@given(RUNS, st.randoms())
def test_interquartile_mean_is_order_independent_and_within_the_runs(scores, random):
    middle = interquartile_mean(scores)
    assert scores.min() - 1e-12 <= middle <= scores.max() + 1e-12
    shuffled = scores.tolist()
    random.shuffle(shuffled)
    assert interquartile_mean(np.array(shuffled)) == pytest.approx(middle)
    assert interquartile_mean(3 * scores + 2) == pytest.approx(3 * middle + 2)


def test_aggregates_of_two_tasks_are_those_of_the_published_code():
    # rliable 1.2.0, metrics.py: aggregate_mean, aggregate_median, aggregate_iqm
    a = [np.array([0.1, 0.4, 0.9, 0.2]), np.array([0.3, 0.35, 0.5, 0.8])]
    b = [np.array([0.2, 0.4, 0.6, 0.7]), np.array([0.1, 0.9, 0.35, 0.0])]
    assert mean_over_tasks(a) == pytest.approx(0.44375)
    assert median_over_tasks(b) == pytest.approx(0.40625)
    assert interquartile_mean_over_tasks(a) == pytest.approx(0.3875)
    assert interquartile_mean_over_tasks(b) == pytest.approx(0.3875)


def test_variants_are_compared_seed_by_seed():
    x = [np.array([0.1, 0.4, 0.9, 0.2]), np.array([0.3, 0.35])]
    y = [np.array([0.2, 0.4, 0.6, 0.1]), np.array([0.1, 0.9])]
    assert probability_of_improvement(x, y) == pytest.approx((2.5 / 4 + 1 / 2) / 2)
    assert mean_difference(x, y) == pytest.approx((0.3 / 4 + (0.2 - 0.55) / 2) / 2)


def test_the_median_over_tasks_is_of_their_means():
    tasks = [np.array([0.0, 2.0]), np.array([5.0]), np.array([0.0, 0.0, 300.0])]
    assert median_over_tasks(tasks) == 5
    assert mean_over_tasks(tasks) == pytest.approx((1 + 5 + 100) / 3)


@settings(deadline=None)
@given(PAIRS)
def test_comparing_variants_in_reverse_order_gives_the_complement(pairs):
    x, y = pairs
    assert probability_of_improvement([x], [x]) == pytest.approx(0.5)
    assert probability_of_improvement([x], [y]) + probability_of_improvement([y], [x]) == pytest.approx(1)
    assert mean_difference([x], [y]) == pytest.approx(-mean_difference([y], [x]))


@settings(deadline=None)
@given(PAIRS, st.integers(-100, 100))
def test_an_offset_common_to_a_seed_changes_no_paired_statistic(pairs, luck):
    x, y = pairs
    starts = luck * np.arange(len(x)) ** 2
    assert probability_of_improvement([x + starts], [y + starts]) == probability_of_improvement([x], [y])
    assert mean_difference([x + starts], [y + starts]) == pytest.approx(mean_difference([x], [y]))


@settings(deadline=None)
@given(PAIRS)
def test_probability_of_improvement_depends_on_order_only(pairs):
    x, y = pairs
    rising = [np.exp, lambda scores: scores**3, lambda scores: 0.001 * scores - 7]
    for function in rising:
        after = probability_of_improvement([function(x)], [function(y)])
        assert after == pytest.approx(probability_of_improvement([x], [y]))


def test_area_under_curve_by_hand():
    steps = np.array([0.0, 10.0, 40.0])
    scores = np.array([[0.0, 10.0, 10.0], [5.0, 5.0, 5.0]])
    assert area_under_curve(steps, scores) == pytest.approx([(50 + 300) / 40, 5])
    assert area_under_curve(steps[:1], scores[:, :1]) == pytest.approx([0, 5])


def test_normalized_scores_are_zero_and_one_at_the_stated_pair():
    assert normalize(np.array([-10.0, 0.0, 30.0]), -10.0, 30.0).tolist() == [0, 0.25, 1]
    assert normalize(np.array([3.0, 3.0]), 3.0, 3.0).tolist() == [0.5, 0.5]


def test_resampling_draws_from_the_runs_of_the_same_task():
    tasks = [np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])]
    ((first, second),) = resampled([tasks], generator(), 1_000)
    assert first.shape == (1_000, 2)
    assert set(first.ravel()) == {1, 2}
    assert set(second.ravel()) == {10, 20, 30}
    assert abs(second.mean() - 20) < 1


def test_seeds_are_drawn_together_for_all_variants_of_a_task_and_anew_for_each_task():
    x = [np.arange(5.0), np.arange(5.0)]
    y = [10 * task for task in x]
    (x_one, x_two), (y_one, y_two) = resampled([x, y], generator(), 200)
    assert np.array_equal(y_one, 10 * x_one)
    assert np.array_equal(y_two, 10 * x_two)
    assert not np.array_equal(x_one, x_two)


def test_variants_with_different_numbers_of_seeds_are_refused_as_pairs():
    with pytest.raises(
        ValueError, match=r"must have the same number of runs on a task, but these are \[\[2\], \[3\]\]"
    ):
        interval(mean_difference, [np.arange(2.0)], [np.arange(3.0)])


def correlated(correlation: float, runs: int, repetitions: int):
    """Scores of two equally good variants; this share of the variance comes from seeds that they share."""
    for seed in range(repetitions):
        starts, x, y = generator(seed).normal(size=(3, runs))
        yield [np.sqrt(correlation) * starts + np.sqrt(1 - correlation) * own for own in (x, y)]


@pytest.mark.parametrize("correlation", [0, 0.5, 0.999])
def test_coverage_of_the_interval_of_a_difference_does_not_depend_on_the_correlation_of_seeds(correlation):
    hits = 0
    for seed, (x, y) in enumerate(correlated(correlation, 10, 600)):
        low, high = interval(mean_difference, [x], [y], seed=seed, resamples=500)
        hits += low <= 0 <= high
    assert hits / 600 == pytest.approx(0.90, abs=0.04)  # of a percentile interval of 10 runs; 3 deviations are 0.037


def test_resampling_variants_independently_would_give_too_wide_intervals():
    hits, widths, apart = 0, [], []
    for x, y in correlated(0.999, 10, 200):
        drawn = [resampled([[scores]], generator(which), 500)[0][0] for which, scores in enumerate((x, y))]
        low, high = np.quantile(drawn[0].mean(-1) - drawn[1].mean(-1), [0.025, 0.975])
        hits += low <= 0 <= high
        apart.append(high - low)
        low, high = interval(mean_difference, [x], [y], resamples=500)
        widths.append(high - low)
    assert hits == 200
    assert np.mean(apart) / np.mean(widths) == pytest.approx(32, rel=0.1)  # sqrt(1 / (1 - .999))


@pytest.mark.parametrize("correlation", [0, 0.999])
def test_probability_of_improvement_is_unbiased_for_correlated_seeds(correlation):
    own = np.sqrt(1 - correlation)
    better = [
        probability_of_improvement([x + 1.5 * own], [y]) for x, y in correlated(correlation, 10, 2_000)
    ]  # P(N(1.5, 2) > 0)
    assert np.mean(better) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.01)


def test_differences_between_tasks_do_not_widen_the_stratified_interval():
    tasks = [task + 1_000 * index for index, task in enumerate(generator().normal(size=(5, 4)))]
    low, high = interval(mean_over_tasks, tasks)
    pooled_low, pooled_high = interval(mean_over_tasks, [np.concatenate(tasks)])
    assert high - low < 2
    assert pooled_high - pooled_low > 500


@pytest.mark.parametrize("runs", [2, 3])
def test_the_interval_of_two_or_three_runs_is_their_range(runs):
    scores = generator().normal(size=runs)
    for statistic in (mean_over_tasks, interquartile_mean_over_tasks):
        assert interval(statistic, [scores]) == pytest.approx([scores.min(), scores.max()])


def test_a_single_run_has_no_interval():
    assert np.isnan(interval(mean_over_tasks, [np.array([1.0]), np.array([1.0, 2.0])])).all()


def test_an_interval_is_the_same_whenever_it_is_computed():
    tasks = [generator().normal(size=6)]
    assert interval(mean_over_tasks, tasks).tolist() == interval(mean_over_tasks, tasks).tolist()


def test_intervals_of_many_curves_at_once_equal_those_of_single_curves():
    scores = generator().normal(size=(4, 5))
    together = interval(lambda tasks: tasks[0].mean(-1), [scores])
    assert together.shape == (2, 4)
    alone = interval(lambda tasks: tasks[0].mean(-1), [scores[2]])
    assert together[:, 2] == pytest.approx(alone)


def test_an_interval_of_a_clear_win_is_a_point_and_of_a_draw_holds_one_half():
    better, worse = [np.arange(5.0) + 10], [np.arange(5.0)]
    assert interval(probability_of_improvement, better, worse).tolist() == [1, 1]
    x, y = [generator(1).normal(size=10)], [generator(2).normal(size=10)]
    low, high = interval(probability_of_improvement, x, y)
    assert low < 0.5 < high


def coverage(tasks: int, runs: int, repetitions: int) -> float:
    """How often the interval of the mean contains the true mean, for normal scores."""
    hits = 0
    for seed in range(repetitions):
        scores = list(generator(1_000 + seed).normal(size=(tasks, runs)))
        low, high = interval(mean_over_tasks, scores, seed=seed, resamples=500)
        hits += low <= 0 <= high
    return hits / repetitions


@pytest.mark.parametrize(
    ("tasks", "runs", "known"),
    [
        (1, 2, 0.5),  # 1 - 2 / 2^n: all runs on one side of the true mean
        (1, 3, 0.75),
        (20, 3, coverage_of_many_tasks(3)),
        (20, 10, coverage_of_many_tasks(10)),
    ],
)
def test_coverage_of_the_interval_is_that_in_its_docstring(tasks, runs, known):
    assert coverage(tasks, runs, 800) == pytest.approx(known, abs=0.04)  # 3 deviations are 0.05 at a half, 0.03 at 0.9


@pytest.mark.parametrize(("runs", "known"), [(2, 0.83), (3, 0.89), (5, 0.92), (10, 0.94), (10_000, 0.95)])
def test_coverage_over_many_tasks_is_that_in_the_docstring(runs, known):
    assert round(coverage_of_many_tasks(runs), 2) == known
