from functools import partial

import pytest
import torch
from helpers import modes, snapshot
from torch import nn
from torch.testing import assert_close

from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, BatchRenormMLP
from lightning_maxent.targets import (
    JointPass,
    JointPolyakTarget,
    PeriodicTarget,
    PolyakTarget,
    frozen,
    frozen_statistics,
)

TARGETS = [PolyakTarget, PeriodicTarget]


def normed_network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def shake(network, seed):
    """Give every weight and buffer of the network new numbers."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.tensor(10 * seed + 1))


def floating(state):
    return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}


@pytest.mark.parametrize("target_class", TARGETS)
def test_target_starts_as_an_equal_copy_that_shares_no_memory_and_takes_no_gradient(target_class):
    network = normed_network()
    target = target_class(network)
    before = snapshot(network)
    assert_close(target.network.state_dict(), before, rtol=0, atol=0)
    shake(network, 1)
    assert_close(target.network.state_dict(), before, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in target.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not target(torch.randn(5, 3)).requires_grad


@pytest.mark.parametrize("rate", [0.005, 0.3, 0.9])
def test_polyak_target_after_n_updates_is_the_geometric_mixture_of_all_networks(rate):
    network = normed_network().double()
    target = PolyakTarget(network, rate=rate)
    expected = snapshot(network)
    steps = 7
    expected = {name: (1 - rate) ** steps * tensor for name, tensor in floating(expected).items()}
    for step in range(1, steps + 1):
        shake(network, step)
        target.follow(network)
        for name in expected:
            expected[name] += rate * (1 - rate) ** (steps - step) * network.state_dict()[name]
    assert_close(floating(target.network.state_dict()), expected)
    assert "1.running_var" in expected


def test_polyak_target_holds_the_network_s_own_integer_buffers():
    network = normed_network()
    target = PolyakTarget(network, rate=0.1)
    network(torch.randn(8, 3))
    network(torch.randn(8, 3))
    target.follow(network)
    assert int(target.network[1].num_batches_tracked) == 2


@pytest.mark.parametrize("every", [1, 3])
def test_periodic_target_is_the_network_at_the_last_multiple_of_the_period(every):
    network = normed_network()
    target = PeriodicTarget(network, every=every)
    expected = snapshot(network)
    for update in range(1, 3 * every + 2):
        shake(network, update)
        target.follow(network)
        if update % every == 0:
            assert_close(target.network.state_dict(), network.state_dict(), rtol=0, atol=0)
            expected = snapshot(network)
        assert_close(target.network.state_dict(), expected, rtol=0, atol=0)


def test_periodic_target_is_unaffected_by_divergence_between_two_copies():
    network = torch.nn.Linear(2, 2)
    target = PeriodicTarget(network, every=10)
    expected = snapshot(target.network)
    network.weight.data.fill_(torch.inf)
    target.follow(network)
    assert_close(target.network.state_dict(), expected, rtol=0, atol=0)


def test_periodic_target_restored_in_mid_period_copies_at_the_same_update():
    network = normed_network()
    target = PeriodicTarget(network, every=3)
    target.follow(network)
    target.follow(network)
    restored = PeriodicTarget(network, every=3)
    restored.load_state_dict(target.state_dict())
    shake(network, 1)
    restored.follow(network)
    assert_close(restored.network.state_dict(), network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_polyak_rate_outside_zero_to_one_is_refused(rate):
    for target_class in (PolyakTarget, JointPolyakTarget):
        with pytest.raises(MaxEntError, match="rate"):
            target_class(nn.Linear(1, 1), rate=rate)


def test_period_below_one_update_is_refused():
    with pytest.raises(MaxEntError, match="every"):
        PeriodicTarget(nn.Linear(1, 1), every=0)


# ---- frozen ------------------------------------------------------------------------------------------------------------


def test_gradient_passes_through_a_frozen_network_to_its_input_and_not_to_its_weights():
    network = nn.Linear(3, 1)
    x = torch.randn(1, 3, requires_grad=True)
    with frozen(network):
        y = network(x)
    y.sum().backward()
    assert_close(x.grad, network.weight.detach())
    assert network.weight.grad is None
    assert network.bias.grad is None


def flags(module):
    return [parameter.requires_grad for parameter in module.parameters()]


def test_frozen_restores_exactly_the_flags_that_it_found():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight.requires_grad_(False)
    with frozen(network):
        assert flags(network) == [False] * 4
        with frozen(network):
            assert flags(network) == [False] * 4
        assert flags(network) == [False] * 4
    assert flags(network) == [True, True, False, True]


def test_frozen_restores_the_flags_after_an_exception():
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    with pytest.raises(KeyError), frozen(network):
        raise KeyError
    assert flags(network) == [True, False]


def test_a_frozen_network_normalizes_by_constant_running_statistics():
    network, x = normed_network(), torch.randn(8, 3)
    before = snapshot(network)
    with frozen(network):
        y = network(x)
    assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert network[1].training
    assert_close(y, network.eval()(x))


# ---- steady ------------------------------------------------------------------------------------------------------------


def normed_and_dropping():
    return nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))


def test_a_network_under_frozen_statistics_uses_its_running_statistics_unchanged():
    network = normed_and_dropping()
    network[1].p = 0.0
    shake(network, 1)
    for norm in (network[0], network[2][1]):
        norm.running_var.abs_()
    before, x = snapshot(network), torch.randn(8, 3)
    with frozen_statistics(network):
        y = network(x)
    assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert y.requires_grad
    assert_close(y, network.eval()(x), rtol=0, atol=0)


def test_dropout_stays_active_under_frozen_statistics():
    network = normed_and_dropping()
    with frozen_statistics(network):
        dropped = network[:2](torch.ones(100, 3)) == 0
    assert 0.3 < dropped.float().mean() < 0.7


def test_frozen_statistics_restores_modes_when_nested_and_after_an_exception():
    network = normed_and_dropping()
    network[0].eval()
    found = modes(network)
    with frozen_statistics(network):
        inside = modes(network)
        with frozen_statistics(network):
            assert modes(network) == inside
        assert modes(network) == inside
    assert modes(network) == found
    with pytest.raises(KeyError), frozen_statistics(network):
        raise KeyError
    assert modes(network) == found
    network.eval()
    with frozen_statistics(network):
        assert not any(modes(network))
    assert not any(modes(network))


# ---- predictions of the current and of the next pairs --------------------------------------------------------------------

MEMBERS, BATCH = 2, 16
PLAIN = partial(MLP, hidden_dims=(8,))
NORMED = partial(BatchRenormMLP, hidden_dims=(8,))
ALL_TARGETS = [*TARGETS, JointPass, JointPolyakTarget]
JOINT_TARGETS = [JointPass, JointPolyakTarget]
COPIES = [*TARGETS, JointPolyakTarget]


def ask(network, first, second):
    pair = torch.cat((first, second), -1)
    return network(pair.expand(MEMBERS, *pair.shape))


def pairs(seed):
    """Inputs of now and of what follows, which are distributed differently."""
    generator = torch.Generator().manual_seed(seed)
    now, following = torch.randn(2, 2, BATCH, 3, generator=generator)
    return tuple(now), tuple(2 * following + 1)


def batch_passes(network):
    return [int(passes) for name, passes in network.state_dict().items() if name.endswith("passes")]


@pytest.mark.parametrize("target_class", ALL_TARGETS)
def test_without_batch_statistics_all_targets_predict_alike(target_class):
    network, (now, following) = PLAIN(MEMBERS, 6, 4), pairs(1)
    target = target_class(network)
    prediction, believed = target.predictions(network, ask, now, following)
    assert_close(prediction, ask(network, *now))
    assert_close(believed, ask(network, *following))
    x = torch.randn(MEMBERS, BATCH, 6)
    assert_close(target(x), network(x))


@pytest.mark.parametrize("target_class", ALL_TARGETS)
@pytest.mark.parametrize("build", [PLAIN, NORMED])
def test_the_gradient_of_the_prediction_reaches_every_weight_that_learns_and_nothing_else(target_class, build):
    network, (now, following) = build(MEMBERS, 6, 4), pairs(1)
    target = target_class(network)
    prediction, believed = target.predictions(network, ask, now, following)
    assert not believed.requires_grad
    (prediction * torch.randn_like(prediction)).sum().backward()
    for parameter in network.parameters():
        assert (parameter.grad != 0).any()
    learning = {id(parameter) for parameter in network.parameters()}
    assert all(parameter.grad is None for parameter in target.parameters() if id(parameter) not in learning)


@pytest.mark.parametrize("target_class", COPIES)
def test_next_predictions_come_from_the_target_copy_and_predictions_from_the_network(target_class):
    network, (now, following) = PLAIN(MEMBERS, 6, 4), pairs(1)
    target = target_class(network)
    old = snapshot(network)
    shake(network, 1)
    prediction, believed = target.predictions(network, ask, now, following)
    assert_close(prediction, ask(network, *now))
    network.load_state_dict(old)
    assert_close(believed, ask(network, *following))


@pytest.mark.parametrize("target_class", TARGETS)
def test_a_target_copy_normalizes_by_constant_running_statistics(target_class):
    network, (now, following) = NORMED(MEMBERS, 6, 4), pairs(1)
    ask(network, *pairs(2)[0])
    target = target_class(network)
    before = snapshot(target)
    prediction, believed = target.predictions(network, ask, now, following)
    x = torch.randn(MEMBERS, BATCH, 6)
    alone = target(x)
    assert_close(target.state_dict(), before, rtol=0, atol=0)
    assert batch_passes(network) == [2, 2]  # it learns from the statistics of now
    assert target.network.training
    copy = target.network.eval()
    assert_close(believed, ask(copy, *following), rtol=0, atol=0)
    assert_close(alone, copy(x), rtol=0, atol=0)
    network.load_state_dict(before, strict=False)
    assert_close(prediction, ask(network, *now))


def joined(now, following):
    return tuple(torch.cat(pair) for pair in zip(now, following, strict=True))


@pytest.mark.parametrize("target_class", JOINT_TARGETS)
def test_a_joint_pass_takes_batch_statistics_from_both_pairs(target_class):
    network, (now, following) = NORMED(MEMBERS, 6, 4), pairs(1)
    target, twin = target_class(network), NORMED(MEMBERS, 6, 4)
    twin.load_state_dict(network.state_dict())
    prediction, believed = target.predictions(network, ask, now, following)
    both = ask(twin, *joined(now, following))
    assert_close(prediction, both[:, :BATCH], rtol=0, atol=0)
    assert_close(believed, both[:, BATCH:], rtol=0, atol=0)
    assert_close(network.state_dict(), twin.state_dict(), rtol=0, atol=0)
    assert batch_passes(network) == [1, 1]
    for half, inputs in ((prediction, now), (believed, following)):
        assert (ask(twin, *inputs) - half).abs().mean() > 0.1  # by its own statistics it would be another


def test_a_joint_pass_uses_the_current_network_and_has_no_state():
    network = NORMED(MEMBERS, 6, 4)
    target, x = JointPass(network), torch.randn(MEMBERS, BATCH, 6)
    assert not target.state_dict()
    assert not list(target.parameters())
    assert list(target.modules()) == [target]
    shake(network, 1)
    for buffer in network.buffers():
        buffer.abs_()
    before = snapshot(network)
    y = target(x)
    target.follow(network)
    assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert_close(y, network.eval()(x), rtol=0, atol=0)


def test_a_joint_copy_evaluates_both_pairs_and_keeps_its_own_statistics():
    network, (now, following) = NORMED(MEMBERS, 6, 4), pairs(1)
    target, twin = JointPolyakTarget(network), NORMED(MEMBERS, 6, 4)
    twin.load_state_dict(network.state_dict())
    for _ in range(2):
        shake(network, 1)  # the network is another one by now
        _, believed = target.predictions(network, ask, now, following)
        assert_close(believed, ask(twin, *joined(now, following))[:, BATCH:], rtol=0, atol=0)
    assert_close(target.network.state_dict(), twin.state_dict(), rtol=0, atol=0)
    assert batch_passes(target.network) == [2, 2]


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
def test_a_joint_copy_and_its_statistics_follow_by_the_polyak_formula(rate):
    network = NORMED(MEMBERS, 6, 4)
    target = JointPolyakTarget(network, rate=rate)
    expected = snapshot(network)
    for step in range(1, 4):
        shake(network, step)
        target.follow(network)
        for name, tensor in network.state_dict().items():
            moved = (1 - rate) * expected[name] + rate * tensor
            expected[name] = moved if tensor.is_floating_point() else tensor.clone()
    assert_close(target.network.state_dict(), expected)
    assert not any(parameter.requires_grad for parameter in target.parameters())
