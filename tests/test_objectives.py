import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tabular import boltzmann, random_mdp, random_policy, soft_policy_evaluation, soft_value_iteration
from torch import tensor
from torch.distributions import Normal
from torch.testing import assert_close

from lightning_maxent.objectives import (
    normal_log_prob,
    policy_loss,
    soft_bellman_target,
    soft_returns,
    soft_value,
    squared_error,
    tanh_log_det,
    temperature_loss,
    value_loss,
)

FINITE = st.floats(-50, 50, allow_nan=False, width=32)


def leaf(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


# ---- numbers worked out by hand ----------------------------------------------------------------------------------------


def test_soft_value_adds_alpha_times_the_surprise():
    assert_close(soft_value(tensor([1.0, 2.0]), tensor([-1.0, 0.5]), tensor(0.2)), tensor([1.2, 1.9]))


def test_soft_value_at_alpha_zero_is_q():
    q = tensor([1.0, -2.0])
    assert_close(soft_value(q, tensor([-7.0, 3.0]), tensor(0.0)), q, rtol=0, atol=0)


def test_bellman_target_bootstraps_after_truncation_and_stops_at_termination():
    target = soft_bellman_target(tensor([1.0, 1.0]), tensor([False, True]), tensor([4.0, 4.0]), 0.5)
    assert_close(target, tensor([3.0, 1.0]), rtol=0, atol=0)


def test_bellman_target_takes_one_reward_for_all_atoms():
    target = soft_bellman_target(
        tensor([[1.0], [2.0]]), tensor([[False], [True]]), tensor([[4.0, 6.0], [8.0, 9.0]]), 0.5
    )
    assert_close(target, tensor([[3.0, 4.0], [2.0, 2.0]]), rtol=0, atol=0)


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
def test_whatever_lies_behind_termination_does_not_leak_into_the_target(garbage):
    target = soft_bellman_target(tensor([2.0, 1.0]), tensor([True, False]), tensor([garbage, 1.0]), 0.9)
    assert_close(target, tensor([2.0, 1.9]))


def test_squared_error_has_no_half_and_spreads_one_target_over_all_members():
    prediction, target = tensor([[1.0, 2.0], [4.0, 0.0]]), tensor([3.0, 1.0])
    assert_close(squared_error(prediction, target), tensor([[4.0, 1.0], [1.0, 1.0]]), rtol=0, atol=0)


def test_losses_equal_numbers_worked_out_by_hand():
    q, log_prob, alpha = tensor([2.0]), tensor([-1.0]), tensor(0.5)
    assert_close(value_loss(tensor([1.0]), q, log_prob, alpha), tensor([2.25]))  # (1 - (2 + .5))^2
    assert_close(policy_loss(q, log_prob, alpha), tensor([-2.5]))  # .5 * -1 - 2
    assert_close(temperature_loss(alpha, log_prob, tensor(-2.0)), tensor([1.5]))  # -.5 * (-1 - 2)


# ---- which way gradients flow ------------------------------------------------------------------------------------------


def test_bellman_target_takes_no_gradient():
    target = soft_bellman_target(leaf(1.0), tensor([False]), leaf(2.0), 0.9)
    assert not target.requires_grad


def test_squared_error_moves_the_prediction_only():
    prediction, target = leaf(3.0), leaf(1.0)
    squared_error(prediction, target).sum().backward()
    assert_close(prediction.grad, tensor([4.0], dtype=torch.float64))
    assert target.grad is None


def test_value_loss_moves_the_value_only():
    value, q, log_prob, alpha = leaf(1.0), leaf(2.0), leaf(-1.0), torch.tensor(0.5, requires_grad=True)
    value_loss(value, q, log_prob, alpha).sum().backward()
    assert_close(value.grad, tensor([-3.0], dtype=torch.float64))  # 2 (1 - 2.5)
    assert q.grad is None
    assert log_prob.grad is None
    assert alpha.grad is None


def test_temperature_loss_moves_alpha_only():
    log_prob = leaf(-1.0, 4.0)
    alpha, target_entropy = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.5, -2.0))
    temperature_loss(alpha, log_prob, target_entropy).sum().backward()
    assert_close(alpha.grad, tensor(1.0, dtype=torch.float64))  # -(-1 - 2) - (4 - 2)
    assert log_prob.grad is None
    assert target_entropy.grad is None


def test_policy_loss_moves_q_and_log_prob_but_not_alpha():
    q, log_prob, alpha = leaf(2.0), leaf(-1.0), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    policy_loss(q, log_prob, alpha).sum().backward()
    assert_close(q.grad, tensor([-1.0], dtype=torch.float64))
    assert_close(log_prob.grad, tensor([0.5], dtype=torch.float64))
    assert alpha.grad is None


# ---- densities ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.floats(-6, 6))
def test_tanh_log_det_equals_its_definition_where_that_can_be_computed(u):
    u = torch.tensor([u], dtype=torch.float64)
    assert_close(tanh_log_det(u), torch.log(1 - u.tanh() ** 2), rtol=1e-9, atol=1e-9)


def test_tanh_log_det_follows_its_asymptote_where_the_definition_breaks():
    u = tensor([20.0, -20.0, 300.0, -300.0])
    assert torch.isinf(torch.log(1 - u.tanh() ** 2)).all()  # the naive form has nothing left in float32
    assert_close(tanh_log_det(u), 2 * math.log(2) - 2 * u.abs(), rtol=1e-6, atol=0)


def test_derivative_of_tanh_log_det_is_minus_two_tanh():
    u = leaf(-20.0, -3.0, -0.1, 0.0, 0.1, 3.0, 20.0, dtype=torch.float32)
    tanh_log_det(u).sum().backward()
    assert_close(u.grad, -2 * u.detach().tanh(), rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(mean=FINITE, log_std=st.floats(-5, 2), noise=st.floats(-5, 5))
def test_normal_log_prob_is_the_density_of_the_sample_that_the_noise_made(mean, log_std, noise):
    mean, log_std, noise = (torch.tensor([x], dtype=torch.float64) for x in (mean, log_std, noise))
    std = log_std.exp()
    expected = Normal(mean, std).log_prob(mean + std * noise)
    assert_close(normal_log_prob(noise, log_std), expected, rtol=1e-7, atol=1e-7)


# ---- soft returns ------------------------------------------------------------------------------------------------------


def episode(seed, length):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, length, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_soft_returns_are_the_discounted_sum_of_rewards_and_later_entropies(length):
    (reward, entropy), alpha, discount, bootstrap = episode(length, length), 0.3, 0.8, 5.0
    expected = [
        sum(discount ** (k - t) * reward[k] for k in range(t, length))
        + sum(discount ** (k - t) * alpha * entropy[k] for k in range(t + 1, length))
        + discount ** (length - t) * bootstrap
        for t in range(length)
    ]
    alpha, bootstrap = (torch.tensor(x, dtype=torch.float64) for x in (alpha, bootstrap))
    assert_close(soft_returns(reward, entropy, alpha, discount, bootstrap), torch.stack(expected))


def test_soft_returns_solve_the_linear_system_of_a_deterministic_chain():
    length, alpha, discount = 12, torch.tensor(0.4, dtype=torch.float64), 0.95
    reward, entropy = episode(0, length)
    following = torch.diag(torch.ones(length - 1, dtype=torch.float64), 1)
    own = reward + discount * alpha * following @ entropy
    expected = torch.linalg.solve(torch.eye(length, dtype=torch.float64) - discount * following, own)
    assert_close(soft_returns(reward, entropy, alpha, discount, torch.zeros_like(alpha)), expected)


def test_soft_return_does_not_pay_for_the_entropy_of_its_own_first_action():
    reward, entropy = episode(1, 5)
    alpha = torch.tensor(0.5, dtype=torch.float64)
    without = soft_returns(reward, entropy, alpha, 0.9, alpha)
    entropy[0] = math.nan
    assert_close(soft_returns(reward, entropy, alpha, 0.9, alpha), without, rtol=0, atol=0)


# ---- on random decision processes, against linear algebra --------------------------------------------------------------

SEEDS = range(5)
ALPHA = 0.7


def backup(mdp, q, policy, alpha):
    """The exact expectation of the package's one-sample equations, over the next action and the next state."""
    value = (policy * soft_value(q, policy.log(), torch.tensor(alpha, dtype=q.dtype))).sum(-1)
    targets = soft_bellman_target(
        mdp.reward.unsqueeze(-1),
        mdp.terminal.expand(mdp.transition.shape),
        value.expand(mdp.transition.shape),
        mdp.discount,
    )
    return (mdp.transition * targets).sum(-1)


def evaluate(mdp, policy, alpha, iterations=400):
    q = torch.zeros_like(mdp.reward)
    for _ in range(iterations):
        q = backup(mdp, q, policy, alpha)
    return q


def optimise(mdp, alpha, iterations=400):
    q = torch.zeros_like(mdp.reward)
    for _ in range(iterations):
        q = backup(mdp, q, (q / alpha).softmax(-1), alpha)
    return q


@pytest.mark.parametrize("seed", SEEDS)
def test_repeated_backup_of_a_fixed_policy_converges_to_its_soft_q_by_linear_algebra(seed):
    mdp = random_mdp(seed)
    policy = random_policy(mdp, seed)
    assert_close(evaluate(mdp, policy, ALPHA), soft_policy_evaluation(mdp, policy, ALPHA)[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_fixed_point_of_the_optimal_backup_is_the_soft_return_of_its_own_boltzmann_policy(seed):
    mdp = random_mdp(seed)
    q = optimise(mdp, ALPHA)
    assert_close(q, soft_policy_evaluation(mdp, boltzmann(q, ALPHA), ALPHA)[0])
    assert_close(q, soft_value_iteration(mdp, ALPHA)[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_no_other_policy_has_a_larger_soft_value_than_the_boltzmann_policy_of_the_fixed_point(seed):
    mdp = random_mdp(seed)
    best = soft_policy_evaluation(mdp, boltzmann(optimise(mdp, ALPHA), ALPHA), ALPHA)[1]
    for other in range(20):
        assert (best > soft_policy_evaluation(mdp, random_policy(mdp, 100 + other), ALPHA)[1]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_dividing_rewards_by_alpha_and_setting_alpha_to_one_gives_the_same_policy_and_q_over_alpha(seed):
    mdp = random_mdp(seed)
    q = optimise(mdp, ALPHA)
    scaled = optimise(mdp._replace(reward=mdp.reward / ALPHA), 1.0)
    assert_close(scaled, q / ALPHA)
    assert_close(boltzmann(scaled, 1.0), boltzmann(q, ALPHA))


@pytest.mark.parametrize("seed", SEEDS)
def test_soft_backup_becomes_the_hard_backup_as_alpha_goes_to_zero(seed):
    mdp = random_mdp(seed)
    hard = torch.zeros_like(mdp.reward)
    for _ in range(400):
        hard = mdp.reward + mdp.discount * (mdp.transition * ~mdp.terminal) @ hard.amax(-1)
    alpha, actions = 1e-4, mdp.reward.shape[-1]
    soft, _ = soft_value_iteration(mdp, alpha)
    gap = soft - hard
    assert (gap > -1e-9).all()
    assert (gap <= alpha * math.log(actions) * mdp.discount / (1 - mdp.discount) + 1e-9).all()


def expected_policy_loss(logits, q, alpha):
    log_policy = logits.log_softmax(-1)
    losses = policy_loss(q.flatten(), log_policy.flatten(), torch.tensor(alpha, dtype=q.dtype))
    return (log_policy.exp() * losses.view_as(q)).sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_policy_loss_is_stationary_at_the_boltzmann_policy_and_nowhere_near_it(seed):
    q = random_mdp(seed).reward
    at = (q / ALPHA).requires_grad_()
    loss = expected_policy_loss(at, q, ALPHA)
    assert_close(loss, -ALPHA * (q / ALPHA).logsumexp(-1).sum())  # the divergence itself is zero here
    assert_close(torch.autograd.grad(loss, at)[0], torch.zeros_like(q))
    for wrong in (-q / ALPHA, q / (2 * ALPHA), q, torch.zeros_like(q)):
        wrong = wrong.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(expected_policy_loss(wrong, q, ALPHA), wrong)
        assert gradient.norm() > 0.01
        assert expected_policy_loss(wrong, q, ALPHA) > loss + 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_value_loss_is_least_at_the_expected_soft_value(seed):
    mdp = random_mdp(seed)
    policy = random_policy(mdp, seed)
    q, expected = soft_policy_evaluation(mdp, policy, ALPHA)
    for offset in (-0.5, 0.0, 0.25):
        value = (expected + offset).requires_grad_()
        spread = value.unsqueeze(-1).expand_as(q).flatten()
        losses = value_loss(spread, q.flatten(), policy.log().flatten(), torch.tensor(ALPHA, dtype=q.dtype))
        (policy.flatten() * losses).sum().backward()
        assert_close(value.grad, torch.full_like(value, 2 * offset))
