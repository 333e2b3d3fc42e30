import math
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from lightning_maxent.errors import MaxEntError
from lightning_maxent.noise import GaussianNoise, NoNoise, OrnsteinUhlenbeckNoise

NOISES = {
    "none": NoNoise,
    "gaussian": partial(GaussianNoise, std=0.8),
    "ornstein_uhlenbeck": partial(OrnsteinUhlenbeckNoise, sigma=0.9),
}


@pytest.mark.parametrize("build", NOISES.values(), ids=NOISES)
def test_actions_stay_in_the_box(build):
    torch.manual_seed(0)
    noise, action = build(2), 2 * torch.rand(500, 2) - 1
    for _ in range(20):
        noisy = noise(action)
        assert noisy.shape == action.shape
        assert noisy.abs().max() <= 1


def test_no_noise_changes_nothing():
    action = torch.rand(5, 2)
    assert torch.equal(NoNoise(2)(action), action)


def test_gaussian_noise_has_its_deviation_and_is_fresh_for_every_action():
    torch.manual_seed(0)
    noisy = GaussianNoise(1, std=0.1)(torch.zeros(20_000, 1))
    assert float(noisy.mean()) == pytest.approx(0, abs=0.003)
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.03)


def test_clipped_noise_stays_within_its_bound():
    torch.manual_seed(0)
    noisy = GaussianNoise(1, std=0.2, clip=0.3)(torch.full((5000, 1), 0.1))
    assert float(noisy.max()) == pytest.approx(0.4)
    assert float(noisy.min()) == pytest.approx(-0.2)


def test_ornstein_uhlenbeck_noise_is_correlated_in_time_and_settles_at_its_stationary_deviation():
    torch.manual_seed(0)
    noise, theta, sigma = OrnsteinUhlenbeckNoise(1, theta=0.15, sigma=0.05), 0.15, 0.05
    path = torch.cat([noise(torch.zeros(1, 1)) for _ in range(20_000)])[:, 0]
    assert float(path.std()) == pytest.approx(sigma / math.sqrt(1 - (1 - theta) ** 2), rel=0.1)
    correlation = torch.corrcoef(torch.stack((path[1:], path[:-1])))[0, 1]
    assert float(correlation) == pytest.approx(1 - theta, abs=0.02)


def test_every_environment_has_its_own_ornstein_uhlenbeck_noise():
    torch.manual_seed(0)
    noise = OrnsteinUhlenbeckNoise(1, sigma=0.05)
    path = torch.stack([noise(torch.zeros(2, 1)) for _ in range(20_000)])[..., 0].T
    assert float(torch.corrcoef(path)[0, 1]) == pytest.approx(0, abs=0.1)
    assert_close(path.std(1), torch.full((2,), 0.05 / math.sqrt(1 - 0.85**2)), rtol=0.1, atol=0)


def test_the_step_size_of_ornstein_uhlenbeck_noise_scales_drift_and_diffusion():
    torch.manual_seed(0)
    noise = OrnsteinUhlenbeckNoise(1, theta=0.5, sigma=0.1, step=0.04)
    noise.away.fill_(0.5)
    torch.manual_seed(1)
    moved = noise(torch.zeros(1, 1))
    torch.manual_seed(1)
    assert_close(moved, 0.5 * (1 - 0.02) + 0.1 * 0.2 * torch.randn(1, 1))


def test_ornstein_uhlenbeck_noise_resumes_from_a_checkpoint():
    torch.manual_seed(0)
    noise, other = OrnsteinUhlenbeckNoise(2), OrnsteinUhlenbeckNoise(2)
    noise(torch.zeros(3, 2))
    other.load_state_dict(noise.state_dict())
    torch.manual_seed(1)
    expected = noise(torch.zeros(3, 2))
    torch.manual_seed(1)
    assert_close(other(torch.zeros(3, 2)), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (partial(GaussianNoise, std=-0.1), "deviation of noise must be finite and not negative"),
        (partial(GaussianNoise, clip=0.0), "clipped at a positive number"),
        (partial(GaussianNoise, clip=math.nan), "clipped at a positive number"),
        (partial(OrnsteinUhlenbeckNoise, theta=3.0), "must be below 2"),
        (partial(OrnsteinUhlenbeckNoise, theta=0.0), "theta of Ornstein"),
        (partial(OrnsteinUhlenbeckNoise, sigma=math.inf), "sigma of Ornstein"),
        (partial(OrnsteinUhlenbeckNoise, step=-1.0), "step of Ornstein"),
    ],
)
def test_invalid_parameters_of_noise_are_refused(build, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        build(2)
