"""Values and best policies of a ``FiniteMDP``, by value iteration, policy iteration and linear algebra.

There are two objectives.  The trajectory objective ``E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]`` rewards the
entropies of all states along the trajectory (Ziebart et al. 2008; Schulman et al. 2017a, arXiv 1704.06440).  The soft
Bellman equations solve it::

    Q(s,a)  = r(s,a) + gamma E[V(s')]
    V(s)    = alpha log sum_a exp(Q(s,a) / alpha)
    pi(a|s) = exp((Q(s,a) - V(s)) / alpha)

In the current-state objective, the gradient in every state holds the entropy of that state only (Williams & Peng 1991;
Mnih et al. 2016, arXiv 1602.01783); see ``entropy_regularized_policy``.

Temperatures ``alpha`` are in units of reward per nat; at zero, the soft values are the usual ones.
"""

import dataclasses
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse import csr_array, linalg
from scipy.special import entr

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact.checks import check_alpha, check_discount, check_horizon, check_tolerance, distribution
from lightning_maxent.exact.mdp import FiniteMDP, chain

DIRECT_STATES = 200  # up to this number of states, factorization is the fastest method
LONGEST_EPISODE = 1e10  # steps on average; float64 cannot tell longer episodes from endless ones
MOST_SWEEPS = 100_000  # at discount 1, where no number of sweeps is guaranteed to be enough
SOLVED = 1e-12  # relative accuracy of the solutions of linear systems
MOST_DAMPED_STEPS = 2_000
PATIENCE = 20  # full steps without progress, after which the step size is halved


class Solution(NamedTuple):
    """Action values, state values and policy.  In terminal states the values are zero and the policy is uniform."""

    q: Float64[np.ndarray, "state action"]
    value: Float64[np.ndarray, " state"]
    policy: Float64[np.ndarray, "state action"]


def boltzmann_policy(q: Float[np.ndarray, "*state action"], alpha: float) -> Float[np.ndarray, "*state action"]:
    """``pi(a|s) = exp(Q(s,a) / alpha) / Z(s)``; at ``alpha`` zero uniform over the actions with the highest Q."""
    check_alpha(alpha)
    below_best = q - q.max(-1, keepdims=True)
    weights = np.exp(below_best / alpha) if alpha else (below_best == 0).astype(q.dtype)
    return weights / weights.sum(-1, keepdims=True)


def soft_value(q: Float[np.ndarray, "*state action"], alpha: float) -> Float[np.ndarray, "*state"] | np.floating:
    """``V(s) = alpha log sum_a exp(Q(s,a) / alpha)``; at ``alpha`` zero the maximum over actions."""
    check_alpha(alpha)
    best = q.max(-1)
    return best + alpha * np.log(np.exp((q - best[..., None]) / alpha).sum(-1)) if alpha else best


def soft_bellman_operator(
    mdp: FiniteMDP, q: Float64[np.ndarray, "state action"], alpha: float
) -> Float64[np.ndarray, "state action"]:
    """``Q(s,a) <- r(s,a) + gamma E[V(s')]`` with ``V = soft_value(Q)``.

    The operator is a contraction with modulus ``gamma`` in the maximum norm.
    """
    return _action_value(mdp, _state_value(mdp, q, alpha))


def soft_value_iteration(mdp: FiniteMDP, alpha: float, tolerance: float = 1e-10) -> Solution:
    """Maximizes ``E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]`` by iterating ``soft_bellman_operator``.

    Below discount 1, the error of the action values is at most ``tolerance``, plus the rounding of float64.  The
    operator is a contraction, so the error is at most ``gamma / (1 - gamma)`` times the last change.  At discount 1,
    the iteration stops when the change is within the rounding of float64.

    Raises:
        MaxEntError: if the values do not converge at discount 1, because endless loops have a positive soft return or
            episodes are very long.
    """
    check_tolerance(tolerance)
    q = np.zeros_like(mdp.reward)
    enough = tolerance * (1 - mdp.discount) / mdp.discount if mdp.discount else np.inf
    sweeps = 0
    while True:
        following = soft_bellman_operator(mdp, q, alpha)
        change, rounding = np.abs(following - q).max(), 4 * np.finfo(float).eps * np.abs(following).max()
        q, sweeps = following, sweeps + 1
        if change <= max(enough, rounding):
            return _boltzmann_solution(mdp, q, alpha)
        if mdp.discount == 1 and sweeps == MOST_SWEEPS:
            raise MaxEntError(
                f"At discount 1 the values have not converged after {sweeps:,} sweeps, because endless loops have a "
                f"positive soft return or episodes are very long: give a discount below 1 or a lower alpha, or use "
                f"policy iteration."
            )


def value_iteration(mdp: FiniteMDP, tolerance: float = 1e-10) -> Solution:
    """The best policy without entropy, and its values: ``soft_value_iteration`` with ``alpha`` zero."""
    return soft_value_iteration(mdp, 0.0, tolerance)


def evaluate_policy(mdp: FiniteMDP, policy: ArrayLike, alpha: float = 0.0) -> Solution:
    """Soft values of a policy, ``V = (I - gamma P_pi)^-1 (r_pi + alpha H(pi))``, by linear algebra.

    ``Q(s,a)`` does not include the entropy of the policy in ``s``: ``V(s) = E_pi[Q(s,a)] + alpha H(pi(.|s))``.

    Args:
        mdp: the MDP.
        policy: probabilities ``[state, action]``; rows of terminal states are not used.
        alpha: weight of the entropy, in units of reward per nat.

    Raises:
        MaxEntError: if ``policy`` does not hold probabilities, or its episodes do not end at discount 1.
    """
    check_alpha(alpha)
    probabilities = distribution("The policy", policy, mdp.reward.shape)
    own = np.where(mdp.terminal, 0.0, (probabilities * mdp.reward + alpha * entr(probabilities)).sum(-1))
    step = mdp.discount * chain(mdp.continuation, probabilities)
    if mdp.discount == 1:
        _check_that_episodes_end(mdp, probabilities, step)
    value = _discounted_sum(step, own)
    probabilities[mdp.terminal] = 1 / mdp.actions
    return Solution(_action_value(mdp, value), value, probabilities)


def soft_policy_iteration(mdp: FiniteMDP, alpha: float, tolerance: float = 1e-10) -> Solution:
    """Maximizes ``E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]`` by policy iteration, from the uniform policy.

    Each step evaluates the policy and replaces it by the Boltzmann policy of its action values.  No step lowers the
    soft value of any state.  Below discount 1, the error of the values is at most ``tolerance``, plus the rounding of
    float64.  The error is at most ``1 / (1 - gamma)`` times the largest improvement ``soft_value(Q) - V`` in any state.

    Raises:
        MaxEntError: if values grow without limit at discount 1, because endless loops have a positive soft return.
    """
    check_tolerance(tolerance)
    policy = np.full_like(mdp.reward, 1 / mdp.actions)
    while True:
        q, value, _ = evaluate_policy(mdp, policy, alpha)
        gain, rounding = _state_value(mdp, q, alpha) - value, SOLVED * np.abs(value).max()
        if gain.max() <= max(tolerance * (1 - mdp.discount), rounding):
            return Solution(q, value + gain, boltzmann_policy(q, alpha) if alpha else policy)
        policy = np.where((gain > rounding)[:, None], boltzmann_policy(q, alpha), policy)  # ties: keep the old actions


def entropy_regularized_policy(mdp: FiniteMDP, alpha: float, tolerance: float = 1e-10) -> Solution:
    """The optimum of the current-state objective, ``pi = softmax(Q / alpha)`` with Q without entropy; and its values.

    This is entropy regularization as in A3C (Williams & Peng 1991; Mnih et al. 2016, arXiv 1602.01783).  Each state is
    rewarded for its own entropy only, not for leading to states of high entropy.  In every state, ``pi(.|s)`` maximizes
    ``sum_a pi(a|s) Q(s,a) + alpha H(pi(.|s))``, where ``Q`` are the action values of ``pi`` itself, without entropy.
    So the policy is a fixed point of ``pi = softmax(Q / alpha)``.  Without cycles there is exactly one.  With cycles
    the iteration is not a contraction (Asadi & Littman 2017, arXiv 1612.05628), and there may be several fixed points.
    This returns the one that the iteration finds from the uniform policy; the step size is halved when there is no
    progress.

    Args:
        mdp: the MDP.
        alpha: weight of the entropy, in units of reward per nat.
        tolerance: the largest difference between ``Q`` and the action values of ``softmax(Q / alpha)``, plus rounding.

    Raises:
        MaxEntError: if no fixed point was found.
    """
    check_tolerance(tolerance)
    q, damping, gap, smallest, fruitless = np.zeros_like(mdp.reward), 1.0, np.inf, np.inf, 0
    for _ in range(MOST_DAMPED_STEPS):
        solution = evaluate_policy(mdp, boltzmann_policy(q, alpha))
        step = solution.q - q
        gap = np.abs(step).max()
        if gap <= max(tolerance, SOLVED * np.abs(q).max()):
            return solution
        fruitless = 0 if gap < smallest else fruitless + 1
        smallest = min(gap, smallest)
        if fruitless * damping > PATIENCE:
            damping, smallest, fruitless = damping / 2, np.inf, 0
        q = q + damping * step
    raise MaxEntError(
        f"No policy was found that is the Boltzmann policy of its own values at alpha {alpha}; the values of the last "
        f"one differ by {gap:.1e}: give a larger alpha."
    )


def expected_return(
    mdp: FiniteMDP, policy: ArrayLike, horizon: int | None = None, discount: float | None = None
) -> float:
    """``E[sum_(t < horizon) discount^t r_t]`` from the first state, without entropy.

    Args:
        mdp: the MDP.
        policy: probabilities ``[state, action]``.
        horizon: number of steps; no limit if None.
        discount: the discount of the MDP if None; with a horizon, 1 is always allowed.

    Raises:
        MaxEntError: if ``policy`` does not hold probabilities, or its return without a horizon is infinite.
    """
    discount = mdp.discount if discount is None else discount
    check_discount(discount)
    check_horizon(horizon)
    if horizon is None:
        return float(mdp.start @ evaluate_policy(dataclasses.replace(mdp, discount=discount), policy).value)
    probabilities = distribution("The policy", policy, mdp.reward.shape)
    own = np.where(mdp.terminal, 0.0, (probabilities * mdp.reward).sum(-1))
    step = discount * chain(mdp.continuation, probabilities)
    value = np.zeros_like(own)
    for _ in range(horizon):
        value = own + step @ value
    return float(mdp.start @ value)


def _action_value(mdp: FiniteMDP, value: Float64[np.ndarray, " state"]) -> Float64[np.ndarray, "state action"]:
    q = mdp.reward + mdp.discount * (mdp.continuation @ value).reshape(mdp.reward.shape)
    return np.where(mdp.terminal[:, None], 0.0, q)


def _state_value(mdp: FiniteMDP, q: Float64[np.ndarray, "state action"], alpha: float) -> Float64[np.ndarray, " state"]:
    return np.where(mdp.terminal, 0.0, soft_value(q, alpha))


def _boltzmann_solution(mdp: FiniteMDP, q: Float64[np.ndarray, "state action"], alpha: float) -> Solution:
    return Solution(q, _state_value(mdp, q, alpha), boltzmann_policy(q, alpha))


def _check_that_episodes_end(mdp: FiniteMDP, policy: Float64[np.ndarray, "state action"], step: csr_array) -> None:
    ends = mdp.can_terminate(policy).all()
    if not (ends and (np.abs(_discounted_sum(step, np.ones(mdp.states))) <= LONGEST_EPISODE).all()):
        raise MaxEntError(
            "At discount 1 this policy's values are infinite, because from some state its episodes never end: give a "
            "discount below 1 or another policy."
        )


def _discounted_sum(step: csr_array, own: Float64[np.ndarray, " state"]) -> Float64[np.ndarray, " state"]:
    """``(I - step)^-1 own``, or NaN if the matrix is singular.

    On random graphs, the factors of a sparse factorization are dense (10 seconds for 5,000 states; 6 with dense
    arrays), but BiCGSTAB needs only about 20 products (0.01 seconds).  A second pass of BiCGSTAB on the residual of the
    first reaches the rounding of float64.  On grids and rings at a discount near 1 BiCGSTAB may fail, but there the
    factors stay sparse.
    """
    system = csr_array(sparse.eye_array(len(own)) - step)
    if len(own) > DIRECT_STATES:
        value = np.zeros_like(own)
        for _ in range(2):
            value = value + linalg.bicgstab(system, own - system @ value, rtol=1e-12, atol=0.0, maxiter=1000)[0]
        if np.abs(own - system @ value).max() <= 1e-14 * np.abs(value).max():
            return value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", linalg.MatrixRankWarning)  # the result is NaN, which callers check
        return np.asarray(linalg.spsolve(system.tocsc(), own))
