import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tabular import boltzmann, random_mdp, random_policy, soft_policy_evaluation, soft_value_iteration
from torch import tensor
from torch.distributions import Categorical, Normal, kl_divergence
from torch.testing import assert_close

from lightning_maxent.objectives import (
    boltzmann_log_probs,
    categorical_entropy,
    expected_policy_loss,
    expected_soft_value,
    huber_error,
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


def test_soft_value_subtracts_alpha_times_the_log_probability():
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
def test_bellman_target_does_not_depend_on_the_value_after_termination(garbage):
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


def test_huber_error_is_the_squared_one_up_to_1_and_its_tangent_beyond():
    prediction, target = tensor([[0.0, 0.5, 3.0], [-1.0, 2.0, -4.0]]), tensor([0.0, 0.0, 0.0])
    assert_close(huber_error(prediction, target), tensor([[0.0, 0.25, 5.0], [1.0, 3.0, 7.0]]), rtol=0, atol=0)


def test_huber_error_has_a_gradient_in_the_prediction_only():
    prediction, target = tensor([1.0, 4.0]).requires_grad_(), tensor([0.5, 0.0]).requires_grad_()
    huber_error(prediction, target).sum().backward()
    assert target.grad is None
    assert_close(prediction.grad, tensor([1.0, 2.0]), rtol=0, atol=0)


def test_squared_error_has_a_gradient_in_the_prediction_only():
    prediction, target = leaf(3.0), leaf(1.0)
    squared_error(prediction, target).sum().backward()
    assert_close(prediction.grad, tensor([4.0], dtype=torch.float64))
    assert target.grad is None


def test_value_loss_has_a_gradient_in_the_value_only():
    value, q, log_prob, alpha = leaf(1.0), leaf(2.0), leaf(-1.0), torch.tensor(0.5, requires_grad=True)
    value_loss(value, q, log_prob, alpha).sum().backward()
    assert_close(value.grad, tensor([-3.0], dtype=torch.float64))  # 2 (1 - 2.5)
    assert q.grad is None
    assert log_prob.grad is None
    assert alpha.grad is None


def test_temperature_loss_has_a_gradient_in_alpha_only():
    log_prob = leaf(-1.0, 4.0)
    alpha, target_entropy = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.5, -2.0))
    temperature_loss(alpha, log_prob, target_entropy).sum().backward()
    assert_close(alpha.grad, tensor(1.0, dtype=torch.float64))  # -(-1 - 2) - (4 - 2)
    assert log_prob.grad is None
    assert target_entropy.grad is None


def test_policy_loss_has_a_gradient_in_q_and_log_prob_but_not_in_alpha():
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


def optimize(mdp, alpha, iterations=400):
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
    q = optimize(mdp, ALPHA)
    assert_close(q, soft_policy_evaluation(mdp, boltzmann(q, ALPHA), ALPHA)[0])
    assert_close(q, soft_value_iteration(mdp, ALPHA)[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_no_other_policy_has_a_larger_soft_value_than_the_boltzmann_policy_of_the_fixed_point(seed):
    mdp = random_mdp(seed)
    best = soft_policy_evaluation(mdp, boltzmann(optimize(mdp, ALPHA), ALPHA), ALPHA)[1]
    for other in range(20):
        assert (best > soft_policy_evaluation(mdp, random_policy(mdp, 100 + other), ALPHA)[1]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_dividing_rewards_by_alpha_and_setting_alpha_to_one_gives_the_same_policy_and_q_over_alpha(seed):
    mdp = random_mdp(seed)
    q = optimize(mdp, ALPHA)
    scaled = optimize(mdp._replace(reward=mdp.reward / ALPHA), 1.0)
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


def mean_policy_loss(logits, q, alpha):
    log_policy = logits.log_softmax(-1)
    losses = policy_loss(q.flatten(), log_policy.flatten(), torch.tensor(alpha, dtype=q.dtype))
    return (log_policy.exp() * losses.view_as(q)).sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_policy_loss_is_stationary_at_the_boltzmann_policy_and_nowhere_near_it(seed):
    q = random_mdp(seed).reward
    at = (q / ALPHA).requires_grad_()
    loss = mean_policy_loss(at, q, ALPHA)
    assert_close(loss, -ALPHA * (q / ALPHA).logsumexp(-1).sum())  # the divergence itself is zero here
    assert_close(torch.autograd.grad(loss, at)[0], torch.zeros_like(q))
    for wrong in (-q / ALPHA, q / (2 * ALPHA), q, torch.zeros_like(q)):
        wrong = wrong.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(mean_policy_loss(wrong, q, ALPHA), wrong)
        assert gradient.norm() > 0.01
        assert mean_policy_loss(wrong, q, ALPHA) > loss + 0.01


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


# ---- exact sums over finite actions --------------------------------------------------------------------------------------

EXTREME = [0.0, 1.0, 1e-30, 1e4, 1e30, -1e30, -1e4, -1.0]


def random_q(seed, batch=5, actions=4):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, actions, generator=generator, dtype=torch.float64)


def random_log_probs(seed, batch=5, actions=4):
    return random_q(1000 + seed, batch, actions).log_softmax(-1)


def double(number):
    return torch.tensor(number, dtype=torch.float64)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("seed", range(3))
def test_boltzmann_log_probs_are_the_log_softmax_of_q_over_alpha(seed, alpha):
    q = random_q(seed)
    expected = torch.as_tensor(scipy.special.log_softmax(q.numpy() / alpha, axis=-1))
    assert_close(boltzmann_log_probs(q, double(alpha)), expected)


def test_boltzmann_at_alpha_zero_is_uniform_over_the_best_actions_and_excludes_all_others():
    q = tensor([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [5.0, 4.9999, -1e30, 1.0]], dtype=torch.float64)
    log_probs = boltzmann_log_probs(q, double(0.0))
    best = tensor([[False, True, True, False], [True] * 4, [True, False, False, False]])
    assert torch.equal(log_probs == -math.inf, ~best)
    expected = tensor([-math.log(2)] * 2 + [-math.log(4)] * 4 + [0.0], dtype=torch.float64)
    assert_close(log_probs[best], expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 1e-38, 1e-30, 1e-3, 1.0, 1e30])
def test_boltzmann_is_a_distribution_of_finite_value_and_entropy_for_extreme_q_and_alpha(alpha):
    q = tensor([EXTREME, EXTREME[::-1], [1e30] * 8, [-1e30] * 8, [1e-30 * n for n in range(8)]])
    log_probs = boltzmann_log_probs(q, tensor(alpha))
    assert not log_probs.isnan().any()
    assert_close(log_probs.exp().sum(-1), torch.ones(5))
    assert_close(log_probs[2:4], torch.full((2, 8), -math.log(8)))
    assert categorical_entropy(log_probs).isfinite().all()
    assert expected_soft_value(q.unsqueeze(-1), log_probs, tensor(alpha)).isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_boltzmann_goes_continuously_into_its_limit_as_alpha_goes_to_zero(seed):
    """The actions whose Q is lower by a gap have a total probability of at most ``n exp(-gap / alpha)``."""
    q = random_q(seed).round(decimals=1)
    q[0, 1] = q[0].amax()  # at least one tie
    limit = boltzmann_log_probs(q, double(0.0)).exp()
    behind = q.amax(-1, keepdim=True) - q
    gap = behind.masked_fill(behind == 0, math.inf).amin(-1)
    for alpha in (0.5, 0.1, 0.03, 0.01, 1e-3, 1e-300):
        distance = (boltzmann_log_probs(q, double(alpha)).exp() - limit).abs().amax(-1)
        assert (distance <= q.shape[-1] * (-gap / alpha).exp() + 1e-12).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 2.0])
def test_boltzmann_does_not_change_if_the_same_is_added_to_every_q(alpha):
    q = random_q(0).round(decimals=3)
    shift = tensor([[0.0], [1.0], [-64.0], [1024.0], [1e6]], dtype=torch.float64)
    assert_close(boltzmann_log_probs(q + shift, double(alpha)).exp(), boltzmann_log_probs(q, double(alpha)).exp())


@pytest.mark.parametrize("alpha", [0.01, 0.3, 20.0])
def test_boltzmann_depends_on_q_over_alpha_only(alpha):
    q = random_q(1)
    assert_close(boltzmann_log_probs(q, double(alpha)), boltzmann_log_probs(q / alpha, double(1.0)))


def test_entropy_of_certainty_is_zero_and_of_n_equal_actions_log_n():
    inf = math.inf
    log_probs = tensor([[0.0, -inf, -inf, -inf], [-math.log(2), -inf, -math.log(2), -inf], [-math.log(4)] * 4])
    assert_close(categorical_entropy(log_probs), tensor([0.0, math.log(2), math.log(4)]))


@pytest.mark.parametrize("seed", range(3))
def test_entropy_is_minus_the_expected_log_probability_in_nats(seed):
    log_probs = random_log_probs(seed)
    expected = torch.as_tensor(scipy.stats.entropy(log_probs.exp().numpy(), axis=-1))
    assert_close(categorical_entropy(log_probs), expected)


def test_entropy_of_factors_side_by_side_is_that_of_their_product():
    first, second = random_log_probs(0, actions=2), random_log_probs(1, actions=3)
    product = (first.unsqueeze(-1) + second.unsqueeze(-2)).flatten(1).exp().numpy()
    both = categorical_entropy(torch.cat((first, second), -1))
    assert_close(both, torch.as_tensor(scipy.stats.entropy(product, axis=-1)))


@pytest.mark.parametrize("lowest", [-5.0, -200.0, -1e4, -1e30, -math.inf])
def test_gradient_of_the_entropy_is_finite_and_right_where_a_probability_underflows(lowest):
    """In the logits it is ``-pi (log pi + H)``."""
    logits = torch.tensor([[0.0, 1.0, lowest]], requires_grad=True)
    categorical_entropy(logits.log_softmax(-1)).sum().backward()
    probabilities = scipy.special.softmax(logits.detach().double().numpy(), axis=-1)
    entropy = scipy.stats.entropy(probabilities, axis=-1)[:, None]
    expected = -scipy.special.xlogy(probabilities, probabilities) - probabilities * entropy
    assert_close(logits.grad.double(), torch.as_tensor(expected), rtol=1e-5, atol=1e-6)


def test_expected_soft_value_and_policy_loss_equal_numbers_worked_out_by_hand():
    q, log_probs, alpha = tensor([[2.0, -1.0]]), tensor([[0.25, 0.75]]).log(), tensor(0.5)
    entropy = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    value = 0.25 * 2 - 0.75 + 0.5 * entropy
    assert_close(expected_soft_value(q.unsqueeze(-1), log_probs, alpha), tensor([[value]]))
    assert_close(expected_policy_loss(q, log_probs, alpha), tensor([-value]))


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("seed", range(3))
def test_soft_value_of_the_boltzmann_policy_is_the_soft_maximum_and_no_policy_has_more(seed, alpha):
    """Gibbs: ``sum_a pi Q + alpha H(pi) = alpha log sum_a exp(Q / alpha) - alpha KL(pi || exp(Q / alpha) / Z)``."""
    q = random_q(seed)
    soft_maximum = torch.as_tensor(alpha * scipy.special.logsumexp(q.numpy() / alpha, axis=-1))
    best = torch.as_tensor(scipy.special.log_softmax(q.numpy() / alpha, axis=-1))
    assert_close(expected_soft_value(q.unsqueeze(-1), best, double(alpha)).squeeze(-1), soft_maximum)
    for other in range(20):
        policy = random_log_probs(other)
        divergence = (policy.exp() * (policy - best)).sum(-1)
        value = expected_soft_value(q.unsqueeze(-1), policy, double(alpha)).squeeze(-1)
        assert (value <= soft_maximum).all()
        assert_close(value, soft_maximum - alpha * divergence)


def test_soft_value_of_the_boltzmann_policy_at_alpha_zero_is_the_maximum():
    q = tensor([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [-5.0, -4.0, -7.0, -1e30]])
    value = expected_soft_value(q.unsqueeze(-1), boltzmann_log_probs(q, tensor(0.0)), tensor(0.0))
    assert_close(value, tensor([[3.0], [2.0], [-4.0]]), rtol=0, atol=0)


def test_expected_soft_value_treats_every_atom_alike():
    atoms = torch.stack([random_q(seed) for seed in range(3)], -1)
    log_probs, alpha = random_log_probs(0), double(0.7)
    value = expected_soft_value(atoms, log_probs, alpha)
    assert value.shape == (5, 3)
    for atom in range(3):
        own = np.einsum("ba,ba->b", log_probs.exp().numpy(), atoms[..., atom].numpy())
        entropy = scipy.stats.entropy(log_probs.exp().numpy(), axis=-1)
        assert_close(value[:, atom], torch.as_tensor(own + 0.7 * entropy))


def test_soft_value_of_factors_side_by_side_is_that_of_the_sum_of_their_q_under_the_product_of_their_policies():
    first, second, alpha = random_q(0, actions=2), random_q(1, actions=3), double(0.4)
    log_first, log_second = random_log_probs(2, actions=2), random_log_probs(3, actions=3)
    joint = ((first.unsqueeze(-1) + second.unsqueeze(-2)), (log_first.unsqueeze(-1) + log_second.unsqueeze(-2)))
    q, log_probs = (x.flatten(1) for x in joint)
    by_factors = expected_soft_value(
        torch.cat((first, second), -1).unsqueeze(-1), torch.cat((log_first, log_second), -1), alpha
    )
    expected = (log_probs.exp() * (q - 0.4 * log_probs)).sum(-1)
    assert_close(by_factors.squeeze(-1), expected)


@pytest.mark.parametrize("seed", range(3))
def test_expected_soft_value_is_the_mean_of_the_one_sample_estimate(seed):
    q, log_probs, alpha, draws = random_q(seed, batch=1), random_log_probs(seed, batch=1), double(0.7), 100_000
    torch.manual_seed(seed)
    drawn = Categorical(logits=log_probs[0]).sample((draws,))
    estimates = soft_value(q[0, drawn], log_probs[0, drawn], alpha)
    error = float(estimates.std() / math.sqrt(draws))
    value = expected_soft_value(q.unsqueeze(-1), log_probs, alpha)
    assert float(value) == pytest.approx(float(estimates.mean()), abs=5 * error)


@pytest.mark.parametrize("alpha", [0.05, 0.7, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_gradient_of_the_expected_policy_loss_is_that_of_alpha_times_the_divergence_from_boltzmann(seed, alpha):
    q, logits = random_q(seed), random_q(100 + seed).requires_grad_()
    (gradient,) = torch.autograd.grad(expected_policy_loss(q, logits.log_softmax(-1), double(alpha)).sum(), logits)
    divergence = alpha * kl_divergence(Categorical(logits=logits), Categorical(logits=q / alpha))
    assert_close(gradient, torch.autograd.grad(divergence.sum(), logits)[0])
    policy = scipy.special.softmax(logits.detach().numpy(), axis=-1)
    costs = alpha * np.log(policy) - q.numpy()
    closed_form = policy * (costs - (policy * costs).sum(-1, keepdims=True))
    assert_close(gradient, torch.as_tensor(closed_form))


@pytest.mark.parametrize("seed", range(3))
def test_expected_policy_loss_is_least_and_stationary_at_the_boltzmann_policy(seed):
    q, alpha = random_q(seed), 0.7
    best = (q / alpha).requires_grad_()
    losses = expected_policy_loss(q, best.log_softmax(-1), double(alpha))
    assert_close(losses, -alpha * (q / alpha).logsumexp(-1))
    assert_close(torch.autograd.grad(losses.sum(), best)[0], torch.zeros_like(q))
    for wrong in (-q / alpha, q / (2 * alpha), q * alpha, torch.zeros_like(q), random_q(50 + seed)):
        assert (expected_policy_loss(q, wrong.log_softmax(-1), double(alpha)) > losses).all()


def test_expected_policy_loss_has_a_gradient_in_the_policy_only():
    q, logits = random_q(0).requires_grad_(), random_q(1).requires_grad_()
    alpha = double(0.5).requires_grad_()
    expected_policy_loss(q, logits.log_softmax(-1), alpha).sum().backward()
    assert q.grad is None
    assert alpha.grad is None
    assert (logits.grad != 0).all()
