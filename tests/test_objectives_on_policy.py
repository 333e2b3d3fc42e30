"""Advantages and policy gradients against their definitions, TorchRL and finite differences."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close
from torchrl.objectives.value.functional import generalized_advantage_estimate

from lightning_maxent.objectives import clipped_surrogate_loss, generalized_advantages, policy_gradient_loss

TIME, ENVS, DISCOUNT, TRACE = 12, 5, 0.9, 0.7


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flags(seed, share):
    return torch.rand(TIME, ENVS, generator=torch.Generator().manual_seed(seed)) < share


def test_advantages_are_the_discounted_sum_of_errors_up_to_the_end_of_the_episode():
    error, done = normal(0, TIME), flags(1, 0.2)[:, 0]
    advantages = generalized_advantages(error, done, 0.6)
    for start in range(TIME):
        total, weight = 0.0, 1.0
        for t in range(start, TIME):
            total += weight * float(error[t])
            weight *= 0.6
            if done[t]:
                break
        assert float(advantages[start]) == pytest.approx(total)


@pytest.mark.parametrize("trace", [0.0, TRACE, 1.0])
def test_advantages_are_those_of_torchrl(trace):
    reward, value, following = (normal(seed, TIME, ENVS) for seed in range(3))
    terminated, cut = flags(3, 0.1), flags(4, 0.1)
    done = terminated | cut
    error = reward + DISCOUNT * following.masked_fill(terminated, 0.0) - value
    columns = (each.unsqueeze(-1) for each in (value, following, reward, done, terminated))
    expected, _ = generalized_advantage_estimate(DISCOUNT, trace, *columns, time_dim=0)
    assert_close(
        generalized_advantages(error, done, DISCOUNT * trace), expected.squeeze(-1), rtol=1e-5, atol=1e-6
    )  # it discounts in float32


def test_the_policy_gradient_loss_has_no_gradient_in_advantages_or_alpha():
    log_prob, advantage, entropy = (normal(seed, 4).requires_grad_() for seed in range(3))
    alpha = tensor(0.3, dtype=torch.float64, requires_grad=True)
    for loss in (
        policy_gradient_loss(log_prob, advantage, entropy, alpha),
        clipped_surrogate_loss(log_prob, advantage, entropy, alpha, 0.2),
    ):
        slopes = torch.autograd.grad(loss.sum(), (log_prob, entropy, advantage, alpha), allow_unused=True)
        assert slopes[0] is not None
        assert_close(slopes[1], torch.full_like(entropy, -0.3))
        assert slopes[2:] == (None, None)


def test_where_the_policy_has_not_moved_the_surrogate_has_the_slope_of_the_policy_gradient():
    advantage, entropy, alpha = normal(0, 6), normal(1, 6), tensor(0.3)
    log_prob = normal(2, 6).requires_grad_()
    surrogate = clipped_surrogate_loss(log_prob - log_prob.detach(), advantage, entropy, alpha, 0.2)
    plain = policy_gradient_loss(log_prob, advantage, entropy, alpha)
    slopes = [torch.autograd.grad(loss.sum(), log_prob)[0] for loss in (surrogate, plain)]
    assert_close(*slopes)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "moves"),
    [
        (1.1, 2.0, -2.2, True),
        (1.5, 2.0, -2.4, False),  # too far already in the direction that pays
        (1.5, -2.0, 3.0, True),  # too far in the one that does not: may come back
        (0.5, 2.0, -1.0, True),
        (0.5, -2.0, 1.6, False),
    ],
)
def test_the_clipped_surrogate_has_no_gradient_only_where_the_gain_is_clipped(ratio, advantage, loss, moves):
    log_ratio = tensor([ratio]).log().requires_grad_()
    surrogate = clipped_surrogate_loss(log_ratio, tensor([advantage]), tensor([0.0]), tensor(0.0), 0.2)
    assert_close(surrogate, tensor([loss]))
    (slope,) = torch.autograd.grad(surrogate.sum(), log_ratio)
    assert bool(slope != 0) == moves
