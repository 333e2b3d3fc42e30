"""What can be said of a few runs per task: aggregates, their intervals, and how often one variant beats another.

After Agarwal, Schwarzer, Castro, Courville, Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021, https://arxiv.org/abs/2108.13264.  Scores are one array ``[run]`` per task; tasks may have
different numbers of runs.  Every statistic takes leading axes, ``[..., run]``, so that it can be applied to all
resamples of a bootstrap at once.

**Few runs.**  A bootstrap draws again from the runs that there are, so it knows nothing beyond them.  With 3 runs of one
task, 1 resample in 27 holds the lowest run alone: more than 2.5 %, so the interval called 95 % reaches exactly from
the lowest run to the highest, and covers the true mean of a symmetric distribution 3 times in 4.  With 2 runs it does so
1 time in 2; with 1 run there is no interval.  ``coverage_of_many_tasks`` says what becomes of it over many tasks.
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

    Exactly a quarter is cut from each end: where that is no whole number of runs, the runs at the edge count in part.
    Of 3 runs the weights are 1/6, 2/3, 1/6.  (``scipy.stats.trim_mean``, and rliable with it, round down to whole
    runs, so that of 3 runs they cut none and give the mean; for multiples of 4 both are the same.)
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
    """The interquartile mean of all runs of all tasks together; a task with more runs counts for more."""
    return interquartile_mean(np.concatenate(list(scores), axis=-1))


def probability_of_improvement(x: Tasks, y: Tasks) -> Float[np.ndarray, "*resample"] | np.floating:
    """``P(X > Y) = mean_m mean_n [x[m, n] > y[m, n]] + [x[m, n] = y[m, n]] / 2``, where run ``n`` of both has the same seed.

    The chance that a run of X is better than a run of Y that is judged in the same episodes, on a task drawn at random.

    Agarwal et al. 2021, 4.3, compare every run of X with every run of Y, since their runs are independent.  Ours are not:
    a seed sets where evaluation episodes start, so all runs of one seed are judged from the same starts.  On Pendulum the
    scores of four algorithms correlate over seeds by .999: they deviate by 26, and their differences of equal seeds by .5
    to 1.6 (docs/results/chapter.csv).  Runs of different seeds are then told apart by their starts alone.  Simulated with
    that correlation, 10 seeds and a true chance of .86, all pairs give .55 on average, and pairs of equal seeds .86.  With no
    correlation both are right on average, and equal seeds err by .11 where all pairs err by .09.
    """
    return np.mean([_wins(a, b).mean(-1) for a, b in zip(x, y, strict=True)], axis=0)


def mean_difference(x: Tasks, y: Tasks) -> Float[np.ndarray, "*resample"] | np.floating:
    """``mean_m mean_n x[m, n] - y[m, n]``, where run ``n`` of both has the same seed: by how much X is better than Y."""
    return np.mean([(a - b).mean(-1) for a, b in zip(x, y, strict=True)], axis=0)


def _wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a > b) + 0.5 * (a == b)


def area_under_curve(
    steps: Float[np.ndarray, " point"], scores: Float[np.ndarray, "*batch point"]
) -> Float[np.ndarray, "*batch"] | np.floating:
    """``1 / (T - t) integral from t to T of the score``, by trapezoids from the first evaluation to the last.

    In the unit of the score: its average over the time of training.  Of a single evaluation, that one.
    """
    if len(steps) == 1:
        return scores[..., 0]
    return np.trapezoid(scores, steps, axis=-1) / (steps[-1] - steps[0])


def normalize(scores: Float[np.ndarray, "..."], low: float, high: float) -> Float[np.ndarray, "..."]:
    """``(x - low) / (high - low)``; one half where both are the same, since then nothing tells scores apart."""
    return (scores - low) / (high - low) if high != low else np.full_like(scores, 0.5)


def resampled(
    samples: Sequence[Tasks], generator: np.random.Generator, resamples: int = RESAMPLES
) -> list[list[Float[np.ndarray, "..."]]]:
    """Stratified bootstrap: draws the seeds of each task again, with replacement; ``[..., run]`` to ``[..., resample, run]``.

    Tasks are not drawn again: the question is what other seeds on the same tasks would have given.

    Args:
        samples: of each variant, the scores by task; run ``n`` of a task has the same seed in all of them.
        generator: of the draws.
        resamples: how many.

    Raises:
        ValueError: if variants differ in their number of runs on a task.
    """
    runs = [[task.shape[-1] for task in sample] for sample in samples]
    if any(each != runs[0] for each in runs):
        raise ValueError(f"Seeds can be drawn together only where all variants have them, but runs are {runs}.")
    draws = [generator.integers(number, size=(resamples, number)) for number in runs[0]]
    return [[task[..., draw] for task, draw in zip(sample, draws)] for sample in samples]


def interval(
    statistic: Callable[..., np.ndarray | np.floating], *scores: Tasks, seed: int = 0, resamples: int = RESAMPLES
) -> Float[np.ndarray, "two *batch"]:
    """``[low, high]``: the percentiles 2.5 and 97.5 of a statistic over stratified bootstrap resamples.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; with strata as in Agarwal et al. 2021, 4.1.  NaN where a
    task has a single run.

    Of several variants, as for ``mean_difference``, the same seeds are drawn for all: runs of one seed are judged in episodes
    from the same starts (see ``probability_of_improvement``), and seeds are independent, so a seed with its runs is what
    is drawn.  That is right whatever the correlation.  Drawn independently, intervals would hold the luck of the starts twice:
    with a correlation of .999 and 10 seeds they are 32 times as wide, and hold the true difference always, in place of the
    90 % of a percentile interval of 10 runs.
    """
    generator = np.random.default_rng(seed)
    estimates = np.asarray(statistic(*resampled(scores, generator, resamples)))
    low = (1 - LEVEL) / 2
    edges = np.quantile(estimates, [low, 1 - low], axis=-1)
    single = min(task.shape[-1] for sample in scores for task in sample) == 1
    return np.full_like(edges, np.nan) if single else edges


def coverage_of_many_tasks(runs: int) -> float:
    """``2 Phi(1.96 sqrt((n-1)/n)) - 1``: how often the interval holds the true mean over many tasks of ``n`` runs each.

    The variance among the runs at hand, which is the bootstrap's, is ``(n-1)/n`` of the true one on average; over many
    tasks the mean is normal.  0.83 for 2 runs, 0.89 for 3, 0.92 for 5, 0.94 for 10.
    """
    return float(2 * norm.cdf(norm.ppf((1 + LEVEL) / 2) * np.sqrt((runs - 1) / runs)) - 1)
