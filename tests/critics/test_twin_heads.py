import itertools
from functools import partial

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from lightning_maxent.actions import FiniteActions
from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution
from lightning_maxent.critics.twin_heads import TwinHeadsCritic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP

OBS, BATCH = 3, 16


def table(*members):
    """A critic without hidden layers that holds these numbers: ``[state, action]`` for each member."""
    numbers = tensor(members)
    critic = TwinHeadsCritic(*numbers.shape[1:], network=partial(MLP, hidden_dims=()))
    with torch.no_grad():
        critic.network[-1].weight.copy_(numbers)
        critic.network[-1].bias.zero_()
    return critic


FIRST, SECOND = [[1.0, 5.0, 0.0], [-2.0, 4.0, 7.0]], [[2.0, -3.0, 0.5], [-2.5, 6.0, 6.0]]


def combinations(*counts):
    """All actions of several factors, one-hot vectors side by side."""
    return torch.stack([torch.cat(choices) for choices in itertools.product(*(torch.eye(count) for count in counts))])


# ---- a table -----------------------------------------------------------------------------------------------------------


def test_a_twin_heads_critic_without_hidden_layers_is_a_table_on_one_hot_observations():
    every = table(FIRST, SECOND).every_action(torch.eye(2), torch.eye(3))
    assert_close(every, tensor([FIRST, SECOND]), rtol=0, atol=0)


def test_a_tabular_critic_returns_the_entry_of_the_given_pair():
    critic = table(FIRST, SECOND)
    for state, action in itertools.product(range(2), range(3)):
        prediction = critic(torch.eye(2)[[state]], torch.eye(3)[[action]])
        assert_close(prediction, tensor([[FIRST[state][action]], [SECOND[state][action]]]), rtol=0, atol=0)


def test_training_a_tabular_critic_moves_only_the_entry_of_the_pair():
    critic = table(FIRST, SECOND)
    critic(torch.eye(2)[[1]], torch.eye(3)[[2]]).sum().backward()
    expected = torch.zeros(2, 2, 3)
    expected[:, 1, 2] = 1
    assert_close(critic.network[-1].weight.grad, expected, rtol=0, atol=0)


# ---- the mean and the minimum of both networks -------------------------------------------------------------------------


def test_the_target_of_twin_heads_is_the_minimum_for_each_action():
    critic = table(FIRST, SECOND)
    prediction = critic.every_action(torch.eye(2), torch.eye(3)).flatten(1, 2)
    smaller = tensor([1.0, -3.0, 0.0, -2.5, 4.0, 6.0])
    assert_close(critic.value(prediction), smaller, rtol=0, atol=0)
    assert_close(critic.target(prediction).atoms, smaller.unsqueeze(-1), rtol=0, atol=0)


def test_pessimism_interpolates_between_the_mean_and_the_minimum():
    prediction = tensor([[1.0, 5.0], [2.0, -3.0]])
    for pessimism, believed in ((0.0, [1.5, 1.0]), (0.25, [1.375, 0.0]), (1.0, [1.0, -3.0])):
        critic = TwinHeadsCritic(OBS, 2, network=partial(MLP, hidden_dims=()), pessimism=pessimism)
        assert_close(critic.value(prediction), tensor(believed))
        assert_close(critic.target(prediction).atoms, tensor(believed).unsqueeze(-1))


@pytest.mark.parametrize("pessimism", [-0.1, 1.1, float("nan")])
def test_a_pessimism_outside_zero_to_one_is_refused(pessimism):
    with pytest.raises(MaxEntError, match=r"^pessimism must lie between 0, the mean, and 1, the minimum, but is"):
        TwinHeadsCritic(OBS, 2, pessimism=pessimism)


def test_the_underestimate_of_ten_factors_equals_the_number_in_the_docstring():
    """The errors have a deviation of 1 in the sum, each factor has three choices, and the policy is uniform."""
    torch.manual_seed(0)
    factors, states = 10, 4000
    actions = FiniteActions((3,) * factors)
    errors = actions.balanced(torch.randn(2, states, actions.dim) / factors**0.5)
    played = actions.sample(torch.zeros(states, actions.dim))

    def bias(pessimism):
        believed = TwinHeadsCritic(OBS, actions.dim, pessimism=pessimism).value(errors.flatten(1, 2))
        return float(believed.view(states, factors, 3).mean(-1).sum(-1).mean())

    assert bias(1.0) == pytest.approx(-1.49, abs=0.03)
    assert bias(factors**-0.5) == pytest.approx(-0.47, abs=0.03)
    assert float((errors * played).sum(-1).amin(0).mean()) == pytest.approx(-0.57, abs=0.03)


def test_loss_is_each_member_s_squared_error_and_zero_at_the_target():
    critic = table(FIRST, SECOND)
    prediction, target = tensor([[1.0, 5.0], [2.0, -3.0]]), ReturnDistribution.certain(tensor([1.0, -1.0]))
    assert_close(critic.loss(prediction, target), tensor([[0.0, 36.0], [1.0, 4.0]]), rtol=0, atol=0)


def test_members_share_no_weight():
    critic = TwinHeadsCritic(OBS, 4, network=partial(MLP, hidden_dims=(8,)))
    prediction = critic.every_action(torch.randn(BATCH, OBS), torch.eye(4))
    for gradient in torch.autograd.grad(prediction[0].sum(), list(critic.parameters())):
        assert (gradient[0] != 0).any()
        assert (gradient[1] == 0).all()


# ---- one pass for all actions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden_dims", [(), (8,), (16, 16)])
def test_every_action_equals_forward_on_every_pair(hidden_dims):
    critic, obs = TwinHeadsCritic(OBS, 4, network=partial(MLP, hidden_dims=hidden_dims)), torch.randn(BATCH, OBS)
    for actions in (torch.eye(4), torch.eye(4)[[2, 0, 3]], torch.eye(4)[[1]]):
        every = critic.every_action(obs, actions)
        assert_close(every, AbstractCritic.every_action(critic, obs, actions))
        assert every.shape == (2, BATCH, len(actions))


# ---- actions of several factors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(2, 3), (1, 2, 4)])
def test_q_of_a_combination_is_the_sum_over_its_factors(counts):
    critic, obs = TwinHeadsCritic(OBS, sum(counts), network=partial(MLP, hidden_dims=(16,))), torch.randn(BATCH, OBS)
    heads = critic.every_action(obs, torch.eye(sum(counts)))
    starts = [sum(counts[:factor]) for factor in range(len(counts))]
    choices = list(itertools.product(*(range(count) for count in counts)))
    for choice, action in zip(choices, combinations(*counts)):
        expected = sum(heads[..., start + index] for start, index in zip(starts, choice))
        assert_close(critic(obs, action.expand(BATCH, -1)), expected)
    assert_close(critic.every_action(obs, combinations(*counts))[..., -1], expected)
