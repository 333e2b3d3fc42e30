"""The distribution that each critic predicts, and the one that it is trained on."""

import itertools
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from torch import tensor
from torch.testing import assert_close

from lightning_maxent.critics.base import ReturnDistribution
from lightning_maxent.critics.categorical import (
    CategoricalCritic,
    GaussianHistogram,
    ProjectedHistogram,
    TwoHotHistogram,
)
from lightning_maxent.critics.ensemble import EnsembleCritic
from lightning_maxent.critics.quantile import MeanPooling, QuantileCritic, TruncatedPooling
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP
from lightning_maxent.objectives import quantile_huber

SMALL = partial(MLP, hidden_dims=())


# ---- returns -----------------------------------------------------------------------------------------------------------


def test_a_deterministic_return_is_one_atom_of_probability_one_with_itself_as_mean():
    value = torch.randn(2, 5)
    returns = ReturnDistribution.certain(value)
    assert_close(returns.atoms, value.unsqueeze(-1), rtol=0, atol=0)
    assert_close(returns.probs, torch.ones(2, 5, 1), rtol=0, atol=0)
    assert_close(returns.mean(), value, rtol=0, atol=0)


def test_equally_likely_atoms_share_the_probability_and_their_mean_is_the_mean():
    atoms = torch.randn(5, 8)
    returns = ReturnDistribution.equally_likely(atoms)
    assert_close(returns.atoms, atoms, rtol=0, atol=0)
    assert_close(returns.probs, torch.full((5, 8), 1 / 8), rtol=0, atol=0)
    assert_close(returns.mean(), atoms.mean(-1))


def test_the_mean_weighs_atoms_by_their_probabilities():
    returns = ReturnDistribution(tensor([[1.0, -2.0, 4.0]]), tensor([[0.5, 0.25, 0.25]]))
    assert_close(returns.mean(), tensor([1.0]), rtol=0, atol=0)


# ---- the ensemble --------------------------------------------------------------------------------------------------------


def test_the_target_of_an_ensemble_is_the_minimum_of_a_uniformly_drawn_subset():
    critic = EnsembleCritic(1, 1, members=5, subset=2, network=SMALL)
    prediction = 2.0 ** torch.arange(5).unsqueeze(-1) * tensor([[1.0, -1.0]])  # the first rises, the second falls
    pairs = list(itertools.combinations(range(5), 2))
    seen = dict.fromkeys(pairs, 0)
    for _ in range(2000):
        target = critic.target(prediction)
        assert_close(target.probs, torch.ones(2, 1), rtol=0, atol=0)
        low, high = (int(x) for x in (target.atoms[:, 0] * tensor([1.0, -1.0])).log2().round())
        seen[low, high] += 1  # one draw for the whole batch
    assert sum(seen[pair] for pair in pairs) == 2000
    assert scipy.stats.chisquare(list(seen.values())).pvalue > 1e-3


@pytest.mark.parametrize("subset", [1, 3])
def test_an_ensemble_target_of_one_member_is_any_member_and_of_all_the_minimum(subset):
    critic = EnsembleCritic(1, 1, members=3, subset=subset, network=SMALL)
    prediction = tensor([[3.0], [1.0], [2.0]])
    believed = {float(critic.target(prediction).atoms) for _ in range(50)}
    assert believed == ({1.0, 2.0, 3.0} if subset == 1 else {1.0})


def test_the_value_of_an_ensemble_is_its_mean_and_its_loss_the_squared_error_of_each_member():
    critic = EnsembleCritic(1, 1, members=3, subset=2, network=SMALL)
    prediction = tensor([[3.0, 0.0], [1.0, 5.0], [2.0, 4.0]])
    assert_close(critic.value(prediction), tensor([2.0, 3.0]))
    loss = critic.loss(prediction, ReturnDistribution.certain(tensor([1.0, 4.0])))
    assert_close(loss, tensor([[4.0, 16.0], [0.0, 1.0], [1.0, 0.0]]))


@pytest.mark.parametrize("subset", [0, 4, -1])
def test_a_subset_larger_than_the_ensemble_or_empty_is_refused(subset):
    with pytest.raises(
        MaxEntError, match=rf"^subset must lie between 1 and the number of members 3, but is {subset}\.$"
    ):
        EnsembleCritic(1, 1, members=3, subset=subset, network=SMALL)


# ---- quantiles -----------------------------------------------------------------------------------------------------------

QUANTILES = tensor(
    [[[5.0, 1.0, 9.0], [0.0, 0.0, 1.0]], [[2.0, 8.0, 3.0], [-1.0, 7.0, 2.0]]]
)  # [member, batch, quantile]


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        (0, [[1.0, 2.0, 3.0, 5.0, 8.0, 9.0], [-1.0, 0.0, 0.0, 1.0, 2.0, 7.0]]),
        (1, [[1.0, 2.0, 3.0, 5.0], [-1.0, 0.0, 0.0, 1.0]]),
        (2, [[1.0, 2.0], [-1.0, 0.0]]),
    ],
)
def test_truncation_pools_the_quantiles_of_all_members_and_leaves_out_the_largest(dropped, expected):
    critic = QuantileCritic(
        1, 1, members=2, quantiles=3, pooling=partial(TruncatedPooling, dropped=dropped), network=SMALL
    )
    target = critic.target(QUANTILES)
    assert_close(target.atoms, tensor(expected), rtol=0, atol=0)
    assert_close(target.probs, torch.full_like(target.atoms, 1 / target.atoms.shape[1]))


@pytest.mark.parametrize("dropped", [-1, 3, 7])
def test_more_quantiles_than_there_are_cannot_be_dropped(dropped):
    critic = QuantileCritic(
        1, 1, members=2, quantiles=3, pooling=partial(TruncatedPooling, dropped=dropped), network=SMALL
    )
    sentence = rf"^dropped must be at least 0 and below the 3 quantiles, but is {dropped}\.$"
    with pytest.raises(MaxEntError, match=sentence):
        critic.target(QUANTILES)


def test_averaging_takes_the_mean_over_members_of_each_quantile():
    critic = QuantileCritic(1, 1, members=2, quantiles=3, pooling=MeanPooling, network=SMALL)
    target = critic.target(QUANTILES)
    assert_close(target.atoms, tensor([[3.5, 4.5, 6.0], [-0.5, 3.5, 1.5]]), rtol=0, atol=0)
    assert_close(target.probs, torch.full((2, 3), 1 / 3))


def test_the_value_of_a_quantile_critic_is_the_mean_of_all_quantiles():
    critic = QuantileCritic(1, 1, members=2, quantiles=3, network=SMALL)
    assert_close(critic.value(QUANTILES), tensor([28 / 6, 9 / 6]))


def test_every_member_fits_all_atoms_of_the_target_by_quantile_regression():
    critic = QuantileCritic(1, 1, members=2, quantiles=3, network=SMALL)
    target = ReturnDistribution(torch.randn(2, 4), torch.rand(2, 4).softmax(-1))
    loss = critic.loss(QUANTILES, target)
    for member in range(2):
        assert_close(loss[member], quantile_huber(QUANTILES[member], target.atoms, target.probs))


@pytest.mark.usefixtures("shapes_unchecked")
def test_quantile_regression_learns_the_quantiles_of_a_distribution():
    torch.manual_seed(0)
    critic = QuantileCritic(1, 1, members=2, quantiles=4, network=SMALL)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.6)
    atoms = 100 * torch.as_tensor(scipy.stats.norm.ppf((np.arange(1000) + 0.5) / 1000)).float().unsqueeze(0)
    obs, action = torch.zeros(1, 1), torch.zeros(1, 1)
    for _ in range(600):
        optimizer.zero_grad()
        critic.loss(critic(obs, action), ReturnDistribution.equally_likely(atoms)).sum().backward()
        optimizer.step()
    expected = 100 * torch.as_tensor(scipy.stats.norm.ppf([1 / 8, 3 / 8, 5 / 8, 7 / 8])).float()
    assert_close(critic(obs, action)[:, 0].detach(), expected.expand(2, 4), rtol=0, atol=2.0)


# ---- histograms ------------------------------------------------------------------------------------------------------------


def categorical(**kwargs):
    return CategoricalCritic(1, 1, **({"low": -1.0, "high": 1.0, "bins": 3, "network": SMALL} | kwargs))


PROBS = tensor([[[0.5, 0.2, 0.3], [0.0, 0.1, 0.9]], [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]])  # means -.2, .9 and 0, .7
LOGITS = (PROBS + 1e-30).log() + tensor([[[2.0], [-1.0]], [[0.5], [3.0]]])  # logits may all be shifted


def test_the_target_of_a_categorical_critic_is_the_whole_histogram_with_the_smaller_mean():
    target = categorical().target(LOGITS)
    assert_close(target.atoms, tensor([[-1.0, 0.0, 1.0]] * 2), rtol=0, atol=0)
    assert_close(target.probs, torch.stack((PROBS[0, 0], PROBS[1, 1])))


def test_the_value_of_a_categorical_critic_is_the_smaller_mean():
    critic = categorical()
    assert_close(critic.value(LOGITS), tensor([-0.2, 0.7]))
    assert_close(critic.value(LOGITS), critic.target(LOGITS).mean())


def test_centers_are_even_from_low_to_high_and_come_from_the_configuration_not_the_checkpoint():
    critic = categorical(low=-3.0, high=5.0, bins=5)
    assert_close(critic.centers, tensor([-3.0, -1.0, 1.0, 3.0, 5.0]))
    assert "centers" not in critic.state_dict()
    assert critic(torch.zeros(7, 1), torch.zeros(7, 1)).shape == (2, 7, 5)


@pytest.mark.parametrize("wrong", [{"low": 1.0}, {"low": 2.0}, {"bins": 1}, {"low": float("nan")}])
def test_a_histogram_without_a_range_or_without_bins_is_refused(wrong):
    given = {"low": -1.0, "high": 1.0, "bins": 3} | wrong
    sentence = f"low < high and two bins or more, not {given['bins']} from {given['low']} to {given['high']}"
    with pytest.raises(MaxEntError, match=sentence):
        categorical(**wrong)


@pytest.mark.parametrize("sigma", [0.0, -1.0])
def test_a_gaussian_histogram_with_a_nonpositive_sigma_is_refused_with_advice(sigma):
    with pytest.raises(MaxEntError, match=f"^sigma must be positive, but is {sigma}; to have no sigma, use TwoHotHis"):
        GaussianHistogram(sigma)


RETURNS = ReturnDistribution(tensor([[-0.5, 1.0], [0.5, 9.0]]), tensor([[0.5, 0.5], [1.0, 0.0]]))  # means .25 and .5
HISTOGRAMS = {
    ProjectedHistogram: tensor([[0.25, 0.25, 0.5], [0.0, 0.5, 0.5]]),  # of the whole distribution
    TwoHotHistogram: tensor([[0.0, 0.75, 0.25], [0.0, 0.5, 0.5]]),  # of its mean
    GaussianHistogram: tensor(
        np.array(
            [
                np.diff(norm.cdf([-1.5, -0.5, 0.5, 1.5])) / np.diff(norm.cdf([-1.5, 1.5]))
                for norm in (scipy.stats.norm(mean, 0.75) for mean in (0.25, 0.5))
            ]
        ),
        dtype=torch.float32,
    ),
}


@pytest.mark.parametrize("kind", HISTOGRAMS)
def test_the_loss_of_a_categorical_critic_is_the_cross_entropy_to_the_histogram_of_the_return(kind):
    critic = categorical(histogram=kind)
    histogram = HISTOGRAMS[kind]
    assert_close(critic.histogram(RETURNS, critic.centers), histogram)
    expected = -(histogram * LOGITS.log_softmax(-1)).sum(-1)
    assert_close(critic.loss(LOGITS, RETURNS), expected)


def test_a_gaussian_histogram_has_the_width_sigma():
    centers = torch.linspace(-1, 1, 21)
    histogram = GaussianHistogram(sigma=2.0)(ReturnDistribution.certain(tensor([0.0])), centers)
    assert float((histogram * centers.square()).sum().sqrt()) == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize("kind", HISTOGRAMS)
def test_a_categorical_critic_learns_the_histogram_of_the_target(kind):
    torch.manual_seed(0)
    critic = categorical(low=-2.0, high=2.0, bins=5, histogram=kind)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.1)
    obs, action = torch.zeros(1, 1), torch.zeros(1, 1)
    returns = ReturnDistribution(tensor([[-1.0, 0.5]]), tensor([[0.25, 0.75]]))
    for _ in range(400):
        optimizer.zero_grad()
        critic.loss(critic(obs, action), returns).sum().backward()
        optimizer.step()
    histogram = critic.histogram(returns, critic.centers)
    assert_close(critic(obs, action).detach().softmax(-1), histogram.expand(2, 1, 5), rtol=0, atol=0.01)
    assert float(critic.value(critic(obs, action)).detach()) == pytest.approx(0.125, abs=0.05)
