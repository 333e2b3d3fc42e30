"""Theorems over every way to estimate the soft value: a new one is one more entry of PARTICLES."""

import math
from functools import partial

import pytest
import torch
from scipy.integrate import quad
from torch.testing import assert_close

from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP
from lightning_maxent.particles import PolicyExpectation, PolicyParticles, UniformParticles
from lightning_maxent.policies.base import AbstractPolicy
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.policies.stein_sampler import SteinSampler

OBS, ACTION, ALPHA = 3, 2, 0.4
PARTICLES = {"uniform": UniformParticles, "policy": PolicyParticles, "expectation": PolicyExpectation}
SLOPE = 1.5


class Exponential(AbstractPolicy):
    """``pi(a) = exp(SLOPE a) / Z`` on [-1, 1]: soft-optimal for ``Q(a) = ALPHA SLOPE a``, and drawn exactly."""

    LOG_Z = math.log(2 * math.sinh(SLOPE) / SLOPE)

    def forward(self, obs):
        uniform = torch.rand(len(obs), 1, dtype=torch.float64)
        action = torch.log(math.exp(-SLOPE) + uniform * 2 * math.sinh(SLOPE)) / SLOPE
        return action.float(), (SLOPE * action - self.LOG_Z).squeeze(-1).float()

    def act(self, obs, deterministic=False):
        return self(obs)[0]


def soft_value(particles, q, log_density, alpha):
    log_weights, log_prob = particles.weigh(q, log_density, torch.tensor(alpha))
    return (log_weights.exp() * (q - alpha * log_prob)).sum(-1)


@pytest.mark.parametrize("build", PARTICLES.values(), ids=PARTICLES)
def test_every_state_has_actions_of_its_own_with_the_density_they_were_drawn_from(build):
    torch.manual_seed(0)
    policy = SquashedGaussian(OBS, ACTION, network=partial(MLP, hidden_dims=(8,)))
    with torch.no_grad():
        actions, log_density = build(5000).draw(policy, torch.zeros(2, OBS), ACTION)
    assert actions.shape == (2, 5000, ACTION)
    assert log_density.shape == (2, 5000)
    assert (actions[0] != actions[1]).any(-1).all()
    inside = (actions > 0.1).logical_and(actions < 0.7).all(-1)
    assert_close((inside / log_density.exp()).mean(1), torch.full((2,), 0.36), atol=0.04, rtol=0)


@pytest.mark.parametrize("build", [UniformParticles, PolicyParticles])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_importance_sampling_is_the_logarithm_of_the_mean_of_exp_q_over_density(build, alpha):
    torch.manual_seed(0)
    q, log_density = torch.randn(4, 7, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64)
    log_weights, log_prob = build(7).weigh(q, log_density, torch.tensor(alpha, dtype=torch.float64))
    expected = alpha * ((q / alpha).exp() / log_density.exp()).mean(-1).log()
    assert_close((log_weights.exp() * (q - alpha * log_prob)).sum(-1), expected)
    assert_close(log_weights.exp().sum(-1), torch.ones(4, dtype=torch.float64))
    assert_close(log_prob, (q - expected.unsqueeze(-1)) / alpha)


def test_the_expectation_is_the_mean_of_q_less_alpha_times_the_log_density():
    torch.manual_seed(0)
    q, log_density = torch.randn(4, 7), torch.randn(4, 7)
    value = soft_value(PolicyExpectation(7), q, log_density, ALPHA)
    assert_close(value, (q - ALPHA * log_density).mean(-1))


@pytest.mark.parametrize("build", [UniformParticles, PolicyParticles])
def test_without_temperature_the_value_is_the_largest_q_drawn(build):
    q = torch.tensor([[0.0, 3.0, 1.0], [-1.0, -5.0, -2.0]])
    assert_close(soft_value(build(3), q, torch.randn(2, 3), 0.0), torch.tensor([3.0, -1.0]))


@pytest.mark.parametrize("count", [2, 16])
@pytest.mark.parametrize("build", [PolicyParticles, PolicyExpectation])
def test_particles_of_the_optimal_policy_give_the_exact_value(build, count):
    particles = build(count)
    actions, log_density = particles.draw(Exponential(), torch.zeros(6, OBS), 1)
    value = soft_value(particles, ALPHA * SLOPE * actions.squeeze(-1), log_density, ALPHA)
    assert_close(value, torch.full((6,), ALPHA * Exponential.LOG_Z))


def q_of(action):
    return (4 * action).sin() - action.square()


@pytest.mark.parametrize("build", [UniformParticles, PolicyParticles])
def test_the_estimated_value_rises_to_the_exact_one_with_more_particles(build):
    torch.manual_seed(0)
    z, _ = quad(lambda a: math.exp((math.sin(4 * a) - a * a) / ALPHA), -1, 1)
    exact, bias = ALPHA * math.log(z), []
    for count in (2, 16, 256):
        actions, log_density = build(count).draw(Exponential(), torch.zeros(20_000, OBS), 1)
        value = soft_value(build(count), q_of(actions.squeeze(-1)), log_density, ALPHA)
        bias.append(float(value.mean()) - exact)
    assert bias[0] < bias[1] < bias[2] < 0.002
    assert bias[0] < -0.03
    assert bias[2] == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("build", [UniformParticles, PolicyParticles])
@pytest.mark.parametrize("count", [-1, 0, 1])
def test_importance_sampling_with_fewer_than_two_particles_is_refused(build, count):
    with pytest.raises(MaxEntError, match=f"several particles, but count is {count}"):
        build(count)


def test_an_expectation_over_no_particles_is_refused():
    with pytest.raises(MaxEntError, match="at least one particle"):
        PolicyExpectation(0)


@pytest.mark.parametrize("build", [PolicyParticles, PolicyExpectation])
def test_particles_of_a_policy_without_density_are_refused(build):
    sampler = SteinSampler(OBS, ACTION)
    with pytest.raises(MaxEntError, match="SteinSampler has none: use UniformParticles"):
        build(4).check(sampler)
    UniformParticles(4).check(sampler)
    build(4).check(Exponential())
