import math

import pytest
import torch
from torch import nn, tensor
from torch.nn import functional
from torch.testing import assert_close

from lightning_maxent.networks.layers import (
    BatchRenorm,
    EnsembleLayerNorm,
    EnsembleLinear,
    UnitBatchNorm,
    UnitLinear,
    UnitRMSNorm,
    he_normal,
    orthogonal,
)

MEMBERS, BATCH, DIM = 3, 16, 5


def shake(module, by=0.5):
    """Move every parameter away from where it started."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += by * torch.randn_like(parameter)
    return module


def shifted(*shape):
    """Inputs whose mean and deviation are neither 0 nor 1."""
    return 3 * torch.randn(*shape) + torch.randn(shape[-1])


def separate(kind, layer, member, **kwargs):
    """The layer of torch for one member, with the same scale and shift."""
    norm = kind(DIM, **kwargs)
    with torch.no_grad():
        norm.weight.copy_(layer.scale[member, 0])
        if getattr(norm, "bias", None) is not None:
            norm.bias.copy_(layer.shift[member, 0])
    return norm


# ---- how weights are drawn -----------------------------------------------------------------------------------------------


def test_every_member_of_a_layer_starts_with_different_weights_and_bias():
    for parameter in EnsembleLinear(2, 3, 4).parameters():
        assert not torch.isclose(*parameter).any()


@pytest.mark.parametrize("gain", [1.0, 2**0.5])
@pytest.mark.parametrize("shape", [(8, 8), (8, 3), (3, 8)])
def test_orthogonal_weights_are_a_rotation_times_the_gain_for_each_member_without_bias(shape, gain):
    layer = orthogonal(EnsembleLinear(MEMBERS, *shape), gain)
    for weight in layer.weight.detach():
        narrow = weight if shape[0] >= shape[1] else weight.T
        assert_close(narrow.T @ narrow, gain**2 * torch.eye(min(shape)), rtol=0, atol=1e-5)
    assert (layer.weight[0] - layer.weight[1]).abs().max() > 0.1
    assert_close(layer.bias.detach(), torch.zeros(MEMBERS, 1, shape[1]), rtol=0, atol=0)


def test_he_normal_weights_have_variance_two_over_inputs_for_each_member_without_bias():
    layer = he_normal(EnsembleLinear(MEMBERS, 50, 2000))
    for weight in layer.weight.detach():
        assert float(weight.mean()) == pytest.approx(0, abs=1e-2)
        assert float(weight.var()) == pytest.approx(2 / 50, rel=0.05)
        assert float((weight.abs() < 0.2).float().mean()) == pytest.approx(math.erf(1 / 2**0.5), abs=0.01)  # normal
    assert_close(torch.corrcoef(layer.weight.flatten(1)), torch.eye(MEMBERS), rtol=0, atol=0.05)
    assert (layer.bias == 0).all()


# ---- normalization without running statistics ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "kind", "kwargs"),
    [(EnsembleLayerNorm, nn.LayerNorm, {}), (UnitRMSNorm, nn.RMSNorm, {"eps": 1e-6})],
)
def test_every_member_normalises_like_the_layer_of_torch(layer, kind, kwargs):
    ours, x = shake(layer(MEMBERS, DIM)), shifted(MEMBERS, BATCH, DIM)
    for member in range(MEMBERS):
        assert_close(ours(x)[member], separate(kind, ours, member, **kwargs)(x[member]))


# ---- batch normalization ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "epsilon", "unbiased"), [(BatchRenorm, 1e-3, False), (UnitBatchNorm, 1e-5, True)])
def test_every_member_is_batch_normalization_of_torch_in_output_gradients_and_running_statistics(
    layer, epsilon, unbiased
):
    ours = shake(layer(MEMBERS, DIM))
    theirs = [separate(nn.BatchNorm1d, ours, member, momentum=0.01, eps=epsilon) for member in range(MEMBERS)]
    variance = torch.ones(MEMBERS, 1, DIM)
    for _ in range(3):
        x, weight = shifted(MEMBERS, BATCH, DIM).requires_grad_(), torch.randn(MEMBERS, BATCH, DIM)
        y = ours(x)
        gradient, *own = torch.autograd.grad((y * weight).sum(), (x, ours.scale, ours.shift))
        variance += 0.01 * (x.detach().var(1, correction=int(unbiased), keepdim=True) - variance)
        for member, norm in enumerate(theirs):
            alone = x[member].detach().requires_grad_()
            expected = norm(alone)
            slopes = torch.autograd.grad((expected * weight[member]).sum(), (alone, norm.weight, norm.bias))
            assert_close(y[member], expected, rtol=1e-4, atol=1e-5)
            assert_close([gradient[member], *(slope[member, 0] for slope in own)], list(slopes), rtol=1e-4, atol=1e-5)
            assert_close(ours.mean[member, 0], norm.running_mean)
            assert_close(ours.variance[member, 0], variance[member, 0])
            if unbiased:
                assert_close(ours.variance[member, 0], norm.running_var)
    ours.eval()
    before = {name: state.clone() for name, state in ours.state_dict().items()}
    x = shifted(MEMBERS, 2, DIM)
    for member, norm in enumerate(theirs):
        norm.eval()
        norm.running_var.copy_(ours.variance[member, 0])
        assert_close(ours(x)[member], norm(x[member]))
    assert_close(ours.state_dict(), before, rtol=0, atol=0)


def renorm_past_its_warm_up(**kwargs):
    """Running statistics such that of the features of ``clipping_batch`` some r and d are clipped and some are not."""
    layer = shake(BatchRenorm(2, 4, epsilon=0.0, warmup=0, **kwargs))
    layer.mean.copy_(tensor([[[0.0, 0.0, 0.0, 10.0]], [[1.0, 0.0, 0.0, 0.0]]]))
    layer.variance.copy_(tensor([[[1.0, 1.0, 100.0, 1.0]], [[4.0, 1.0, 1.0, 1.0]]]))
    return layer


CLIPPING_BATCH = tensor(
    [[[-1.0, -4.0, -1.0, -1.0], [1.0, 4.0, 1.0, 3.0]], [[0.0, -1.0, 19.0, -20.0], [4.0, 1.0, 21.0, -19.0]]]
)
BATCH_MEAN = tensor([[[0.0, 0.0, 0.0, 1.0]], [[2.0, 0.0, 20.0, -19.5]]])
BATCH_STD = tensor([[[1.0, 4.0, 1.0, 2.0]], [[2.0, 1.0, 1.0, 0.5]]])
R = tensor([[[1.0, 3.0, 1 / 3, 2.0]], [[1.0, 1.0, 1.0, 0.5]]])  # unclipped 1, 4, .1, 2 and 1, 1, 1, .5
D = tensor([[[0.0, 0.0, 0.0, -5.0]], [[0.5, 0.0, 5.0, -5.0]]])  # unclipped 0, 0, 0, -9 and .5, 0, 20, -19.5


def test_batch_renormalization_past_its_warm_up_equals_numbers_worked_out_by_hand():
    layer = renorm_past_its_warm_up()
    mean, variance = layer.mean.clone(), layer.variance.clone()
    expected = (CLIPPING_BATCH - BATCH_MEAN) / BATCH_STD * R + D
    assert_close(layer(CLIPPING_BATCH), expected * layer.scale + layer.shift)
    assert_close(layer.mean, 0.99 * mean + 0.01 * BATCH_MEAN)
    assert_close(layer.variance, 0.99 * variance + 0.01 * BATCH_STD**2)


def test_batch_renormalization_uses_the_limits_that_it_is_given():
    layer = renorm_past_its_warm_up(r_max=1.5, d_max=0.25)
    expected = (CLIPPING_BATCH - BATCH_MEAN) / BATCH_STD * R.clamp(1 / 1.5, 1.5) + D.clamp(-0.25, 0.25)
    assert_close(layer(CLIPPING_BATCH), expected * layer.scale + layer.shift)


def test_corrections_of_batch_renormalization_have_no_gradient():
    layer, weight = renorm_past_its_warm_up(), torch.randn(2, 2, 4)
    x, alone = (CLIPPING_BATCH.clone().requires_grad_() for _ in range(2))
    (layer(x) * weight).sum().backward()
    mean = alone.mean(1, keepdim=True)
    std = (alone - mean).square().mean(1, keepdim=True).sqrt()
    (((alone - mean) / std * R + D) * layer.scale.detach() * weight).sum().backward()
    assert_close(x.grad, alone.grad, rtol=1e-4, atol=1e-5)


def test_batch_renormalization_within_its_limits_equals_its_evaluation_output():
    layer = shake(BatchRenorm(MEMBERS, DIM, warmup=0))
    layer.mean.copy_(0.3 * torch.randn(MEMBERS, 1, DIM))
    x = torch.randn(MEMBERS, 64, DIM)
    expected = layer.eval()(x)
    assert_close(layer.train()(x), expected, rtol=1e-4, atol=1e-5)


def test_warm_up_counts_training_passes_and_resumes_from_a_checkpoint():
    def built():
        layer = BatchRenorm(MEMBERS, DIM, warmup=3)
        layer.variance.fill_(4.0)
        return layer

    def plain(layer):
        x = shifted(MEMBERS, BATCH, DIM)
        normalized = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-3).sqrt()
        return torch.allclose(layer(x), normalized, atol=1e-4)

    layer = built()
    assert plain(layer)
    layer.eval()(shifted(MEMBERS, BATCH, DIM))
    assert plain(layer.train())
    assert int(layer.passes) == 2
    restored = built()
    restored.load_state_dict(layer.state_dict())
    for each in (layer, restored):
        assert plain(each)
        assert not plain(each)


@pytest.mark.parametrize("layer", [BatchRenorm, UnitBatchNorm])
def test_batch_statistics_are_float32_under_bfloat16_autocast(layer):
    x = (100 + shifted(MEMBERS, BATCH, DIM)).bfloat16()
    mixed, full = layer(MEMBERS, DIM), layer(MEMBERS, DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mixed(x)
    assert y.dtype == torch.float32
    assert_close(y, full(x.float()), rtol=0, atol=0)
    assert_close(mixed.state_dict(), full.state_dict(), rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(mixed.eval()(x), full.eval()(x.float()), rtol=0, atol=0)


@pytest.mark.parametrize("layer", [BatchRenorm, UnitBatchNorm])
def test_batch_normalization_of_a_single_row_returns_the_shift(layer):
    ours = shake(layer(MEMBERS, DIM))
    assert_close(ours(torch.randn(MEMBERS, 1, DIM)), ours.shift)
    assert all(state.isfinite().all() for state in ours.state_dict().values())


# ---- constraints -----------------------------------------------------------------------------------------------------------


def test_a_unit_linear_layer_is_linear_and_its_free_bias_starts_at_zero():
    layer, x = UnitLinear(MEMBERS, DIM, 4, bias=True), torch.randn(MEMBERS, BATCH, DIM)
    assert (layer.bias == 0).all()
    shake(layer)
    for member in range(MEMBERS):
        expected = functional.linear(x[member], layer.weight[member].T, layer.bias[member, 0])
        assert_close(layer(x)[member], expected)
    without = UnitLinear(MEMBERS, DIM, 4)
    assert_close(without(x), x @ without.weight)
    assert len(list(without.parameters())) == 1


def bounded(layer):
    """What a constraint bounds, ``[..., vector]``, and the norm that it gives each vector."""
    if isinstance(layer, UnitLinear):
        return layer.weight.detach().transpose(1, 2), 1.0
    if isinstance(layer, UnitBatchNorm):
        return torch.cat((layer.scale, layer.shift), -1).detach(), DIM**0.5
    return layer.scale.detach(), DIM**0.5


CONSTRAINTS = {
    "linear": lambda: UnitLinear(MEMBERS, DIM, 4, bias=True),
    "wide_linear": lambda: UnitLinear(MEMBERS, DIM, 40),
    "batch_norm": lambda: UnitBatchNorm(MEMBERS, DIM),
    "rms_norm": lambda: UnitRMSNorm(MEMBERS, DIM),
}


@pytest.mark.parametrize("build", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_weight_projection_sets_the_norm_keeps_the_direction_and_is_idempotent(build):
    layer = build()
    vectors, norm = bounded(layer)
    assert_close(vectors.norm(dim=-1), torch.full(vectors.shape[:-1], norm))  # from the start
    shake(layer)
    loose = bounded(layer)[0].clone()
    bias = layer.bias.clone() if getattr(layer, "bias", None) is not None else None
    layer.project()
    vectors = bounded(layer)[0].clone()
    assert_close(vectors.norm(dim=-1), torch.full(vectors.shape[:-1], norm))
    assert_close(vectors / norm, functional.normalize(loose, dim=-1))
    assert (loose - vectors).abs().max() > 0.1
    layer.project()
    assert_close(bounded(layer)[0], vectors, rtol=1e-6, atol=1e-7)
    if bias is not None:
        assert_close(layer.bias, bias, rtol=0, atol=0)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in layer.parameters())


@pytest.mark.parametrize("build", CONSTRAINTS.values(), ids=CONSTRAINTS)
def test_projection_is_the_nearest_point_of_its_set(build):
    layer = shake(build())
    loose = bounded(layer)[0].clone()
    layer.project()
    nearest, norm = bounded(layer)
    distance = (loose - nearest).norm(dim=-1)
    for seed in range(20):
        torch.manual_seed(seed)
        other = norm * functional.normalize(nearest + 0.2 * torch.randn_like(nearest), dim=-1)
        assert ((loose - other).norm(dim=-1) >= distance - 1e-5).all()
