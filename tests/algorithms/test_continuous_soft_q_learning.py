"""Soft Q-learning over continuous actions, against equations and worlds of one step."""

import math
import re
from functools import partial

import pytest
import torch
from helpers import constant, made_up, named_optimizers
from torch.testing import assert_close

from lightning_maxent import Optimizers
from lightning_maxent.actions import BoxActions, FiniteActions
from lightning_maxent.algorithms.continuous_soft_q_learning import ContinuousSoftQLearning
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.critics.categorical import CategoricalCritic
from lightning_maxent.critics.ensemble import EnsembleCritic
from lightning_maxent.critics.quantile import QuantileCritic
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, BatchRenormMLP
from lightning_maxent.particles import PolicyExpectation, PolicyParticles, UniformParticles
from lightning_maxent.policies.base import AbstractPolicy
from lightning_maxent.policies.flow import FlowPolicy
from lightning_maxent.policies.mixture import MixtureOfGaussians
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.policies.stein_sampler import SteinSampler
from lightning_maxent.policy_updates import DivergenceUpdate, SteinUpdate
from lightning_maxent.targets import JointPass, JointPolyakTarget, PeriodicTarget, PolyakTarget
from lightning_maxent.temperature import FixedTemperature, LearnedTemperature
from lightning_maxent.transition import Transition

OBS, ACTION, BATCH, ALPHA, DISCOUNT = 3, 2, 16, 0.4, 0.9
SMALL = partial(MLP, hidden_dims=(16,))
TWIN = partial(TwinCritic, network=SMALL)
STEIN = partial(SteinSampler, network=SMALL)

POLICIES = {
    "stein_sampler": {"policy": STEIN},
    "gaussian": {
        "policy": partial(SquashedGaussian, network=SMALL),
        "particles": PolicyExpectation(4),
        "policy_update": DivergenceUpdate(2),
    },
    "flow": {
        "policy": partial(FlowPolicy, transforms=1, bins=4, hidden_dims=(8,)),
        "particles": PolicyParticles(4),
        "policy_update": DivergenceUpdate(1),
    },
    "mixture": {"policy": partial(MixtureOfGaussians, network=SMALL), "policy_update": SteinUpdate(4)},
}
CRITICS = {
    "twin": {"critic": TWIN},
    "ensemble": {"critic": partial(EnsembleCritic, members=3, network=SMALL)},
    "quantile": {"critic": partial(QuantileCritic, quantiles=5, network=SMALL)},
    "categorical": {"critic": partial(CategoricalCritic, low=-5.0, high=5.0, network=SMALL)},
    "joint_pass": {
        "critic": partial(TwinCritic, network=partial(BatchRenormMLP, hidden_dims=(16,))),
        "target": JointPass,
    },
    "joint_copy": {
        "critic": partial(TwinCritic, network=partial(BatchRenormMLP, hidden_dims=(16,))),
        "target": JointPolyakTarget,
    },
}


def build(**parts):
    torch.manual_seed(0)
    given = {"critic": TWIN, "policy": STEIN, "temperature": partial(FixedTemperature, alpha=ALPHA)} | parts
    return ContinuousSoftQLearning(OBS, BoxActions(ACTION), discount=DISCOUNT, **given)


@pytest.mark.parametrize("parts", [*POLICIES.values(), *CRITICS.values()], ids=[*POLICIES, *CRITICS])
def test_each_loss_has_a_gradient_in_its_own_network_only(parts):
    algorithm = build(temperature=partial(LearnedTemperature, initial_alpha=ALPHA, target_entropy=0.0), **parts)
    losses = algorithm.losses(made_up(OBS, BoxActions(ACTION), BATCH))
    assert losses.keys() == {"critic", "policy", "temperature"}
    for name, loss in losses.items():
        for other in losses:
            gradients = torch.autograd.grad(
                loss, list(getattr(algorithm, other).parameters()), retain_graph=True, allow_unused=True
            )
            moved = any(gradient is not None and gradient.any() for gradient in gradients)
            assert moved == (name == other)


@pytest.mark.parametrize("target", [PeriodicTarget, PolyakTarget])
def test_q_regresses_on_reward_and_the_soft_value_of_the_copy(target):
    algorithm, batch = build(target=target), made_up(OBS, BoxActions(ACTION), BATCH)
    constant(algorithm.critic.network, 0.5, -0.25)
    constant(algorithm.target_critic.network.network, 2.0, 1.5)
    soft_value = 1.5 + ALPHA * ACTION * math.log(2)  # of a constant, whatever the particles
    expected = batch.reward + DISCOUNT * (~batch.terminated) * soft_value
    error = (0.5 - expected).square() + (-0.25 - expected).square()
    assert_close(algorithm.losses(batch)["critic"], error.mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("parts", CRITICS.values(), ids=CRITICS)
def test_the_mean_of_what_is_backed_up_is_the_importance_sampled_value(parts, monkeypatch):
    """``V + sum_k w_k (target_k - value_k)``: a critic's ``target`` may be smaller than its ``value``, which the policy
    maximizes.
    """
    algorithm, seen = build(particles=UniformParticles(5), **parts), {}
    critic, backup = algorithm.critic, algorithm.backup
    value_of, target_of = critic.value, critic.target

    def watch(name, method):
        def watched(prediction):
            result = method(prediction)
            if prediction.shape[1] == 5 * BATCH:
                seen.setdefault(name, result)
            return result

        monkeypatch.setattr(critic, name, watched)

    watch("value", value_of)
    watch("target", target_of)
    monkeypatch.setattr(algorithm, "backup", lambda batch, back: seen.update(backed_up=back) or backup(batch, back))
    algorithm.losses(made_up(OBS, BoxActions(ACTION), BATCH))
    value, target = seen["value"].view(BATCH, 5), seen["target"].mean().view(BATCH, 5)
    soft_value = ALPHA * ((value / ALPHA).exp().mean(1).log() + ACTION * math.log(2))
    expected = soft_value + ((value / ALPHA).softmax(1) * (target - value)).sum(1)
    assert_close(seen["backed_up"].probs.sum(-1), torch.ones(BATCH))
    assert_close(seen["backed_up"].mean(), expected, rtol=1e-4, atol=1e-4)


def test_a_joint_pass_asks_for_all_particles_together_with_the_pairs_that_learn():
    algorithm = build(**CRITICS["joint_pass"], particles=UniformParticles(5))
    sizes = []
    algorithm.critic.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    algorithm.losses(made_up(OBS, BoxActions(ACTION), BATCH))
    assert sizes[-1] == BATCH * (1 + 5)


@pytest.mark.parametrize("parts", POLICIES.values(), ids=POLICIES)
def test_the_deterministic_action_is_the_sample_with_the_largest_q_and_reproducible(parts):
    algorithm, obs = build(**parts), torch.randn(6, OBS)
    state = torch.random.get_rng_state()
    best = algorithm.act(obs, deterministic=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(9)
    assert_close(algorithm.act(obs, deterministic=True), best, rtol=0, atol=0)
    with torch.no_grad():
        sampled = torch.stack([algorithm.q_value(obs, algorithm.act(obs)) for _ in range(50)])
        assert (algorithm.q_value(obs, best) > sampled.mean(0)).all()
    assert (algorithm.act(obs) != algorithm.act(obs)).any(-1).all()


def curve(obs, action):
    """A reward of one step with four unequal hills."""
    hills = torch.tensor([[0.7, 0.0], [-0.7, 0.0], [0.0, 0.7], [0.0, -0.7]])
    heights = torch.tensor([1.0, 0.8, 1.0, 0.6])
    return (heights * torch.exp(-(action.unsqueeze(1) - hills).square().sum(-1) / 0.1)).sum(-1)


def exact(alpha):
    """Soft value, entropy and the probability of each quarter around a hill, by a fine grid."""
    axis = (torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1
    grid = torch.cartesian_prod(axis, axis)
    mass = (curve(None, grid.float()).double() / alpha).exp() * (1 / 200) ** 2
    density = mass / mass.sum() * 200**2
    return (
        alpha * float(mass.sum().log()),
        -float((mass / mass.sum()) @ density.log()),
        quarters(grid, mass / mass.sum()),
    )


def quarters(action, weights):
    """Shares of the four triangles right, left, above and below."""
    sideways = action[:, 0].abs() > action[:, 1].abs()
    first = torch.where(sideways, action[:, 0], action[:, 1]) < 0
    return torch.zeros(4, dtype=torch.float64).index_add(0, 2 * (~sideways).long() + first.long(), weights)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("name", "tolerance"), [("stein_sampler", 0.05), ("mixture", 0.1)]
)  # four Gaussians only come near
def test_in_a_world_of_one_step_q_value_entropy_and_policy_become_the_exact_ones(name, tolerance):
    alpha = 0.25
    network = partial(MLP, hidden_dims=(64, 64))
    optimizer = partial(torch.optim.Adam, lr=4e-3)
    algorithm = build(
        critic=partial(EnsembleCritic, members=1, subset=1, network=network),  # a minimum would be a little too low
        policy=partial(SteinSampler if name == "stein_sampler" else MixtureOfGaussians, network=network),
        policy_update=SteinUpdate(16) if name == "stein_sampler" else DivergenceUpdate(8),
        particles=UniformParticles(2),  # of no account where every step ends
        temperature=partial(FixedTemperature, alpha=alpha),
        optimizers=Optimizers(optimizer),
    )
    optimizers = named_optimizers(algorithm)
    for _ in range(1200):
        obs, action = torch.zeros(96, OBS), torch.rand(96, ACTION) * 2 - 1
        algorithm.update(Transition(obs, action, curve(obs, action), obs, torch.ones(96, dtype=torch.bool)), optimizers)
    value, entropy, shares = exact(alpha)
    algorithm.particles = UniformParticles(1000)
    with torch.no_grad():
        found_value, found_entropy = algorithm.value_and_entropy(torch.zeros(100, OBS))
    assert float(found_value.mean()) == pytest.approx(value, abs=0.02)
    assert float(found_entropy.mean()) == pytest.approx(entropy, abs=0.04)
    action = algorithm.act(torch.zeros(8000, OBS)).double()
    assert_close(quarters(action, torch.full((8000,), 1 / 8000, dtype=torch.float64)), shares, atol=tolerance, rtol=0)
    assert shares[3] > 0.1  # even the lowest hill is kept


def test_a_learned_temperature_follows_the_entropy_of_the_softmax_of_q():
    algorithm = build(temperature=partial(LearnedTemperature, initial_alpha=ALPHA, target_entropy=1.0))
    constant(algorithm.critic.network, 0.0, 0.0)
    constant(algorithm.target_critic.network.network, 0.0, 0.0)  # uniform: entropy log 4
    algorithm.losses(made_up(OBS, BoxActions(ACTION), BATCH))["temperature"].backward()
    assert_close(algorithm.temperature.log_alpha.grad, torch.tensor(ALPHA * (math.log(4) - 1.0)))


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"particles": PolicyParticles(4)}, "SteinSampler has none"),
        ({"particles": PolicyExpectation(4)}, "SteinSampler has none"),
        ({"policy_update": DivergenceUpdate()}, "SteinSampler has none"),
    ],
)
def test_a_policy_without_density_is_refused_where_one_is_needed(parts, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        build(**parts)


def test_finite_actions_are_refused_and_sac_refuses_a_sampler():
    with pytest.raises(MaxEntError, match="needs continuous actions"):
        ContinuousSoftQLearning(OBS, FiniteActions((2,)), critic=TWIN, policy=STEIN)
    with pytest.raises(MaxEntError, match="SteinSampler has no density"):
        SAC(OBS, BoxActions(ACTION), critic=TWIN, policy=STEIN)


def settled_entropy(particles: UniformParticles, target: float) -> float:
    """The entropy of ``exp(Q/alpha)/Z``, ``Q = -|a|^2 / 2``, at the alpha for which the particles estimate the target
    entropy.

    A Gaussian of variance alpha, far from the edge of the box; found by bisection.
    """
    torch.manual_seed(0)
    action, log_density = particles.draw(None, torch.zeros(4_000, OBS), ACTION)
    q, low, high = -action.square().sum(-1) / 2, 1e-4, 0.1
    for _ in range(20):
        alpha = math.sqrt(low * high)
        log_weights, log_prob = particles.weigh(q, log_density, torch.tensor(alpha))
        told = float(-(log_weights.exp() * log_prob).sum(-1).mean())
        low, high = (alpha, high) if told < target else (low, alpha)
    return ACTION / 2 * math.log(2 * math.pi * math.e * alpha)


@pytest.mark.parametrize("target", [-1.0, -2.0])
def test_a_target_entropy_too_low_for_the_particles_is_refused_with_a_sufficient_count(target):
    steer, few = partial(LearnedTemperature, target_entropy=target), UniformParticles(16)
    with pytest.raises(MaxEntError, match=r"target entropy of -\d nats, but 16 uniform particles") as refusal:
        build(temperature=steer, particles=few)
    count = int(re.search(r"set their count to (\d+) or more", str(refusal.value)).group(1))
    enough = UniformParticles(count)
    build(temperature=steer, particles=enough)
    assert abs(settled_entropy(enough, target) - target) < 0.25
    if target == -1.0:  # at -2, 16 of them tell no entropy that low, whatever alpha is
        assert settled_entropy(few, target) < target - 0.6
    with pytest.raises(MaxEntError, match=f"{count - 1} uniform particles"):
        build(temperature=steer, particles=UniformParticles(count - 1))
    build(temperature=steer, **POLICIES["flow"])


class Beta(AbstractPolicy):
    """A density on the box without samples before tanh."""

    def __init__(self, obs_dim, action_dim):
        super().__init__()
        self.parameters_of = torch.nn.Linear(obs_dim, 2 * action_dim)

    def forward(self, obs):
        distribution = torch.distributions.Beta(*(1 + torch.exp(self.parameters_of(obs))).chunk(2, -1))
        x = distribution.rsample().clamp(1e-6, 1 - 1e-6)
        return 2 * x - 1, (distribution.log_prob(x) - math.log(2)).sum(-1)

    def act(self, obs, deterministic=False):
        return self(obs)[0]


def test_a_policy_without_tanh_acts_and_learns_by_the_divergence_update():
    algorithm = build(policy=Beta, particles=PolicyParticles(4), policy_update=DivergenceUpdate(2))
    before = algorithm.policy.parameters_of.weight.clone()
    algorithm.update(made_up(OBS, BoxActions(ACTION), BATCH), named_optimizers(algorithm))
    assert (algorithm.policy.parameters_of.weight != before).any()
    for deterministic in (False, True):
        assert algorithm.act(torch.zeros(5, OBS), deterministic).shape == (5, ACTION)
    with torch.no_grad():
        obs = 5 * torch.randn(2, OBS)
        together = algorithm.policy.samples(obs, 5_000).mean(1)
        alone = torch.cat([algorithm.policy.samples(each.unsqueeze(0), 5_000).mean(1) for each in obs])
    assert_close(together, alone, atol=0.05, rtol=0)  # particles belong to their states
    assert (together[0] - together[1]).abs().max() > 0.1
    with pytest.raises(MaxEntError, match="which Beta does not provide"):
        build(policy=Beta)
