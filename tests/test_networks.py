import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_maxent.networks import MLP, EnsembleLinear
from lightning_maxent.value import StateValue


def test_ensemble_linear_equals_separate_linear_layers_with_the_same_weights():
    ensemble = EnsembleLinear(3, 5, 4)
    x = torch.randn(3, 7, 5)
    for member in range(3):
        linear = nn.Linear(5, 4)
        with torch.no_grad():
            linear.weight.copy_(ensemble.weight[member].T)
            linear.bias.copy_(ensemble.bias[member, 0])
        assert_close(ensemble(x)[member], linear(x[member]))


@pytest.mark.parametrize("in_dim", [4, 100])
def test_every_member_is_drawn_on_its_own_uniformly_within_one_over_root_of_the_inputs(in_dim):
    torch.manual_seed(0)
    ensemble, bound = EnsembleLinear(3, in_dim, 2000), 1 / math.sqrt(in_dim)
    for parameter in ensemble.parameters():
        assert parameter.abs().max() <= bound
        for member in parameter.detach():
            assert member.mean().abs() < 0.1 * bound
            assert float(member.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
        correlation = torch.corrcoef(parameter.flatten(1))
        assert_close(correlation, torch.eye(3), rtol=0, atol=0.1)


def test_members_of_an_mlp_are_linear_relu_linear_relu_linear_each_with_its_own_weights():
    ensemble = MLP(2, 3, 2, hidden_dims=(8, 6))
    layers = [layer for layer in ensemble if isinstance(layer, EnsembleLinear)]
    x = torch.randn(2, 9, 3)
    for member in range(2):
        (w1, b1), (w2, b2), (w3, b3) = [(layer.weight[member], layer.bias[member]) for layer in layers]
        hidden = (x[member] @ w1 + b1).clamp(min=0)
        hidden = (hidden @ w2 + b2).clamp(min=0)
        assert_close(ensemble(x)[member], hidden @ w3 + b3)


def test_an_mlp_without_hidden_layers_is_linear():
    network = MLP(1, 3, 2, hidden_dims=())
    x, y = torch.randn(2, 1, 4, 3)
    assert_close(network(x + y) - network(y), network(x) - network(torch.zeros(1, 4, 3)))


def test_state_value_is_one_float32_number_per_observation_under_every_precision():
    value = StateValue(3, network=partial(MLP, hidden_dims=(8,)))
    obs = torch.randn(5, 3)
    full = value(obs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = value(obs)
    assert full.shape == mixed.shape == (5,)
    assert full.dtype == mixed.dtype == torch.float32
    assert_close(mixed, full, rtol=0.05, atol=0.05)
    assert_close(full, value.network(obs.unsqueeze(0))[0, :, 0], rtol=0, atol=0)
