"""The policy's updates converge to ``exp(Q/alpha)/Z``."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch.testing import assert_close

from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP
from lightning_maxent.objectives import stein_direction
from lightning_maxent.policies.flow import FlowPolicy
from lightning_maxent.policies.mixture import MixtureOfGaussians
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.policies.stein_sampler import SteinSampler
from lightning_maxent.policy_updates import DivergenceUpdate, SteinUpdate

ALPHA = 0.5
SMALL = partial(MLP, hidden_dims=(32, 32))


def by_hand(particles, slope, alpha):
    """Liu & Wang's direction from the other particles of one state, one pair after the other."""
    count = len(particles)
    squared = [((particles[i] - particles[j]) ** 2).sum() for i in range(count) for j in range(i)]
    bandwidth = max(float(torch.stack(squared).median()) / math.log(count), 1e-3)
    direction = torch.zeros_like(particles)
    for i in range(count):
        for j in [each for each in range(count) if each != i]:
            away = particles[j] - particles[i]
            kernel = math.exp(-float(away @ away) / bandwidth)
            gradient = -2 / bandwidth * away * kernel  # of the kernel, in x_j
            direction[i] += (kernel * slope[j] + alpha * gradient) / (count - 1)
    return direction


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0])
def test_the_stein_direction_equals_the_equation_of_liu_and_wang_in_every_state(count, scale):
    torch.manual_seed(0)
    particles = scale * torch.randn(3, count, 2, dtype=torch.float64)
    slope, alpha = torch.randn(3, count, 2, dtype=torch.float64), torch.tensor(ALPHA, dtype=torch.float64)
    expected = torch.stack([by_hand(*each, ALPHA) for each in zip(particles, slope)])
    assert_close(stein_direction(particles, slope, alpha), expected)


@pytest.mark.parametrize("count", [8, 32])
def test_the_stein_direction_is_zero_on_average_for_samples_of_the_density(count):
    """Stein's identity.  If a particle counted as its own neighbor, the mean would be lower by ``1 / count``."""
    torch.manual_seed(0)
    particles = torch.randn(20_000, count, 1, dtype=torch.float64)
    direction = stein_direction(particles, -particles, torch.tensor(1.0, dtype=torch.float64))
    assert float((direction * particles).mean()) == pytest.approx(0, abs=0.3 / count)


def test_stein_updates_of_nearby_samples_are_the_same_under_bf16():
    torch.manual_seed(0)
    u = (1 + 0.03 * torch.randn(4, 16, 2)).requires_grad_()
    policy = SimpleNamespace(unsquashed=lambda obs, count: u)
    moves = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = SteinUpdate(16).loss(
                policy, lambda obs, action: action.sum(-1), torch.zeros(4, 1), torch.tensor(1.0)
            )
        moves.append(torch.autograd.grad(loss.sum(), u)[0])
    assert_close(moves[1], moves[0], rtol=1e-4, atol=1e-4)


def q_of(obs, action):
    """Two hills of unequal height and width on every axis."""
    hills = torch.exp(-((action - 0.6) ** 2) / 0.05) + 0.7 * torch.exp(-((action + 0.5) ** 2) / 0.1)
    return hills.sum(-1)


def moments():
    """``E[a]``, ``E[a^2]`` and the share above zero under ``exp(Q/alpha)/Z``, on each axis for itself."""

    def weight(a):
        return math.exp((math.exp(-((a - 0.6) ** 2) / 0.05) + 0.7 * math.exp(-((a + 0.5) ** 2) / 0.1)) / ALPHA)

    z = quad(weight, -1, 1)[0]
    return [
        quad(lambda a, f=f: f(a) * weight(a), -1, 1, limit=200)[0] / z for f in (lambda a: a, lambda a: a * a, np.sign)
    ]


UPDATED = {
    "stein_sampler": (partial(SteinSampler, network=SMALL), SteinUpdate(32)),
    "flow_by_divergence": (partial(FlowPolicy, transforms=2, hidden_dims=(32, 32)), DivergenceUpdate(16)),
    "mixture_by_divergence": (partial(MixtureOfGaussians, components=4, network=SMALL), DivergenceUpdate(8)),
    "mixture_by_stein": (partial(MixtureOfGaussians, components=4, network=SMALL), SteinUpdate(32)),
}


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(("build", "update"), UPDATED.values(), ids=UPDATED)
def test_policy_updates_learn_both_unequal_modes(build, update):
    torch.manual_seed(0)
    policy, obs = build(1, 1), torch.zeros(16, 1)
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(600):
        optimizer.zero_grad()
        update.loss(policy, q_of, obs, torch.tensor(ALPHA)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        action = policy.unsquashed(obs, 1000).tanh()
    found = [float(action.mean()), float(action.square().mean()), float(action.sign().mean())]
    for number, expected in zip(found, moments()):
        assert number == pytest.approx(expected, abs=0.06)


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_stein_sampler_finds_modes_that_are_far_apart():
    torch.manual_seed(0)
    centers = 0.5 * torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [-1, 1, -1, 1], [-1, -1, -1, -1]])

    def q(obs, action):
        return (-0.5 * ((action.unsqueeze(1) - centers) / 0.25).square().sum(-1)).logsumexp(-1)

    policy, obs = SteinSampler(1, 4, network=SMALL), torch.zeros(8, 1)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    for _ in range(500):
        optimizer.zero_grad()
        SteinUpdate(32).loss(policy, q, obs, torch.tensor(1.0)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        nearest = torch.cdist(policy.unsquashed(obs[:1], 2000)[0].tanh(), centers).argmin(-1)
    assert (torch.bincount(nearest, minlength=4) / 2000 > 0.15).all()


def test_stein_loss_moves_samples_along_the_direction_before_tanh_and_nothing_else():
    torch.manual_seed(0)
    policy, obs, q_weight = SteinSampler(2, 1, network=SMALL), torch.randn(4, 2), torch.tensor(1.0, requires_grad=True)
    torch.manual_seed(1)
    loss = SteinUpdate(6).loss(
        policy, lambda obs, action: q_weight.detach() * q_of(obs, action), obs, torch.tensor(ALPHA)
    )
    torch.manual_seed(1)
    u = policy.unsquashed(obs, 6)
    inside = u.detach().requires_grad_()
    density = q_of(None, inside.tanh()) + ALPHA * torch.log(1 - inside.tanh() ** 2).sum(-1)
    (slope,) = torch.autograd.grad(density.sum(), inside)
    direction = stein_direction(u.detach(), slope, torch.tensor(ALPHA))
    expected = torch.autograd.grad(-(direction * u).sum() / 6, list(policy.parameters()))
    assert loss.shape == (4,)
    assert_close(torch.autograd.grad(loss.sum(), list(policy.parameters())), expected, rtol=1e-4, atol=1e-6)


def test_the_divergence_update_is_alpha_log_pi_minus_q_averaged_over_several_actions():
    torch.manual_seed(0)
    policy, obs = SquashedGaussian(2, 1, network=SMALL), torch.randn(4, 2)
    torch.manual_seed(1)
    loss = DivergenceUpdate(3).loss(policy, q_of, obs, torch.tensor(ALPHA))
    torch.manual_seed(1)
    action, log_prob = policy(obs.repeat_interleave(3, 0))
    assert_close(loss, (ALPHA * log_prob - q_of(None, action)).view(4, 3).mean(1))


@pytest.mark.parametrize("count", [0, 1])
def test_a_stein_update_of_fewer_than_two_particles_is_refused(count):
    with pytest.raises(MaxEntError, match=f"at least two particles per state, but count is {count}"):
        SteinUpdate(count)
    with pytest.raises(MaxEntError, match="at least one action"):
        DivergenceUpdate(0)


def test_a_policy_update_refuses_policies_that_it_cannot_train():
    DivergenceUpdate().check(FlowPolicy(2, 1))
    SteinUpdate().check(SteinSampler(2, 1))
    with pytest.raises(MaxEntError, match="SteinSampler has none: use SteinUpdate"):
        DivergenceUpdate().check(SteinSampler(2, 1))
    with pytest.raises(MaxEntError, match="which Linear does not provide: use DivergenceUpdate"):
        SteinUpdate().check(torch.nn.Linear(1, 1))
