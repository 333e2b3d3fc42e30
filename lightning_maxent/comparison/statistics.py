"""Statistics of a few runs per task: aggregates, their intervals, and how often one variant is better than another.

After Agarwal, Schwarzer, Castro, Courville, Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021, https://arxiv.org/abs/2108.13264.  Scores are one array ``[run]`` per task; tasks may have
different numbers of runs.  Every statistic takes leading axes, ``[..., run]``, so that it can be applied to all
resamples of a bootstrap at once.

**Few runs.**  A bootstrap only draws from the given runs.  With 3 runs of one task, 1 resample in 27 consists of the
lowest run alone.  This is more than 2.5 %, so the nominal 95 % interval is exactly the range from the lowest run to the
highest, and it covers the true mean of a symmetric distribution in 3 of 4 cases.  With 2 runs it does so in 1 of 2
cases.  With 1 run there is no interval.  ``coverage_of_many_tasks`` gives the coverage over many tasks.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

RESAMPLES = 5_000
LEVEL = 0.95

Tasks = Sequence[Float[np.ndarray, "*resample _"]]  # [..., run] of each task


def interquartile_mean(scores: Float[np.ndarray, "*batch run"]) -> Float[np.ndarray, "*batch"] | np.floating:
    """``2 integral of the quantile function from 1/4 to 3/4``: the mean of the middle half; Agarwal et al. 2021, 4.3.

    Exactly a quarter of the runs is cut from each end.  If this is not a whole number of runs, the runs at the edge
    count in part: for 3 runs, the weights are 1/6, 2/3, 1/6.  (``scipy.stats.trim_mean``, and rliable, which uses it,
    round down to whole runs.  For 3 runs they cut none and give the mean; for multiples of 4 there is no difference.)
    """
    runs = scores.shape[-1]
    edges = np.linspace(0, 1, runs + 1).clip(0.25, 0.75)
    return np.sort(scores, axis=-1) @ (2 * np.diff(edges))


def mean_over_tasks(scores: Tasks) -> Float[np.ndarray, "*resample"] | np.floating:
    """``mean_m mean_n x[m, n]``: the mean over tasks of their means over runs."""
    return np.mean([task.mean(-1) for task in scores], axis=0)


def median_over_tasks(scores: Tasks) -> Float[np.ndarray, "*resample"] | np.floating:
    """``median_m mean_n x[m, n]``: the median over tasks of their means over runs."""
    return np.median([task.mean(-1) for task in scores], axis=0)


def interquartile_mean_over_tasks(scores: Tasks) -> Float[np.ndarray, "*resample"] | np.floating:
    """The interquartile mean of all runs of all tasks together; a task with more runs has a larger weight."""
    return interquartile_mean(np.concatenate(list(scores), axis=-1))


def probability_of_improvement(x: Tasks, y: Tasks) -> Float[np.ndarray, "*resample"] | np.floating:
    """``P(X > Y) = mean_m mean_n [x[m, n] > y[m, n]] + [x[m, n] = y[m, n]] / 2``; run ``n`` of both has the same seed.

    The probability that a run of X is better than the run of Y with the same seed, on a task drawn at random.

    Agarwal et al. 2021, 4.3, compare every run of X with every run of Y, because their runs are independent.  Ours are
    not:  the seed decides the first states of evaluation episodes, so all runs with one seed share these states.  On
        Pendulum, the
    scores of four algorithms have a correlation over seeds of .999.  Their standard deviation is 26, but that of the
    differences between equal seeds is .5 to 1.6 (docs/results/chapter.csv).  So scores of different seeds differ mostly
    by their first states.  In a simulation with this correlation, 10 seeds and a true probability of .86, comparing all
    pairs gives .55 on average, and comparing equal seeds .86.  Without correlation both are unbiased, with an error of
    .11 for equal seeds and .09 for all pairs.
    """
    return np.mean([_wins(a, b).mean(-1) for a, b in zip(x, y, strict=True)], axis=0)


def mean_difference(x: Tasks, y: Tasks) -> Float[np.ndarray, "*resample"] | np.floating:
    """``mean_m mean_n x[m, n] - y[m, n]``, where run ``n`` of both has the same seed: how much better X is than Y."""
    return np.mean([(a - b).mean(-1) for a, b in zip(x, y, strict=True)], axis=0)


def _wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a > b) + 0.5 * (a == b)


def area_under_curve(
    steps: Float[np.ndarray, " point"], scores: Float[np.ndarray, "*batch point"]
) -> Float[np.ndarray, "*batch"] | np.floating:
    """``1 / (T - t) integral from t to T of the score``, by trapezoids from the first evaluation to the last.

    This is the average score over training, in the unit of the score.  With a single evaluation, it is that score.
    """
    if len(steps) == 1:
        return scores[..., 0]
    return np.trapezoid(scores, steps, axis=-1) / (steps[-1] - steps[0])


def normalize(scores: Float[np.ndarray, "..."], low: float, high: float) -> Float[np.ndarray, "..."]:
    """``(x - low) / (high - low)``; one half if ``low`` and ``high`` are equal."""
    return (scores - low) / (high - low) if high != low else np.full_like(scores, 0.5)


def resampled(
    samples: Sequence[Tasks], generator: np.random.Generator, resamples: int = RESAMPLES
) -> list[list[Float[np.ndarray, "..."]]]:
    """Stratified bootstrap: draws the seeds of each task with replacement, ``[..., run]`` to ``[..., resample, run]``.

    Tasks are not drawn again, because the intervals are about other seeds on the same tasks.

    Args:
        samples: for each variant, the scores of each task; run ``n`` of a task has the same seed for all variants.
        generator: the random generator.
        resamples: number of resamples.

    Raises:
        ValueError: if variants have different numbers of runs on a task.
    """
    runs = [[task.shape[-1] for task in sample] for sample in samples]
    if any(each != runs[0] for each in runs):
        raise ValueError(f"All variants must have the same number of runs on a task, but these are {runs}.")
    draws = [generator.integers(number, size=(resamples, number)) for number in runs[0]]
    return [[task[..., draw] for task, draw in zip(sample, draws)] for sample in samples]


def interval(
    statistic: Callable[..., np.ndarray | np.floating], *scores: Tasks, seed: int = 0, resamples: int = RESAMPLES
) -> Float[np.ndarray, "two *batch"]:
    """``[low, high]``: the percentiles 2.5 and 97.5 of a statistic over stratified bootstrap resamples.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; stratified as in Agarwal et al. 2021, 4.1.  The
    result is NaN if a task has a single run.

    For several variants, as in ``mean_difference``, the same seeds are drawn for all.  Runs with one seed are
    correlated (see ``probability_of_improvement``), but different seeds are independent.  So this is correct for every
    correlation.  If seeds were drawn independently for each variant, then with a correlation of .999 and 10 seeds the
    intervals would be 32 times as wide.  They would always contain the true difference, in place of the 90 % of a
    percentile interval of 10 runs.
    """
    generator = np.random.default_rng(seed)
    estimates = np.asarray(statistic(*resampled(scores, generator, resamples)))
    low = (1 - LEVEL) / 2
    edges = np.quantile(estimates, [low, 1 - low], axis=-1)
    single = min(task.shape[-1] for sample in scores for task in sample) == 1
    return np.full_like(edges, np.nan) if single else edges


def coverage_of_many_tasks(runs: int) -> float:
    """``2 Phi(1.96 sqrt((n-1)/n)) - 1``: how often the interval contains the true mean over many tasks of ``n`` runs.

    The bootstrap uses the variance of the given runs, which is on average ``(n-1)/n`` of the true variance.  Over many
    tasks the mean is normally distributed.  The coverage is 0.83 for 2 runs, 0.89 for 3, 0.92 for 5 and 0.94 for 10.
    """
    return float(2 * norm.cdf(norm.ppf((1 + LEVEL) / 2) * np.sqrt((runs - 1) / runs)) - 1)
