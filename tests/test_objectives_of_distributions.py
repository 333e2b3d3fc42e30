import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import tensor
from torch.nn import functional
from torch.testing import assert_close

from lightning_maxent.objectives import (
    boltzmann_log_probs,
    cross_entropy,
    expected_soft_value,
    gaussian_histogram,
    projection,
    quantile_huber,
    soft_mixture,
)

BATCH, MEMBERS, ATOMS = 6, 3, 9


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normal(seed, *shape):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def distribution(seed, *shape):
    """Atoms and their probabilities; one probability is zero."""
    probs = normal(1000 + seed, *shape).softmax(-1)
    probs[..., 1] = 0
    return 3 * normal(seed, *shape), probs / probs.sum(-1, keepdim=True)


def double(number):
    return torch.tensor(number, dtype=torch.float64)


# ---- quantile regression -----------------------------------------------------------------------------------------------


def test_quantile_huber_loss_equals_numbers_worked_out_by_hand():
    quantiles, atoms, probs = tensor([[0.0, 4.0]]), tensor([[1.0, 0.5]]), tensor([[0.75, 0.25]])
    # levels 1/4 and 3/4; errors of the first: 1, .5, both above; of the second: -3, -3.5, both below and linear
    first = 0.75 * 0.25 * 0.5 + 0.25 * 0.25 * 0.125
    second = 0.75 * 0.25 * 2.5 + 0.25 * 0.25 * 3.0
    assert_close(quantile_huber(quantiles, atoms, probs), tensor([(first + second) / 2]))


def test_quantile_huber_loss_of_equally_likely_atoms_is_the_mean_over_pairs_of_the_tqc_paper():
    quantiles, atoms = normal(0, MEMBERS, BATCH, 5), normal(1, BATCH, ATOMS)
    loss = quantile_huber(quantiles, atoms, torch.full_like(atoms, 1 / ATOMS))
    for member in range(MEMBERS):
        for sample in range(BATCH):
            total = 0.0
            for index, theta in enumerate(quantiles[member, sample].tolist()):
                for z in atoms[sample].tolist():
                    u, tau = z - theta, (2 * index + 1) / 10
                    huber = 0.5 * u**2 if abs(u) <= 1 else abs(u) - 0.5
                    total += abs(tau - (u < 0)) * huber
            assert float(loss[member, sample]) == pytest.approx(total / (5 * ATOMS), rel=1e-6)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("quantiles", [1, 2, 5])
def test_where_the_huber_part_is_small_the_best_number_for_a_level_is_the_quantile_of_the_target(quantiles, uneven):
    gaps = 50 + 1000 * torch.rand(101, generator=generator(0), dtype=torch.float64)
    atoms = gaps.cumsum(0) - 20_000
    probs = normal(0, 101).softmax(-1) if uneven else torch.full_like(atoms, 1 / 101)
    for index in range(quantiles):
        guesses = torch.zeros(101, quantiles, dtype=torch.float64)
        guesses[:, index] = atoms
        best = quantile_huber(guesses, atoms, probs).argmin()
        expected = np.searchsorted(probs.cumsum(0).numpy(), (2 * index + 1) / (2 * quantiles))
        assert int(best) == expected


def test_an_atom_may_be_split_into_two_halves():
    quantiles, (atoms, probs) = normal(0, BATCH, 5), distribution(1, BATCH, ATOMS)
    split = torch.cat((atoms, atoms[:, :1]), -1), torch.cat((probs, probs[:, :1] / 2), -1)
    split[1][:, 0] /= 2
    assert_close(quantile_huber(quantiles, *split), quantile_huber(quantiles, atoms, probs))


def test_an_atom_of_probability_zero_does_not_change_the_loss():
    quantiles, (atoms, probs) = normal(0, BATCH, 5), distribution(1, BATCH, ATOMS)
    moved = atoms.clone()
    moved[:, 1] += 1e6
    assert_close(quantile_huber(quantiles, moved, probs), quantile_huber(quantiles, atoms, probs), rtol=0, atol=0)


def test_quantile_huber_loss_and_slopes_of_large_returns_are_those_of_the_sum_over_pairs():
    levels = double([[0.1], [0.3], [0.5], [0.7], [0.9]])
    quantiles = (1e4 + 3 * normal(0, MEMBERS, BATCH, 5)).requires_grad_()
    atoms, probs = 1e4 + 3 * normal(1, BATCH, ATOMS), normal(2, BATCH, ATOMS).softmax(-1)
    error = atoms.unsqueeze(-2) - quantiles.unsqueeze(-1)
    huber = torch.where(error.abs() <= 1, error.square() / 2, error.abs() - 0.5)
    weight = torch.where(error < 0, 1 - levels, levels)
    pairs = (weight * huber * probs.unsqueeze(-2)).sum(-1).mean(-1)
    (expected,) = torch.autograd.grad(pairs.sum(), quantiles)
    loss = quantile_huber(quantiles, atoms, probs)
    (slope,) = torch.autograd.grad(loss.sum(), quantiles)
    assert_close(loss, pairs, rtol=1e-5, atol=1e-5)
    assert_close(slope, expected, rtol=1e-5, atol=1e-6)


def test_quantile_huber_loss_has_a_gradient_in_the_quantiles_only():
    quantiles = normal(0, BATCH, 5).requires_grad_()
    atoms, probs = (x.requires_grad_() for x in distribution(1, BATCH, ATOMS))
    quantile_huber(quantiles, atoms, probs).sum().backward()
    assert (quantiles.grad != 0).all()
    assert atoms.grad is None
    assert probs.grad is None


# ---- histograms by projection ------------------------------------------------------------------------------------------

CENTRES = torch.linspace(-2, 2, 9, dtype=torch.float64)


def test_projection_equals_numbers_worked_out_by_hand():
    centers = tensor([-1.0, 0.0, 1.0, 2.0])
    atoms, probs = tensor([[0.25, -5.0, 2.0, 1.5]]), tensor([[0.4, 0.1, 0.2, 0.3]])
    expected = tensor([[0.1, 0.4 * 0.75, 0.4 * 0.25 + 0.15, 0.2 + 0.15]])
    assert_close(projection(atoms, probs, centers), expected)


@pytest.mark.parametrize("seed", range(3))
def test_projection_is_algorithm_1_of_the_c51_paper(seed):
    atoms, probs = distribution(seed, BATCH, ATOMS)
    low, high, width = -2.0, 2.0, 0.5
    expected = np.zeros((BATCH, 9))
    for sample in range(BATCH):
        for z, p in zip(atoms[sample].tolist(), probs[sample].tolist()):
            b = (min(max(z, low), high) - low) / width
            lower, upper = math.floor(b), math.ceil(b)
            if lower == upper:  # where the paper's own pseudocode loses the mass
                expected[sample, lower] += p
            else:
                expected[sample, lower] += p * (upper - b)
                expected[sample, upper] += p * (b - lower)
    assert_close(projection(atoms, probs, CENTRES), torch.as_tensor(expected))


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_projection_is_a_distribution_whatever_the_atoms(scale):
    atoms, probs = distribution(0, BATCH, ATOMS)
    histogram = projection(scale * atoms, probs, CENTRES)
    assert (histogram >= 0).all()
    assert_close(histogram.sum(-1), torch.ones(BATCH, dtype=torch.float64))


def test_projection_keeps_the_mean_of_atoms_inside_and_moves_others_to_the_ends():
    atoms, probs = distribution(0, BATCH, ATOMS)
    inside = atoms.clamp(-2, 2)
    mean = (probs * inside).sum(-1)
    for given in (inside, atoms):
        assert_close((projection(given, probs, CENTRES) * CENTRES).sum(-1), mean)
    assert (atoms.abs() > 2).any()


def test_an_atom_is_projected_onto_its_two_neighboring_centers_or_the_one_that_it_equals():
    certain = torch.ones(9, 1, dtype=torch.float64)
    assert_close(projection(CENTRES.unsqueeze(-1), certain, CENTRES), torch.eye(9, dtype=torch.float64))
    between = projection(double([[0.1]]), certain[:1], CENTRES)
    assert_close(between, double([[0, 0, 0, 0, 0.8, 0.2, 0, 0, 0]]))
    for end, bin in ((-math.inf, 0), (-2.0, 0), (2.0, 8), (math.inf, 8)):
        assert_close(projection(double([[end]]), certain[:1], CENTRES)[0], torch.eye(9, dtype=torch.float64)[bin])


def test_a_return_of_nan_gives_nan_in_its_own_row_only():
    atoms, probs = distribution(0, BATCH, ATOMS)
    atoms[2, 3] = math.nan
    histogram = projection(atoms, probs, CENTRES)
    assert histogram[2].isnan().any()
    others = torch.arange(BATCH) != 2
    assert_close(histogram[others], projection(atoms[others], probs[others], CENTRES), rtol=0, atol=0)


# ---- histograms of a Gaussian --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.1, 0.75, 3.0])
def test_gaussian_histogram_is_the_truncated_normal_distribution_of_scipy(sigma):
    mean = double([-1.99, -0.6, 0.0, 0.13, 1.7, 2.2])
    edges, std = np.linspace(-2.25, 2.25, 10), sigma * 0.5
    low, high = (-2.25 - mean.numpy()) / std, (2.25 - mean.numpy()) / std
    cdf = scipy.stats.truncnorm(low[:, None], high[:, None], mean.numpy()[:, None], std).cdf(edges)
    assert_close(gaussian_histogram(mean, CENTRES, sigma), torch.as_tensor(np.diff(cdf)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma", [0.01, 0.75, 3.0])
def test_gaussian_histogram_is_a_distribution_however_far_outside_the_mean_lies(sigma, dtype):
    mean = torch.tensor([-math.inf, -1e30, -50.0, -2.25, -0.3, 0.0, 2.25, 50.0, 1e30, math.inf], dtype=dtype)
    histogram = gaussian_histogram(mean, CENTRES.to(dtype), sigma)
    assert histogram.isfinite().all()
    assert (histogram >= 0).all()
    assert_close(histogram.sum(-1), torch.ones(10, dtype=dtype))
    assert_close(histogram[:3], histogram[3:4].expand(3, -1), rtol=0, atol=0)
    assert_close(histogram[7:], histogram[6:7].expand(3, -1), rtol=0, atol=0)
    assert (histogram[0].argmax(), histogram[-1].argmax()) == (0, 8)


def test_mean_of_the_gaussian_histogram_is_close_to_the_number_smeared():
    centers = torch.linspace(-5, 5, 101, dtype=torch.float64)
    mean = torch.linspace(-4.5, 4.5, 333, dtype=torch.float64)
    histogram = gaussian_histogram(mean, centers, 0.75)
    assert_close((histogram * centers).sum(-1), mean, rtol=0, atol=1e-5)
    assert (histogram > 0.01).sum(-1).amax() <= 6  # bins that share the mass


# ---- cross-entropy -------------------------------------------------------------------------------------------------------


def test_cross_entropy_is_that_of_torch_and_least_where_the_logits_are_the_log_probabilities():
    logits, histogram = normal(0, MEMBERS, BATCH, ATOMS), distribution(1, BATCH, ATOMS)[1]
    loss = cross_entropy(logits, histogram)
    assert loss.shape == (MEMBERS, BATCH)
    for member in range(MEMBERS):
        assert_close(loss[member], functional.cross_entropy(logits[member], histogram, reduction="none"))
    least = cross_entropy((histogram + 1e-300).log(), histogram)
    assert_close(least, torch.as_tensor(scipy.stats.entropy(histogram.numpy(), axis=-1)))
    assert (loss > least).all()


def test_gradient_of_the_cross_entropy_is_the_difference_of_probabilities_and_moves_the_logits_only():
    logits, histogram = normal(0, BATCH, ATOMS).requires_grad_(), distribution(1, BATCH, ATOMS)[1].requires_grad_()
    cross_entropy(logits, histogram).sum().backward()
    assert_close(logits.grad, logits.detach().softmax(-1) - histogram.detach())
    assert histogram.grad is None


# ---- the mixture over finite actions -------------------------------------------------------------------------------------

COUNTS = {"one_factor": (4,), "two_factors": (2, 3), "three_factors": (1, 2, 3)}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("alpha", [0.0, 0.4, 3.0])
def test_mean_of_the_soft_mixture_is_the_expected_soft_value_and_its_probabilities_sum_to_one(counts, alpha):
    q, probs = distribution(0, BATCH, sum(counts), ATOMS)
    mean = (probs * q).sum(-1, keepdim=True)
    scores = normal(5, BATCH, sum(counts))
    policies = [boltzmann_log_probs(factor, double(alpha)) for factor in scores.split(counts, -1)]
    log_probs = torch.cat(policies, -1)
    assert (log_probs == -math.inf).any() == (alpha == 0)
    factors = len(counts)  # one drawn at random stands for all, times their number
    atoms, weights = soft_mixture(factors * q, probs, log_probs - math.log(factors), log_probs, double(factors * alpha))
    assert atoms.shape == weights.shape == (BATCH, sum(counts) * ATOMS)
    assert atoms.isfinite().all()
    assert (weights >= 0).all()
    assert_close(weights.sum(-1), torch.ones(BATCH, dtype=torch.float64))
    assert_close((weights * atoms).sum(-1), expected_soft_value(mean, log_probs, double(alpha)).squeeze(-1))


def test_soft_mixture_of_one_factor_is_the_law_of_q_less_alpha_times_log_pi_of_a_drawn_action():
    q, probs = distribution(0, 1, 3, ATOMS)
    log_probs, alpha = normal(5, 1, 3).log_softmax(-1), 0.7
    atoms, weights = soft_mixture(q, probs, log_probs, log_probs, double(alpha))
    torch.manual_seed(0)
    action = torch.multinomial(log_probs[0].exp(), 100_000, replacement=True)
    atom = torch.multinomial(probs[0, action], 1)[:, 0]
    drawn = q[0, action, atom] - alpha * log_probs[0, action]
    for threshold in (-4.0, -1.0, 0.5, 2.0):
        share = float((drawn < threshold).double().mean())
        assert float(weights[atoms < threshold].sum()) == pytest.approx(share, abs=0.01)
