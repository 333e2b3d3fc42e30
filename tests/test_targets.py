import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_maxent.errors import MaxEntError
from lightning_maxent.targets import PeriodicTarget, PolyakTarget, frozen

TARGETS = [PolyakTarget, PeriodicTarget]


def normed_network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def shake(network, seed):
    """Give every weight and buffer of the network new numbers."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.tensor(10 * seed + 1))


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


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
def test_periodic_target_is_the_network_of_the_last_multiple_and_nothing_in_between(every):
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


def test_periodic_target_does_not_see_between_two_copies_that_the_network_diverged():
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
    with pytest.raises(MaxEntError, match="rate"):
        PolyakTarget(nn.Linear(1, 1), rate=rate)


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
