"""Theorems over every policy: a new one is one more entry of POLICIES."""

import math
from functools import partial

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import ks_2samp, norm
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform
from torch.testing import assert_close

from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP
from lightning_maxent.policies.base import AbstractPolicy
from lightning_maxent.policies.building import build_policy, build_sampler
from lightning_maxent.policies.flow import FlowPolicy
from lightning_maxent.policies.mixture import MixtureOfGaussians
from lightning_maxent.policies.squashed_gaussian import ClippedLogStd, SquashedGaussian, TanhLogStd
from lightning_maxent.policies.stein_sampler import SteinSampler

OBS = 3

POLICIES = {
    "squashed_gaussian": partial(SquashedGaussian, network=partial(MLP, hidden_dims=(16,))),
    "mixture": partial(MixtureOfGaussians, components=3, network=partial(MLP, hidden_dims=(16,))),
    "flow": partial(FlowPolicy, transforms=2, bins=4, hidden_dims=(16,)),
    "smooth": partial(SquashedGaussian, network=partial(MLP, hidden_dims=(16,)), log_std=partial(TanhLogStd, low=-2.0)),
}


@pytest.fixture(params=POLICIES)
def build(request):
    torch.manual_seed(0)
    return POLICIES[request.param]


def same_obs(batch):
    return torch.tensor([0.3, -1.0, 0.5]).expand(batch, OBS)


@pytest.mark.parametrize("action_dim", [1, 2, 5])
def test_actions_lie_in_the_box_and_shapes_are_those_of_the_contract(build, action_dim):
    policy, obs = build(OBS, action_dim), 3 * torch.randn(64, OBS)
    action, log_prob = policy(obs)
    assert log_prob.shape == (64,)
    for actions in (action, policy.act(obs), policy.act(obs, deterministic=True)):
        assert actions.shape == (64, action_dim)
        assert actions.abs().max() <= 1


@pytest.mark.parametrize("scale", [0.0, 1e2, 1e4, 1e8])
def test_log_prob_and_its_gradient_are_finite_float32_for_extreme_observations(build, scale):
    policy = build(OBS, 2)
    action, log_prob = policy(scale * torch.randn(64, OBS))
    (log_prob.mean() + action.mean()).backward()
    assert log_prob.dtype == action.dtype == torch.float32
    assert log_prob.isfinite().all()
    assert action.abs().max() <= 1
    assert all(parameter.grad.isfinite().all() for parameter in policy.parameters())


@pytest.mark.parametrize("window", [(-0.8, 0.8), (-0.7, 0.0), (0.1, 0.6)])
@pytest.mark.parametrize("action_dim", [1, 2])
def test_reported_density_is_the_one_that_actions_are_drawn_from(build, action_dim, window):
    """For ``a ~ p``, ``E[1{a in window} / p(a)]`` is the window's volume, whatever p is; so p integrates to one."""
    torch.manual_seed(2)
    low, high = window
    with torch.no_grad():
        action, log_prob = build(OBS, action_dim)(same_obs(100_000))
    inside = ((action > low) & (action < high)).all(-1)
    volumes, expected = inside / log_prob.double().exp(), (high - low) ** action_dim
    error = 4 * float(volumes.std()) / math.sqrt(len(volumes))
    assert error < 0.15 * expected
    assert float(volumes.mean()) == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "mixture"])  # its noise chooses; see below
def test_gradient_of_an_expectation_over_actions_agrees_with_a_difference_quotient(name):
    torch.manual_seed(0)
    policy, obs = POLICIES[name](OBS, 2), torch.randn(8192, OBS)  # kinks of splines average out
    parameters = list(policy.parameters())

    def expectation():
        torch.manual_seed(3)  # the same noise on both sides of the quotient
        action, log_prob = policy(obs)
        return ((3 * action).sin().sum(-1).double() + 0.3 * log_prob.double()).mean()

    gradients = torch.autograd.grad(expectation(), parameters)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        directions = [torch.randn(p.shape, generator=generator) for p in parameters]
        step, sides = 2e-3, []
        for sign in (1, -2):
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions):
                    parameter += sign * step * direction
                sides.append(float(expectation()))
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions):
                parameter += step * direction
        derivative = sum(float((g * d).sum()) for g, d in zip(gradients, directions))
        assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(derivative, rel=0.02, abs=5e-3)


def test_deterministic_actions_do_not_depend_on_the_random_state_and_others_do(build):
    policy, obs = build(OBS, 2), torch.randn(8, OBS)
    torch.manual_seed(0)
    best, sampled = policy.act(obs, deterministic=True), policy.act(obs)
    torch.manual_seed(1)
    assert_close(policy.act(obs, deterministic=True), best, rtol=0, atol=0)
    assert (policy.act(obs) != sampled).all()


def test_actions_played_follow_the_same_distribution_as_actions_learned_from(build):
    torch.manual_seed(4)
    policy, obs = build(OBS, 2), same_obs(20_000)
    with torch.no_grad():
        learned, played = policy(obs)[0], policy.act(obs)
    for dim in range(2):
        assert ks_2samp(learned[:, dim].numpy(), played[:, dim].numpy()).pvalue > 1e-3


def test_log_prob_is_float32_under_bfloat16_autocast(build):
    policy = build(OBS, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        action, log_prob = policy(torch.randn(16, OBS))
    assert action.dtype == log_prob.dtype == torch.float32


# ---- the squashed Gaussian ---------------------------------------------------------------------------------------------


def gaussian(means, log_stds, **kwargs):
    """A policy that ignores its observation."""
    policy = SquashedGaussian(1, len(means), network=partial(MLP, hidden_dims=()), **kwargs)
    with torch.no_grad():
        policy.network[-1].weight.zero_()
        policy.network[-1].bias.copy_(torch.tensor([*means, *log_stds]))
    return policy


def exact(means, log_stds):
    """The same distribution by ``torch.distributions`` in float64."""
    mean, std = torch.tensor(means, dtype=torch.float64), torch.tensor(log_stds, dtype=torch.float64).exp()
    return Independent(TransformedDistribution(Normal(mean, std), TanhTransform(cache_size=1)), 1)


@pytest.mark.parametrize(
    "parameters", [([0.0], [0.0]), ([0.5, -1.0], [-1.0, 0.3]), ([1.0, 0.0, -2.0], [-3.0, 0.5, -1.0])]
)
def test_log_prob_agrees_with_the_transformed_distribution_in_float64(parameters):
    torch.manual_seed(0)
    action, log_prob = gaussian(*parameters)(torch.zeros(200, 1))
    inside = action.abs().amax(-1) < 0.999  # beyond, float32 actions no longer tell where they came from
    expected = exact(*parameters).log_prob(action[inside].double())
    assert inside.sum() > 100
    assert_close(log_prob[inside].double(), expected, rtol=0, atol=2e-3)


def test_density_of_the_squashed_gaussian_integrates_to_one_over_the_box():
    distribution = exact([0.4], [-0.5])
    total, _ = quad(lambda a: float(distribution.log_prob(torch.tensor([a], dtype=torch.float64)).exp()), -1, 1)
    assert total == pytest.approx(1, abs=1e-4)  # the oracle of the test above is itself a density


@pytest.mark.parametrize("mean", [20.0, -20.0])
@pytest.mark.parametrize("log_std", [-1.0, 0.5])
def test_log_prob_is_right_where_tanh_is_saturated(mean, log_std):
    policy = gaussian([mean], [log_std])
    torch.manual_seed(0)
    action, log_prob = policy(torch.zeros(500, 1))
    torch.manual_seed(0)
    u = mean + math.exp(log_std) * torch.randn(500, 1)[:, 0].double()  # log(1 - tanh^2 u) = 2 log 2 - 2|u| up to e^-40
    expected = norm(mean, math.exp(log_std)).logpdf(u.numpy()) - (2 * math.log(2) - 2 * abs(u.numpy()))
    assert_close(action, torch.full_like(action, math.copysign(1, mean)))
    assert_close(log_prob.double(), torch.as_tensor(expected), rtol=0, atol=1e-3)


def integral(function, mean, std):
    """``E[function(u)]`` for ``u ~ N(mean, std^2)``."""
    total, _ = quad(lambda z: function(mean + std * z) * math.exp(-0.5 * z * z), -9, 9, limit=200)
    return total / math.sqrt(2 * math.pi)


def log_det(u):
    return -2 * math.log(math.cosh(u))


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.7, -1.0), (-1.5, 0.4)])
def test_entropy_agrees_with_numerical_integration(mean, log_std):
    torch.manual_seed(0)
    std = math.exp(log_std)
    with torch.no_grad():
        log_prob = gaussian([mean, 0.2], [log_std, -0.5])(torch.zeros(200_000, 1))[1]
    entropy = sum(
        0.5 * math.log(2 * math.pi * math.e * s**2) + integral(log_det, m, s)
        for m, s in ((mean, std), (0.2, math.exp(-0.5)))
    )
    assert float(-log_prob.mean()) == pytest.approx(entropy, abs=0.02)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.7, -1.0), (-1.5, 0.4)])
def test_moments_of_actions_agree_with_numerical_integration(mean, log_std):
    torch.manual_seed(0)
    policy, std = gaussian([mean], [log_std]), math.exp(log_std)
    with torch.no_grad():
        for action in (policy(torch.zeros(100_000, 1))[0], policy.act(torch.zeros(100_000, 1))):
            for power in (1, 2, 3):
                expected = integral(lambda u, power=power: math.tanh(u) ** power, mean, std)
                assert float((action**power).mean()) == pytest.approx(expected, abs=0.01)


def test_deterministic_action_is_the_squashed_mean():
    action = gaussian([0.7, -1.5], [0.0, 1.0]).act(torch.zeros(1, 1), deterministic=True)
    assert_close(action, torch.tensor([[0.7, -1.5]]).tanh())


def test_log_std_is_clipped_on_both_sides():
    torch.manual_seed(0)
    wide, narrow = gaussian([0.0], [9.0]), gaussian([0.3], [-90.0])
    with torch.no_grad():
        u = wide(torch.zeros(50_000, 1))[0].double().clamp(-1 + 1e-12, 1 - 1e-12).atanh()
        inside = float((u.abs() < 1).float().mean())
        expected = norm(0, math.exp(2)).cdf(1) - norm(0, math.exp(2)).cdf(-1)
        assert inside == pytest.approx(expected, abs=0.01)
        action, log_prob = narrow(torch.zeros(4, 1))
    assert_close(action, torch.full((4, 1), math.tanh(0.3)))
    assert (log_prob <= 20 - 0.5 * math.log(2 * math.pi) - log_det(0.3) + 1e-4).all()


# ---- log standard deviations -------------------------------------------------------------------------------------------


def test_a_clipped_log_std_is_the_output_clipped_to_its_bounds():
    output = torch.tensor([-math.inf, -20.5, -20.0, -1.5, 0.0, 2.0, 2.5, math.inf])
    expected = torch.tensor([-20.0, -20.0, -20.0, -1.5, 0.0, 2.0, 2.0, 2.0])
    assert_close(ClippedLogStd()(output), expected, rtol=0, atol=0)
    expected = torch.tensor([-1.0, -1.0, -1.0, -1.0, 0.0, 0.5, 0.5, 0.5])
    assert_close(ClippedLogStd(-1.0, 0.5)(output), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("low", "high"), [(-10.0, 2.0), (-3.0, 1.0)])
def test_a_tanh_log_std_is_the_tanh_of_the_output_scaled_to_its_bounds(low, high):
    output = torch.tensor([-math.inf, -0.5, 0.0, 0.5, math.inf], dtype=torch.float64)
    middle, half = (low + high) / 2, (high - low) / 2
    expected = [low, middle - half * math.tanh(0.5), middle, middle + half * math.tanh(0.5), high]
    assert_close(TanhLogStd(low, high)(output), torch.tensor(expected, dtype=torch.float64))


def test_the_published_bounds_are_the_default():
    assert (ClippedLogStd().low, ClippedLogStd().high) == (-20, 2)
    assert (TanhLogStd().low, TanhLogStd().high) == (-10, 2)


def test_a_tanh_log_std_has_a_gradient_where_a_clipped_one_has_none():
    for kind, moves in ((ClippedLogStd, False), (TanhLogStd, True)):
        output = torch.tensor([3.0, 5.0], requires_grad=True)
        kind()(output).sum().backward()
        assert ((output.grad > 0) == moves).all()


def test_the_deviation_of_the_policy_is_exp_of_its_log_std():
    torch.manual_seed(0)
    policy = gaussian([0.0, 0.0], [0.0, -20.0], log_std=partial(TanhLogStd, low=-3.0, high=1.0))
    with torch.no_grad():
        drawn = policy(torch.zeros(20_000, 1))[0], policy.act(torch.zeros(20_000, 1))
    for action in drawn:
        std = action.double().atanh().std(0)
        assert_close(std, torch.tensor([math.exp(-1), math.exp(-3)], dtype=torch.float64), rtol=0.03, atol=0)


# ---- the mixture of Gaussians -----------------------------------------------------------------------------------------


def on_a_grid(policy, obs, f):
    """``E[f(a) + .3 log pi(a|s)]`` of a mixture by quadrature over u, differentiable in its parameters; float64."""
    dim, count = policy.action_dim, policy.components
    output = policy.network(obs.unsqueeze(0)).squeeze().double().view(count, -1)
    mean, log_std, log_weight = output[:, :dim], policy.log_std(output[:, dim:-1]), output[:, -1].log_softmax(0)
    axis = torch.linspace(-9, 9, 20001 if dim == 1 else 451, dtype=torch.float64)
    u = torch.cartesian_prod(*[axis] * dim).view(-1, dim)
    normals = Normal(mean.unsqueeze(1), log_std.exp().unsqueeze(1)).log_prob(u).sum(-1)
    log_density = (normals + log_weight.unsqueeze(1)).logsumexp(0)
    inside = f(u.tanh()) + 0.3 * (log_density - 2 * (math.log(2) - u - torch.nn.functional.softplus(-2 * u)).sum(-1))
    return (log_density.exp() * inside).sum() * (axis[1] - axis[0]) ** dim


@pytest.mark.parametrize("action_dim", [1, 2])
def test_gradient_of_an_expectation_under_the_mixture_agrees_with_quadrature_in_every_parameter(action_dim):
    torch.manual_seed(5)
    spread = partial(TanhLogStd, low=-2.0, high=0.5)
    policy = MixtureOfGaussians(OBS, action_dim, components=3, network=partial(MLP, hidden_dims=()), log_std=spread)
    with torch.no_grad():
        policy.network[-1].bias.add_(0.7 * torch.randn_like(policy.network[-1].bias))
    (bias,) = [parameter for parameter in policy.parameters() if parameter is policy.network[-1].bias]
    obs = same_obs(1)

    def f(action):
        return (3 * action).sin().sum(-1) + action.prod(-1)

    expected = torch.autograd.grad(on_a_grid(policy, obs, f), bias)[0]
    parts = []
    for _ in range(40):
        action, log_prob = policy(obs.expand(10_000, -1))
        parts.append(torch.autograd.grad((f(action) + 0.3 * log_prob).mean(), bias)[0].flatten())
    drawn, error = torch.stack(parts).mean(0), torch.stack(parts).std(0) / math.sqrt(len(parts))
    assert error.max() < 0.02 * expected.abs().max()
    assert ((drawn - expected.flatten()).abs() < 5 * error + 1e-4).all()


def test_components_of_a_mixture_are_drawn_as_often_as_their_weights_say():
    torch.manual_seed(0)
    policy = MixtureOfGaussians(1, 1, components=2, network=partial(MLP, hidden_dims=()))
    with torch.no_grad():
        policy.network[-1].weight.zero_()
        policy.network[-1].bias.copy_(
            torch.tensor([[-1.0, -3.0, math.log(0.2), 1.0, -3.0, math.log(0.8)]]).view(1, 1, 6)
        )
        actions = policy.act(torch.zeros(20_000, 1))
    assert float((actions > 0).double().mean()) == pytest.approx(0.8, abs=0.01)
    best = policy.act(torch.zeros(3, 1), deterministic=True)
    assert_close(best, torch.full_like(best, math.tanh(1.0)), atol=0.02, rtol=0)  # and not the mean, between the two


def test_a_mixture_without_components_is_refused():
    with pytest.raises(MaxEntError, match="components must be at least 1, but is 0"):
        MixtureOfGaussians(1, 1, components=0)


# ---- what a policy of one's own must keep ---------------------------------------------------------------------------


class Own(AbstractPolicy):
    """A policy from outside, wrong in one way."""

    action, log_prob, played = torch.zeros(3, 2), torch.zeros(3), torch.zeros(3, 2)

    def __init__(self, obs_dim, action_dim):
        super().__init__()

    def forward(self, obs):
        return self.action, self.log_prob

    def act(self, obs, deterministic=False):
        return self.played


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"action": torch.zeros(3, 1)}, r"Own.forward must give an action of shape \[3, 2\], but gave \[3, 1\]"),
        ({"log_prob": torch.zeros(3, 1)}, r"Own.forward must give a log-density of shape \[3\]"),
        ({"log_prob": torch.full((3,), math.nan)}, "log-density of finite numbers"),
        ({"action": torch.full((3, 2), 1.5)}, r"actions in \[-1, 1\], but gave 1.5"),
        ({"played": torch.zeros(2)}, "Own.act must give an action"),
    ],
)
def test_a_broken_policy_is_refused_with_the_method(wrong, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        build_policy(type("Own", (Own,), wrong), OBS, 2)


class CutOff(SquashedGaussian):
    def forward(self, obs):
        return tuple(each.detach() for each in super().forward(obs))

    def unsquashed(self, obs, count):
        return super().unsquashed(obs, count).detach()


@pytest.mark.parametrize(("build", "method"), [(build_policy, "forward"), (build_sampler, "unsquashed")])
def test_a_policy_that_cannot_learn_is_refused(build, method):
    with pytest.raises(MaxEntError, match=f"^CutOff.{method} must have a gradient in the policy's parameters"):
        build(CutOff, OBS, 2)


def test_an_error_in_a_policy_is_reported_in_one_sentence_with_its_line():
    with pytest.raises(
        MaxEntError, match=r"^Building the policy raised TypeError: .* \(.*test_policies\.py, line \d+\)\.$"
    ):
        build_policy(lambda obs_dim, action_dim: Own(obs_dim), OBS, 2)
    with pytest.raises(
        MaxEntError, match=r"^Building the policy raised TypeError: .* were given\.$"
    ):  # no line of theirs
        build_policy(lambda obs_dim: Own(obs_dim, 2), OBS, 2)


def test_a_policy_that_keeps_its_contract_is_built_without_touching_the_random_state():
    state = torch.random.get_rng_state()
    assert isinstance(build_policy(Own, OBS, 2), Own)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_samplers_are_refused_as_densities_and_other_modules_as_either():
    with pytest.raises(MaxEntError, match="SteinSampler has no density"):
        build_policy(SteinSampler, OBS, 2)
    with pytest.raises(MaxEntError, match="Linear has neither a density over actions nor samples before tanh"):
        build_sampler(torch.nn.Linear, OBS, 2)
    sampler = build_sampler(SteinSampler, OBS, 2)
    assert sampler.unsquashed(torch.zeros(4, OBS), 5).shape == (4, 5, 2)


@pytest.mark.parametrize("sampler", [*POLICIES.values(), SteinSampler], ids=[*POLICIES, "stein_sampler"])
def test_particles_depend_on_their_own_state(sampler):
    torch.manual_seed(0)
    built, obs = build_sampler(sampler, OBS, 2), 5 * torch.randn(2, OBS)
    with torch.no_grad():
        together = built.samples(obs, 20_000).mean(1)
        alone = torch.cat([built.samples(each.unsqueeze(0), 20_000).mean(1) for each in obs])
    assert_close(together, alone, atol=0.03, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.05
