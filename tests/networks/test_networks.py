"""Theorems over every network: a new one is one more entry of NETWORKS and of MEMBERS_OF."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from lightning_maxent.networks import MLP, BatchRenormMLP, BroNet, DropoutMLP, EnsembleLinear, FlashNet, SimBa, TanhMLP
from lightning_maxent.networks.residual import Residual
from lightning_maxent.value import StateValue

MEMBERS, BATCH, IN, OUT = 3, 16, 5, 4

NETWORKS = {
    "mlp": partial(MLP, hidden_dims=(16, 12)),
    "tanh": partial(TanhMLP, hidden_dims=(16, 12)),
    "dropout": partial(DropoutMLP, hidden_dims=(16, 12), dropout=0.3),
    "batch_renorm": partial(BatchRenormMLP, hidden_dims=(16, 12)),
    "simba": partial(SimBa, width=8, blocks=2, expansion=3),
    "bro": partial(BroNet, width=8, blocks=2),
    "flash": partial(FlashNet, width=8, blocks=2, expansion=3),
}


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


def shake(network):
    """Move every parameter and running statistic away from where it started, so that none is without effect."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.2 * torch.rand_like(tensor)
    return network


class Member:
    """One member of a network, written down with the operations of torch and numbers taken in their order."""

    def __init__(self, network, member):
        self.training = network.training
        self.parameters = iter([parameter[member] for parameter in network.parameters()])
        self.buffers = iter([buffer[member] for buffer in network.buffers() if buffer.ndim])

    def linear(self, x):
        weight, bias = next(self.parameters), next(self.parameters)
        return x @ weight + bias

    def turn(self, x):
        return x @ next(self.parameters)

    def layer_norm(self, x):
        scale, shift = next(self.parameters), next(self.parameters)
        return functional.layer_norm(x, x.shape[-1:], scale[0], shift[0])

    def rms_norm(self, x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * next(self.parameters)

    def batch_norm(self, x, epsilon):
        scale, shift, mean, variance = (next(own)[0] for own in [self.parameters] * 2 + [self.buffers] * 2)
        statistics = (None, None) if self.training else (mean, variance)
        return functional.batch_norm(x, *statistics, scale, shift, training=self.training, eps=epsilon)

    def mlp(self, x):
        return self.linear(self.linear(self.linear(x).relu()).relu())

    def tanh(self, x):
        return self.linear(self.linear(self.linear(x).tanh()).tanh())

    def dropout(self, x):
        for _ in range(2):
            x = self.layer_norm(functional.dropout(self.linear(x)[None], 0.3, self.training)[0]).relu()
        return self.linear(x)

    def batch_renorm(self, x):
        x = self.batch_norm(x, 1e-3)
        for _ in range(2):
            x = self.batch_norm(self.linear(x).relu(), 1e-3)
        return self.linear(x)

    def simba(self, x):
        x = self.linear(x)
        for _ in range(2):
            x = x + self.linear(self.linear(self.layer_norm(x)).relu())
        return self.linear(self.layer_norm(x))

    def bro(self, x):
        x = self.layer_norm(self.linear(x)).relu()
        for _ in range(2):
            x = x + self.layer_norm(self.linear(self.layer_norm(self.linear(x)).relu()))
        return self.linear(x)

    def flash(self, x):
        x = self.turn(self.batch_norm(x, 1e-5))
        for _ in range(2):
            inner = self.batch_norm(self.turn(x), 1e-5).relu()
            x = x + self.batch_norm(self.turn(inner), 1e-5).relu()
        return self.linear(self.rms_norm(x))


@pytest.mark.parametrize("training", [False, True])
def test_every_member_computes_the_equation_of_its_publication(name, training):
    members = 1 if name == "dropout" and training else MEMBERS  # of several, the masks are drawn at once
    network, x = shake(NETWORKS[name](members, IN, OUT)).train(training), torch.randn(members, BATCH, IN)
    expected = []
    for member in range(members):
        torch.manual_seed(7)
        written = Member(network, member)
        expected.append(getattr(written, name)(x[member]))
        assert next(written.parameters, None) is None
        assert next(written.buffers, None) is None
    torch.manual_seed(7)
    assert_close(network(x), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_output_is_float32_of_every_member_and_sample(name):
    y = NETWORKS[name](MEMBERS, IN, OUT)(torch.randn(MEMBERS, BATCH, IN))
    assert y.shape == (MEMBERS, BATCH, OUT)
    assert y.dtype == torch.float32


def test_members_start_different_and_share_no_weight_and_every_weight_has_a_gradient(name):
    network = NETWORKS[name](MEMBERS, IN, OUT)
    x = torch.randn(BATCH, IN).expand(MEMBERS, BATCH, IN).clone().requires_grad_()
    y = network(x)
    weight = torch.randn(BATCH, OUT)
    to_input, *slopes = torch.autograd.grad((y[1] * weight).sum(), (x, *network.parameters()))
    for gradient in (to_input, *slopes):
        assert (gradient[1] != 0).any()
        assert (gradient[[0, 2]] == 0).all()
    y = network.eval()(x)
    for first in range(MEMBERS):
        for second in range(first):
            assert (y[first] - y[second]).std(0).min() > 1e-3  # other functions, not other constants


def test_after_training_a_sample_does_not_depend_on_the_others_of_its_batch(name):
    network, x = shake(NETWORKS[name](MEMBERS, IN, OUT)), torch.randn(MEMBERS, BATCH, IN)
    network(x)
    network.eval()
    assert_close(network(x)[:, 3:5], network(x[:, 3:5]), rtol=1e-4, atol=1e-5)


def test_dropout_has_its_rate_and_is_independent_for_every_member():
    network = DropoutMLP(2, IN, 1000, hidden_dims=(1000,), dropout=0.3)
    masks = network[1](torch.ones(2, 50, 1000))
    assert float((masks == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float((masks[0] == masks[1]).float().mean()) == pytest.approx(0.3**2 + 0.7**2, abs=0.01)


# ---- how weights are drawn -----------------------------------------------------------------------------------------------


def linear_layers(network):
    return [module for module in network.modules() if isinstance(module, EnsembleLinear)]


def assert_orthogonal(layer, gain):
    assert (layer.bias == 0).all()
    for weight in layer.weight.detach():
        narrow = weight if weight.shape[0] >= weight.shape[1] else weight.T
        assert_close(narrow.T @ narrow, gain**2 * torch.eye(narrow.shape[1]), rtol=0, atol=1e-5)


def test_simba_initializes_its_residual_path_orthogonally_and_its_blocks_he_normally():
    network = SimBa(MEMBERS, IN, OUT, width=64, blocks=2)
    embedding, *inner, head = linear_layers(network)
    assert_orthogonal(embedding, 1.0)
    assert_orthogonal(head, 1.0)
    assert [layer.weight.shape[1:] for layer in inner] == [(64, 256), (256, 64)] * 2
    for layer in inner:
        assert float(layer.weight.detach().var()) == pytest.approx(2 / layer.weight.shape[1], rel=0.05)
        assert (layer.bias == 0).all()


def test_every_layer_of_bronet_starts_orthogonal_with_gain_root_two():
    layers = linear_layers(BroNet(MEMBERS, IN, OUT, width=16, blocks=2))
    assert len(layers) == 6
    for layer in layers:
        assert_orthogonal(layer, 2**0.5)


def test_a_residual_block_adds_its_layers_to_its_input():
    block, x = Residual(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 4)), torch.randn(2, 3, 4)
    assert_close(block(x), x + block[2](block[0](x).tanh()))


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
def test_every_member_is_initialized_independently_and_uniformly_within_one_over_root_inputs(in_dim):
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


def test_large_outputs_are_not_rounded_under_bfloat16_autocast(name):
    """Between 512 and 1,024 neighbors in bfloat16 are 4 apart; around 1,003 they are 1,000 and 1,004."""
    network = NETWORKS[name](MEMBERS, IN, OUT).eval()
    with torch.no_grad():
        network[-1].bias += 1003
    x = torch.randn(MEMBERS, BATCH, IN)
    full = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(x)
    assert mixed.dtype == torch.float32
    assert_close(mixed, full, rtol=0, atol=0.1)


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
