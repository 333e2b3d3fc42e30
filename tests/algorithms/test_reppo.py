"""REPPO: the targets of Q, the loss of the policy, and convergence of both to the soft optimum."""

import math
from functools import partial

import pytest
import torch
from helpers import named_optimizers
from torch.optim import Adam
from torch.testing import assert_close

from lightning_maxent import (
    REPPO,
    AbstractCritic,
    BoxActions,
    FiniteActions,
    FixedTemperature,
    FlowPolicy,
    LearnedTemperature,
    MaxEntError,
    Optimizers,
    Rollout,
    SquashedGaussian,
    Transition,
    TwinCritic,
)
from lightning_maxent.algorithms.reppo import SoftReturnSample, TrustRegion
from lightning_maxent.networks import MLP, BatchRenormMLP, DropoutMLP
from lightning_maxent.policies.base import AbstractComparablePolicy

SMALL = partial(MLP, hidden_dims=(16,))
ALPHA, DISCOUNT = 0.3, 0.9


class SumOfObservation(AbstractCritic):
    """Q is the sum of the observation, times a parameter that is 1: the same for every action."""

    def __init__(self, obs_dim, action_dim):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, obs, action):
        return (self.one * obs.sum(-1) + 0 * action.sum(-1)).unsqueeze(0)

    def value(self, prediction):
        return prediction.squeeze(0)


class UniformPolicy(AbstractComparablePolicy):
    """Density 1/2 everywhere in [-1, 1]; no parameters to move."""

    def forward(self, obs):
        return 2 * torch.rand(len(obs), 1) - 1, torch.full((len(obs),), -math.log(2))

    def act(self, obs, deterministic=False):
        return self(obs)[0]

    def divergence(self, obs, earlier):
        return torch.zeros(len(obs))


class CutOff(SquashedGaussian):
    def divergence(self, obs, earlier):
        return super().divergence(obs, earlier).detach()


class PerDimension(SquashedGaussian):
    def divergence(self, obs, earlier):
        return super().divergence(obs, earlier).unsqueeze(-1)


class Elsewhere(SquashedGaussian):
    def divergence(self, obs, earlier):
        return super().divergence(obs + 1, earlier) + obs[:, 0].square()


def learner(**kwargs) -> REPPO:
    torch.manual_seed(0)
    arguments = {
        "critic": partial(TwinCritic, network=SMALL),
        "policy": partial(SquashedGaussian, network=SMALL),
        "temperature": partial(FixedTemperature, alpha=ALPHA),
        "discount": DISCOUNT,
        "minibatches": 4,
        "optimizers": Optimizers(),  # without clipping
    }
    return REPPO(3, BoxActions(1), **(arguments | kwargs))


def rollout_of(time=9, envs=4) -> Rollout:
    generator = torch.Generator().manual_seed(0)
    terminated = torch.rand(time, envs, generator=generator) < 0.2
    return Rollout(
        torch.randn(time, envs, 3, generator=generator),
        2 * torch.rand(time, envs, 1, generator=generator) - 1,
        torch.randn(time, envs, generator=generator),
        torch.randn(time, envs, 3, generator=generator),
        terminated,
        terminated | (torch.rand(time, envs, generator=generator) < 0.2),
    )


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_returns_are_those_of_the_recursion_with_entropies(gae_lambda):
    rollout = rollout_of()
    assert (rollout.terminated.any(), (rollout.done & ~rollout.terminated).any()) == (True, True)
    algorithm = learner(critic=SumOfObservation, policy=lambda *_: UniformPolicy(), gae_lambda=gae_lambda)
    following = torch.full_like(rollout.reward[0], math.nan)
    for t in reversed(range(len(rollout.reward))):
        q = rollout.next_obs[t].sum(-1)
        last = rollout.done[t] | (t == len(rollout.reward) - 1)
        mixed = torch.where(last, q, gae_lambda * following + (1 - gae_lambda) * q)
        beyond = torch.where(rollout.terminated[t], 0.0, mixed + ALPHA * math.log(2))
        following = rollout.reward[t] + DISCOUNT * beyond
        assert_close(algorithm.soft_returns(rollout)[t], following)


def test_the_policy_maximizes_q_within_its_trust_region_and_returns_to_it_from_outside():
    algorithm = learner(trust_region=partial(TrustRegion, bound=0.02, initial=0.7))
    obs = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in algorithm.policy.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    divergence = algorithm.policy.divergence(obs, algorithm.played_policy)
    outside = divergence > 0.02
    assert 10 < outside.sum() < 54
    torch.manual_seed(3)
    losses = algorithm.losses(SoftReturnSample(obs, torch.zeros(64, 1), torch.zeros(64)))
    torch.manual_seed(3)
    action, log_prob = algorithm.policy(obs)
    climb = ALPHA * log_prob - algorithm.q_value(obs, action)
    assert_close(losses["policy"], torch.where(outside, 0.7 * divergence, climb).mean())
    losses["policy"].backward()
    assert all(parameter.grad is None for parameter in algorithm.critic.parameters())
    assert all(parameter.grad is None for parameter in algorithm.trust_region.parameters())
    assert all(parameter.grad is None for parameter in algorithm.played_policy.parameters())


@pytest.mark.parametrize(("divergence", "grows"), [(0.05, False), (0.2, True)])
def test_the_multiplier_of_the_trust_region_grows_beyond_the_bound(divergence, grows):
    region = TrustRegion(bound=0.1, initial=0.01)
    (slope,) = torch.autograd.grad(region.loss(torch.tensor([divergence])).mean(), region.log_multiplier)
    assert (slope < 0) == grows
    assert float(region().detach()) == pytest.approx(0.01)


def test_the_divergence_of_squashed_gaussians_is_that_of_their_densities_over_actions():
    torch.manual_seed(0)
    earlier, now = (SquashedGaussian(3, 2, network=SMALL) for _ in range(2))
    obs = torch.randn(2, 3)
    u, log_prob = earlier.unsquashed_with_log_prob(obs, 200_000)
    mean, log_std = now._mean_and_log_std(obs)
    other = torch.distributions.Normal(mean.unsqueeze(1), log_std.exp().unsqueeze(1)).log_prob(u).sum(-1)
    sampled = log_prob - other  # of u; that of tanh(u) has the same Jacobian in both
    assert (sampled.mean(1) > 0.02).all()
    assert_close(now.divergence(obs, earlier), sampled.mean(1), rtol=0.03, atol=0)
    assert_close(now.divergence(obs, now), torch.zeros(2))


def test_the_trust_region_is_around_the_policy_that_played_the_rollout():
    algorithm = learner(epochs=3, optimizers=Optimizers(policy=partial(Adam, lr=0.01)))
    optimizers = named_optimizers(algorithm)
    divergences = []
    for _ in range(2):
        for batch in algorithm.batches(rollout_of()):
            divergences.append(float(algorithm.policy.divergence(batch.obs, algorithm.played_policy).mean().detach()))
            algorithm.update(batch, optimizers)
    assert len(divergences) == 24
    assert divergences[0] == divergences[12] == 0
    assert divergences[11] > 1e-4


@pytest.mark.usefixtures("shapes_unchecked")
def test_reppo_converges_to_the_soft_optimum_of_a_one_step_world():
    """``exp(-k (a - m)^2 / alpha)`` is a Gaussian of variance ``alpha / 2k``, narrow enough for a policy with tanh."""
    adam = partial(Adam, lr=3e-3)
    algorithm = learner(
        temperature=partial(FixedTemperature, alpha=0.1),
        optimizers=Optimizers(critic=adam, policy=adam, trust_region=adam),
    )
    optimizers = named_optimizers(algorithm)
    ends = torch.ones(64, 4, dtype=torch.bool)
    for _ in range(60):
        obs = torch.zeros(64, 4, 3)
        action = algorithm.act(obs.flatten(0, 1)).view(64, 4, 1)
        reward = -2 * (action.squeeze(-1) - 0.2).square()
        for batch in algorithm.batches(Rollout(obs, action, reward, obs, ends, ends)):
            algorithm.update(batch, optimizers)
    actions = algorithm.act(torch.zeros(4_000, 3))
    assert float(actions.mean()) == pytest.approx(0.2, abs=0.03)
    assert float(actions.std()) == pytest.approx((0.1 / 4) ** 0.5, abs=0.025)


def test_a_learned_temperature_reaches_its_target_entropy():
    temperature = partial(LearnedTemperature, initial_alpha=0.5, target_entropy=0.6)  # of at most log 2 = .69
    algorithm = learner(temperature=temperature)
    optimizers = named_optimizers(algorithm)
    algorithm.update(next(algorithm.batches(rollout_of())), optimizers)
    assert float(algorithm.drain_metrics()["entropy"]) < 0.6
    assert float(algorithm.temperature().detach()) > 0.5


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: REPPO(3, FiniteActions((2,)), TwinCritic, SquashedGaussian), "needs continuous actions"),
        (lambda: learner(policy=FlowPolicy), "FlowPolicy has no method divergence, which REPPO needs"),
        (
            lambda: learner(policy=partial(SquashedGaussian, network=partial(BatchRenormMLP, hidden_dims=(8,)))),
            r"REPPO needs the same action probabilities .* running statistics such as network\..* without batch normalization",
        ),
        (
            lambda: learner(policy=partial(SquashedGaussian, network=partial(DropoutMLP, hidden_dims=(8,)))),
            "REPPO needs the same action probabilities .* SquashedGaussian change from call to call.* without dropout",
        ),
        (lambda: learner(policy=partial(CutOff, network=SMALL)), "CutOff.divergence must have a gradient"),
        (
            lambda: learner(policy=partial(PerDimension, network=SMALL)),
            r"must give a divergence of shape \[3\], but gave \[3, 1\]",
        ),
        (lambda: learner(policy=partial(Elsewhere, network=SMALL)), "from a policy's own copy must be zero, but is"),
        (lambda: learner(trust_region=partial(TrustRegion, bound=0.0)), "must be positive, but are 0.0"),
        (lambda: learner(gae_lambda=1.5), r"gae_lambda must lie in \[0, 1\]"),
        (lambda: learner(epochs=0), "epochs and minibatches must be at least 1"),
        (lambda: learner().feeding.check("REPPO", Transition(*rollout_of()[:5])), "learns from its own rollouts"),
        (lambda: next(learner(minibatches=25).batches(rollout_of())), "36 steps cannot be split into 25 minibatches"),
    ],
)
def test_invalid_settings_of_reppo_are_refused_in_one_sentence(build, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        build()
