"""Policies that tell probabilities, against torch's own distributions."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Independent, Normal, OneHotCategorical
from torch.testing import assert_close

from lightning_maxent import BoxActions, Categorical, FiniteActions, Gaussian, MaxEntError, SquashedGaussian
from lightning_maxent.networks import MLP
from lightning_maxent.policies.base import AbstractExplicitPolicy
from lightning_maxent.policies.building import build_explicit_policy, build_finite_policy

OBS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))


def gaussian(dim=2, initial_std=0.6):
    torch.manual_seed(0)
    return Gaussian(3, BoxActions(dim), network=partial(MLP, hidden_dims=(8,)), initial_std=initial_std)


def test_a_gaussian_policy_has_the_densities_and_entropies_of_torch():
    policy, action = gaussian(), torch.randn(7, 2)
    distribution = policy.distribution(OBS)
    truth = Independent(Normal(distribution.mode(), torch.full((7, 2), 0.6)), 1)
    assert_close(distribution.log_prob(action), truth.log_prob(action))
    assert_close(distribution.entropy(), truth.entropy())


def test_samples_of_a_gaussian_have_its_mean_and_deviation():
    distribution = gaussian().distribution(OBS[:1].expand(20_000, 3))
    samples = distribution.sample()
    assert_close(samples.mean(0), distribution.mode()[0], rtol=0, atol=0.02)
    assert_close(samples.std(0), torch.full((2,), 0.6), rtol=0, atol=0.02)


def test_the_deviation_of_a_gaussian_is_learned():
    policy = gaussian()
    policy.distribution(OBS).entropy().sum().backward()
    assert_close(policy.log_std.grad, torch.full((2,), 7.0))


def test_finite_actions_of_several_factors_have_the_products_probabilities():
    torch.manual_seed(0)
    actions = FiniteActions((3, 2))
    policy = Categorical(3, actions, network=partial(MLP, hidden_dims=(8,)))
    distribution, logits = policy.distribution(OBS), policy(OBS)
    factors = [OneHotCategorical(logits=part) for part in logits.split((3, 2), -1)]
    action = distribution.sample()
    chosen = action.split((3, 2), -1)
    assert_close(distribution.log_prob(action), sum(f.log_prob(a) for f, a in zip(factors, chosen)))
    assert_close(distribution.entropy(), sum(factor.entropy() for factor in factors))
    assert_close(distribution.mode(), torch.cat([factor.mode for factor in factors], -1))


def test_a_certain_action_has_probability_one_and_impossible_ones_zero():
    class Certain(Categorical):
        def forward(self, obs):
            return torch.tensor([[0.0, -math.inf]]).expand(len(obs), 2)

    distribution = Certain(3, FiniteActions((2,))).distribution(OBS)
    assert_close(distribution.log_prob(torch.tensor([[1.0, 0.0]]).expand(7, 2)), torch.zeros(7))
    assert_close(distribution.entropy(), torch.zeros(7))


@pytest.mark.parametrize(
    ("builder", "actions", "sentence"),
    [
        (Gaussian, FiniteActions((2,)), "Gaussian is for continuous actions.*use Categorical"),
        (Categorical, BoxActions(2), "Categorical is for finite actions.*use Gaussian"),
        (partial(Gaussian, initial_std=0.0), BoxActions(2), "initial_std must be positive"),
        (
            lambda obs, actions: SquashedGaussian(obs, actions.dim),
            BoxActions(2),
            "SquashedGaussian cannot compute the prob",
        ),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_with_what_to_use(builder, actions, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        build_explicit_policy(builder, 3, actions)


def test_a_policy_of_the_wrong_shape_is_refused():
    class Wrong(AbstractExplicitPolicy):
        def __init__(self, obs_dim, actions):
            super().__init__()

        def distribution(self, obs):
            return Gaussian(3, BoxActions(1)).distribution(obs)

    with pytest.raises(MaxEntError, match=r"Wrong.distribution\(obs\).sample must give an action of shape \[3, 2\]"):
        build_explicit_policy(Wrong, 3, BoxActions(2))
    with pytest.raises(MaxEntError, match="Gaussian does not give the log-probabilities of all actions"):
        build_finite_policy(lambda *_: Gaussian(3, BoxActions(2)), 3, FiniteActions((2,)))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda log_probs: log_probs + 0.1, "Spoilt.forward must give log-probabilities, but .* sum to 1.11"),
        (lambda log_probs: log_probs[:, :1], r"log-probabilities of shape \[3, 5\], but gave \[3, 1\]"),
        (lambda log_probs: log_probs * math.nan, "log-probabilities of finite numbers"),
        (lambda log_probs: log_probs.detach(), "must have a gradient in the policy's parameters"),
    ],
)
def test_a_policy_whose_outputs_are_no_log_probabilities_is_refused(spoil, sentence):
    class Spoilt(Categorical):
        def forward(self, obs):
            return spoil(super().forward(obs))

    for build in (build_explicit_policy, build_finite_policy):
        with pytest.raises(MaxEntError, match=sentence):
            build(Spoilt, 3, FiniteActions((3, 2)))


def test_a_policy_with_actions_of_probability_zero_is_accepted():
    class Masked(Categorical):
        def forward(self, obs):
            scores = self.network(obs.unsqueeze(0)).squeeze(0)
            return self.actions.log_softmax(scores.masked_fill(torch.tensor([False, True, False]), -math.inf))

    assert isinstance(build_finite_policy(Masked, 3, FiniteActions((3,))), Masked)
