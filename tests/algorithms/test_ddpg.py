"""DDPG and TD3, against their equations and a world whose answer is known."""

from functools import partial

import pytest
import torch
from helpers import disturb, made_up, named_optimizers
from torch.testing import assert_close

from lightning_maxent import Optimizers
from lightning_maxent.actions import BoxActions, FiniteActions
from lightning_maxent.algorithms.ddpg import DDPG
from lightning_maxent.algorithms.td3 import TD3
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP
from lightning_maxent.noise import GaussianNoise
from lightning_maxent.policies.deterministic import Deterministic
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.transition import Transition

OBS, ACTION, BATCH, DISCOUNT = 3, 2, 32, 0.9
SMALL = partial(MLP, hidden_dims=(32, 32))


def build(algorithm=DDPG, **parts):
    torch.manual_seed(0)
    given = {"critic": partial(TwinCritic, network=SMALL), "policy": partial(Deterministic, network=SMALL)} | parts
    return algorithm(OBS, BoxActions(ACTION), discount=DISCOUNT, **given)


@pytest.mark.parametrize("kind", [DDPG, TD3])
def test_losses_are_those_of_the_docstrings(kind):
    algorithm, batch = build(kind), made_up(OBS, BoxActions(ACTION), BATCH)
    disturb(algorithm)
    algorithm.gradient_steps = 1  # the second update: the policy's turn
    torch.manual_seed(2)
    losses = algorithm.losses(batch)
    torch.manual_seed(2)
    with torch.no_grad():
        next_action = algorithm.target_policy.network(batch.next_obs)
        if kind is TD3:
            next_action = (next_action + (0.2 * torch.randn_like(next_action)).clamp(-0.5, 0.5)).clamp(-1, 1)
        next_q = algorithm.target_critic.network(batch.next_obs, next_action).amin(0)
        target = batch.reward + DISCOUNT * (~batch.terminated) * next_q
    error = (algorithm.critic(batch.obs, batch.action) - target).square()
    assert_close(losses["critic"], error.sum(0).mean())
    action = algorithm.policy(batch.obs)
    assert_close(losses["policy"], -algorithm.critic(batch.obs, action).amin(0).mean())


def test_each_loss_has_a_gradient_in_its_own_network_only():
    algorithm = build()
    losses = algorithm.losses(made_up(OBS, BoxActions(ACTION), BATCH))
    for name, loss in losses.items():
        for other in losses:
            parameters = list(getattr(algorithm, other).parameters())
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            assert any(gradient is not None and gradient.any() for gradient in gradients) == (name == other)


def test_td3_updates_the_policy_every_second_time_and_the_target_copies_every_time():
    algorithm, moved = build(TD3), []
    disturb(algorithm)
    optimizers = named_optimizers(algorithm)
    for _ in range(4):
        before = algorithm.policy.network[0].weight.detach().clone()
        copies = [algorithm.target_critic.network.network[0].weight, algorithm.target_policy.network.network[0].weight]
        behind = [copy.detach().clone() for copy in copies]
        algorithm.update(made_up(OBS, BoxActions(ACTION), BATCH), optimizers)
        moved.append(not torch.equal(before, algorithm.policy.network[0].weight))
        assert not any(torch.equal(*pair) for pair in zip(behind, copies))
    assert moved == [False, True, False, True]


def test_noise_is_added_to_exploring_actions_only():
    algorithm, obs = build(noise=partial(GaussianNoise, std=0.3)), torch.randn(400, OBS)
    played = algorithm.act(obs)
    assert_close(played, algorithm.act(obs, deterministic=True), rtol=0, atol=0)
    assert_close(played, algorithm.policy(obs).detach())
    away = algorithm.explore(obs) - played
    assert float(away.std()) == pytest.approx(0.3, abs=0.03)


@pytest.mark.usefixtures("shapes_unchecked")
def test_in_a_world_of_one_step_the_policy_finds_the_best_action_of_every_state():
    algorithm = build(optimizers=Optimizers(partial(torch.optim.Adam, lr=3e-3)))
    optimizers = named_optimizers(algorithm)
    for _ in range(600):
        obs, action = torch.rand(128, OBS) * 2 - 1, torch.rand(128, ACTION) * 2 - 1
        reward = -(action - 0.6 * obs[:, :ACTION]).square().sum(-1)
        algorithm.update(Transition(obs, action, reward, obs, torch.ones(128, dtype=torch.bool)), optimizers)
    obs = torch.rand(200, OBS) * 2 - 1
    assert (algorithm.act(obs) - 0.6 * obs[:, :ACTION]).abs().mean() < 0.06
    with torch.no_grad():
        value, entropy = algorithm.value_and_entropy(obs)
    assert value.abs().mean() < 0.05
    assert not entropy.any()


@pytest.mark.parametrize("kind", [DDPG, TD3])
def test_finite_actions_are_refused(kind):
    with pytest.raises(MaxEntError, match=f"{kind.__name__} needs continuous actions"):
        kind(OBS, FiniteActions((2,)), critic=TwinCritic, policy=Deterministic)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (SquashedGaussian, "SquashedGaussian gives a tuple and not one action for every state"),
        (lambda obs_dim, action_dim: torch.nn.Linear(obs_dim, action_dim + 1), r"of shape \[3, 2\], but gave \[3, 3\]"),
        (lambda obs_dim, action_dim: Large(obs_dim, action_dim), r"actions in \[-1, 1\]"),
    ],
)
def test_a_policy_without_actions_in_the_box_is_refused_when_it_is_built(policy, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        build(policy=policy)


class Large(torch.nn.Linear):
    def forward(self, input):
        return 2 + super().forward(input).square()
