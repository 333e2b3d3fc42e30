"""Theorems over every critic: a new one is one more entry of CRITICS."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from lightning_maxent.actions import FiniteActions
from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution
from lightning_maxent.critics.building import build_finite_critic
from lightning_maxent.critics.categorical import CategoricalCritic, ProjectedHistogram, TwoHotHistogram
from lightning_maxent.critics.ensemble import EnsembleCritic
from lightning_maxent.critics.quantile import MeanPooling, QuantileCritic
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.critics.twin_heads import TwinHeadsCritic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, BatchRenormMLP, BroNet, DropoutMLP, FlashNet, SimBa
from lightning_maxent.objectives import huber_error

OBS, ACTION, BATCH = 3, 2, 16

SMALL = partial(MLP, hidden_dims=(16, 16))
CATEGORICAL = partial(CategoricalCritic, low=-5.0, high=5.0, bins=41)

CRITICS = {
    "twin": partial(TwinCritic, network=SMALL),
    "twin_heads": partial(TwinHeadsCritic, network=SMALL),
    "ensemble": partial(EnsembleCritic, members=4, subset=2, network=SMALL),
    "dropout": partial(EnsembleCritic, members=2, subset=2, network=partial(DropoutMLP, hidden_dims=(16, 16))),
    "truncated_quantiles": partial(QuantileCritic, members=3, quantiles=5, network=SMALL),
    "averaged_quantiles": partial(
        QuantileCritic, members=2, quantiles=5, pooling=MeanPooling, network=partial(BroNet, width=16)
    ),
    "gaussian_histogram": partial(CATEGORICAL, network=SMALL),
    "two_hot": partial(CATEGORICAL, histogram=TwoHotHistogram, network=SMALL),
    "flash": partial(CATEGORICAL, histogram=ProjectedHistogram, network=partial(FlashNet, width=16, blocks=1)),
    "batch_renorm": partial(TwinCritic, network=partial(BatchRenormMLP, hidden_dims=(16, 16))),
    "simba": partial(TwinCritic, network=partial(SimBa, width=16, blocks=1)),
}


@pytest.fixture(params=CRITICS)
def critic(request):
    torch.manual_seed(0)
    return CRITICS[request.param](OBS, ACTION).eval()


@pytest.fixture
def pair(critic):
    torch.manual_seed(1)
    return torch.randn(BATCH, OBS), torch.rand(BATCH, ACTION) * 2 - 1


def test_predictions_values_and_losses_have_the_shapes_of_the_contract(critic, pair):
    prediction = critic(*pair)
    members = len(prediction)
    assert prediction.shape[:2] == (members, BATCH)
    assert critic.value(prediction).shape == (BATCH,)
    target = critic.target(prediction)
    assert target.atoms.shape == target.probs.shape
    assert target.atoms.ndim == 2
    assert len(target.atoms) == BATCH
    assert_close(target.probs.sum(-1), torch.ones(BATCH))
    assert (target.probs >= 0).all()
    assert critic.loss(prediction, target).shape == (members, BATCH)


def test_a_critic_in_float64_computes_in_float64(critic, pair):
    critic = critic.double()
    prediction = critic(*(each.double() for each in pair))
    target = critic.target(prediction)
    numbers = [prediction, critic.value(prediction), *target, critic.loss(prediction, target)]
    assert {each.dtype for each in numbers} == {torch.float64}


def test_members_start_different_as_functions_and_not_by_a_constant(critic, pair):
    prediction = critic(*pair)
    for first in range(len(prediction)):
        for second in range(first):
            difference = (prediction[first] - prediction[second]).reshape(BATCH, -1)
            assert (difference.std(0) > 1e-3).all()


def test_prediction_depends_on_the_observation_and_on_the_action_of_its_own_transition_only(critic, pair):
    obs, action = (x.requires_grad_() for x in pair)
    prediction = critic(obs, action)
    for gradient in torch.autograd.grad(prediction[:, 3].sum(), (obs, action)):
        assert (gradient[3] != 0).any()
        others = torch.arange(BATCH) != 3
        assert_close(gradient[others], torch.zeros_like(gradient[others]), rtol=0, atol=0)


def test_loss_of_a_member_does_not_depend_on_the_other_members(critic, pair):
    prediction = critic(*pair).detach().requires_grad_()
    target = ReturnDistribution.equally_likely(torch.randn(BATCH, 5))
    loss = critic.loss(prediction, target)
    for member in range(len(prediction)):
        (gradient,) = torch.autograd.grad(loss[member].sum(), prediction, retain_graph=True)
        others = torch.arange(len(prediction)) != member
        assert (gradient[member] != 0).any()
        assert_close(gradient[others], torch.zeros_like(gradient[others]), rtol=0, atol=0)


def test_loss_sends_no_gradient_into_the_target(critic, pair):
    prediction = critic(*pair)
    target = ReturnDistribution(torch.zeros(BATCH, 4).requires_grad_(), torch.full((BATCH, 4), 0.25).requires_grad_())
    critic.loss(prediction, target).sum().backward()
    assert target.atoms.grad is None
    assert target.probs.grad is None
    assert any((parameter.grad != 0).any() for parameter in critic.parameters())


@pytest.mark.usefixtures("shapes_unchecked")
def test_descending_the_loss_against_a_constant_brings_the_value_to_that_constant(critic, pair):
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    target = ReturnDistribution.certain(torch.full((BATCH,), 1.5))
    for _ in range(300):
        optimizer.zero_grad()
        critic.loss(critic(*pair), target).sum(0).mean().backward()
        optimizer.step()
    assert_close(critic.value(critic(*pair)), torch.full((BATCH,), 1.5), rtol=0, atol=0.1)


def test_derivative_of_the_value_in_the_action_agrees_with_a_difference_quotient(critic, pair):
    critic = critic.double()
    obs, action = (x.double() for x in pair)
    direction = torch.randn_like(action)
    action.requires_grad_()
    (gradient,) = torch.autograd.grad(critic.value(critic(obs, action)).sum(), action)
    step = 1e-3
    ahead, behind = (critic.value(critic(obs, action + sign * step * direction)).detach() for sign in (1, -1))
    quotient = (ahead - behind).double() / (2 * step)
    derivative = (gradient * direction).sum(-1)
    smooth = (quotient - derivative).abs() < 1e-3  # all but the few pairs that lie within a step of a kink
    assert smooth.float().mean() > 0.8
    assert derivative.norm() > 0.05


def test_everything_is_float32_under_bfloat16_autocast(critic, pair):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = critic(*pair)
        target = critic.target(prediction)
        results = prediction, critic.value(prediction), *target, critic.loss(prediction, target)
    assert {result.dtype for result in results} == {torch.float32}


# ---- finite actions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [[0, 1], [1, 0], [1], [1, 1, 0]])
def test_every_action_agrees_with_forward_on_each_pair_in_the_order_of_the_given_actions(critic, pair, chosen):
    obs, actions = pair[0], torch.eye(ACTION)[chosen]
    every = critic.every_action(obs, actions)
    assert every.shape[1:3] == (BATCH, len(chosen))
    for index, action in enumerate(actions):
        assert_close(every[:, :, index], critic(obs, action.expand(BATCH, -1)))


def test_every_action_depends_on_its_own_observation_only(critic, pair):
    obs = pair[0].requires_grad_()
    every = critic.every_action(obs, torch.eye(ACTION))
    (gradient,) = torch.autograd.grad(every[:, 3].sum(), obs)
    others = torch.arange(BATCH) != 3
    assert (gradient[3] != 0).any()
    assert_close(gradient[others], torch.zeros_like(gradient[others]), rtol=0, atol=0)


def test_every_action_trains_the_same_weights_as_forward(critic, pair):
    obs, index = pair[0], torch.arange(BATCH) % ACTION
    one = critic(obs, torch.eye(ACTION)[index])
    every = critic.every_action(obs, torch.eye(ACTION))[:, torch.arange(BATCH), index]
    weight = torch.randn_like(one)

    def gradients(prediction):
        return torch.autograd.grad((prediction * weight).sum(), list(critic.parameters()))

    assert_close(gradients(every), gradients(one))


def test_every_action_is_float32_under_bfloat16_autocast(critic, pair):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        every = critic.every_action(pair[0], torch.eye(ACTION))
    assert every.dtype == torch.float32


@pytest.mark.parametrize("build", CRITICS.values(), ids=CRITICS)
def test_every_critic_serves_actions_of_one_factor(build):
    critic = build_finite_critic(build, OBS, FiniteActions((5,)))
    assert critic.training
    assert critic.every_action(torch.randn(BATCH, OBS), torch.eye(5)).shape[1:3] == (BATCH, 5)


def test_a_pairwise_critic_is_refused_for_several_action_factors_with_advice():
    with pytest.raises(
        MaxEntError,
        match=r"^The Q of TwinCritic is not a sum over the 2 factors .*TwinHeadsCritic.*max_joint_actions",
    ):
        build_finite_critic(CRITICS["twin"], OBS, FiniteActions((2, 3)))


class Wrong(TwinHeadsCritic):
    """Takes the actions in the opposite order."""

    def every_action(self, obs, actions):
        return super().every_action(obs, actions).flip(-1)


class Flat(TwinHeadsCritic):
    """Forgets that states and actions are two dimensions."""

    def every_action(self, obs, actions):
        return AbstractCritic.every_action(self, obs, actions).flatten(1)


@pytest.mark.parametrize("kind", [Wrong, Flat])
def test_a_critic_whose_forward_and_every_action_disagree_is_refused(kind):
    sentence = rf"^{kind.__name__}\.every_action .*{kind.__name__}\.forward.*\[member, batch, action\]"
    with pytest.raises(MaxEntError, match=sentence):
        build_finite_critic(partial(kind, network=partial(MLP, hidden_dims=(16,))), OBS, FiniteActions((3,)))


def test_checking_a_critic_changes_none_of_its_statistics():
    class Normalized(TwinHeadsCritic):
        def __init__(self, obs_dim, action_dim):
            super().__init__(obs_dim, action_dim)
            self.norm = torch.nn.BatchNorm1d(obs_dim)

        def forward(self, obs, action):
            return super().forward(self.norm(obs), action)

        def every_action(self, obs, actions):
            return super().every_action(self.norm(obs), actions)

    critic = build_finite_critic(Normalized, OBS, FiniteActions((3,)))
    assert int(critic.norm.num_batches_tracked) == 0
    assert critic.training


# ---- the twin ----------------------------------------------------------------------------------------------------------


def test_value_and_target_of_a_twin_critic_are_the_minimum():
    twin = TwinCritic(1, 1, network=partial(MLP, hidden_dims=()))
    prediction = torch.tensor([[1.0, 5.0], [2.0, -3.0]])
    assert_close(twin.value(prediction), torch.tensor([1.0, -3.0]), rtol=0, atol=0)
    assert_close(twin.target(prediction).atoms, torch.tensor([[1.0], [-3.0]]), rtol=0, atol=0)
    assert_close(twin.target(prediction).probs, torch.ones(2, 1), rtol=0, atol=0)


def test_twin_loss_is_each_member_s_squared_error_and_zero_at_the_target():
    twin = TwinCritic(1, 1, network=partial(MLP, hidden_dims=()))
    prediction, target = torch.tensor([[1.0, 5.0], [2.0, -3.0]]), ReturnDistribution.certain(torch.tensor([1.0, -1.0]))
    assert_close(twin.loss(prediction, target), torch.tensor([[0.0, 36.0], [1.0, 4.0]]), rtol=0, atol=0)


@pytest.mark.parametrize("critic", [TwinCritic, TwinHeadsCritic])
def test_a_twin_critic_takes_another_error_function(critic):
    twin = critic(1, 1, network=partial(MLP, hidden_dims=()), error=huber_error)
    prediction, target = torch.tensor([[1.0, 5.0], [2.0, -3.0]]), ReturnDistribution.certain(torch.tensor([1.5, -1.0]))
    assert_close(twin.loss(prediction, target), torch.tensor([[0.25, 11.0], [0.25, 3.0]]), rtol=0, atol=0)


def test_members_of_a_twin_critic_share_no_weight():
    torch.manual_seed(0)
    twin = TwinCritic(OBS, ACTION, network=partial(MLP, hidden_dims=(8,)))
    prediction = twin(torch.randn(4, OBS), torch.randn(4, ACTION))
    gradients = torch.autograd.grad(prediction[0].sum(), list(twin.parameters()))
    for gradient in gradients:
        assert (gradient[0] != 0).any()
        assert (gradient[1] == 0).all()
