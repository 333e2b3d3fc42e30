"""Theorems over every policy of finite actions: a new one is one more entry of FINITE_POLICIES."""

import math
from functools import partial

import pytest
import scipy.special
import torch
from torch.testing import assert_close

from lightning_maxent.actions import FiniteActions
from lightning_maxent.networks import MLP
from lightning_maxent.objectives import categorical_entropy
from lightning_maxent.policies.categorical import Categorical

OBS, BATCH = 3, 16
COUNTS = {"one_factor": (4,), "two_factors": (2, 3), "ragged_factors": (1, 5, 2)}

FINITE_POLICIES = {"categorical": partial(Categorical, network=partial(MLP, hidden_dims=(16,)))}


@pytest.fixture(params=FINITE_POLICIES)
def build(request):
    torch.manual_seed(0)
    return FINITE_POLICIES[request.param]


@pytest.fixture(params=COUNTS.values(), ids=COUNTS)
def counts(request):
    return request.param


def assert_normalized(log_probs, counts):
    for factor in log_probs.split(counts, -1):
        assert_close(factor.exp().sum(-1), torch.ones(len(log_probs)))


def test_probabilities_of_each_factor_sum_to_one(build, counts):
    log_probs = build(OBS, FiniteActions(counts))(3 * torch.randn(BATCH, OBS))
    assert log_probs.shape == (BATCH, sum(counts))
    assert_normalized(log_probs, counts)


def test_probabilities_depend_on_the_observation_of_their_own_row_only(build):
    obs = torch.randn(BATCH, OBS, requires_grad=True)
    log_probs = build(OBS, FiniteActions((4,)))(obs)
    (gradient,) = torch.autograd.grad(log_probs[3, 0], obs)
    others = torch.arange(BATCH) != 3
    assert (gradient[3] != 0).any()
    assert_close(gradient[others], torch.zeros_like(gradient[others]), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1e2, 1e4, 1e8])
def test_log_probs_and_the_gradient_of_the_entropy_are_finite_float32_for_extreme_observations(build, counts, scale):
    policy = build(OBS, FiniteActions(counts))
    log_probs = policy(scale * torch.randn(BATCH, OBS))
    assert log_probs.dtype == torch.float32
    assert log_probs.isfinite().all()
    assert (log_probs <= 0).all()
    assert_normalized(log_probs, counts)
    (categorical_entropy(log_probs).mean() + log_probs.mean()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in policy.parameters())


def test_log_probs_are_normalized_float32_under_bfloat16_autocast(build, counts):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_probs = build(OBS, FiniteActions(counts))(torch.randn(BATCH, OBS))
    assert log_probs.dtype == torch.float32
    assert_normalized(log_probs, counts)


def test_every_weight_can_move_every_factor(build):
    policy, obs = build(OBS, FiniteActions((2, 3))), torch.randn(BATCH, OBS)
    for factor in policy(obs).split((2, 3), -1):
        gradients = torch.autograd.grad(factor[:, 0].sum(), list(policy.parameters()), retain_graph=True)
        assert all((gradient != 0).any() for gradient in gradients)


def test_any_distribution_can_be_learned_by_gradient_descent(build):
    policy, obs = build(1, FiniteActions((2, 3))), torch.ones(1, 1)
    wanted = torch.tensor([[0.9, 0.1, 0.2, 0.05, 0.75]])
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        (-(wanted * policy(obs)).sum()).backward()
        optimizer.step()
    assert_close(policy(obs).exp(), wanted, rtol=0, atol=0.01)


# ---- the softmax of a network ------------------------------------------------------------------------------------------


def scoring(actions, *scores):
    """A categorical policy that ignores its observation."""
    policy = Categorical(1, actions, network=partial(MLP, hidden_dims=()))
    with torch.no_grad():
        policy.network[-1].weight.zero_()
        policy.network[-1].bias.copy_(torch.tensor(scores))
    return policy


def test_probabilities_are_the_softmax_of_the_scores_of_each_factor():
    scores = [0.5, -1.0, 2.0, 0.0, 0.1]
    expected = [*scipy.special.log_softmax(scores[:2]), *scipy.special.log_softmax(scores[2:])]
    log_probs = scoring(FiniteActions((2, 3)), *scores)(torch.zeros(4, 1))
    assert_close(log_probs.double(), torch.tensor(expected, dtype=torch.float64).expand(4, -1), rtol=1e-6, atol=1e-6)


def test_equal_scores_make_all_actions_equally_likely():
    log_probs = scoring(FiniteActions((2, 4)), *[7.0] * 6)(torch.zeros(1, 1))
    assert_close(log_probs, torch.tensor([[-math.log(2)] * 2 + [-math.log(4)] * 4]))
