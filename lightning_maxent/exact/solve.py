"""Values and best policies of a ``FiniteMDP``, by value iteration, policy iteration and linear algebra.

Numbers in brackets are equations of the source chapter: (15) is the objective that rewards the entropy of the state at
hand, (16) the one that rewards the entropy of every state along the way, (17) and (18) the soft values that solve (16).
Temperatures ``alpha`` are in units of reward per nat; at zero everything soft becomes what it is without entropy.
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

DIRECT_STATES = 200  # up to here a factorization is as fast as anything
LONGEST_EPISODE = 1e10  # steps on average; longer ones are not told from endless ones by float64
MOST_SWEEPS = 100_000  # at discount 1, where no number of them is sure to be enough
SOLVED = 1e-12  # of the largest value: as near as linear systems are solved
MOST_DAMPED_STEPS = 2_000
PATIENCE = 20  # whole steps that come no nearer, after which they are halved


class Solution(NamedTuple):
    """Action values, state values and policy; in terminal states zero, zero and uniform."""

    q: Float64[np.ndarray, "state action"]
    value: Float64[np.ndarray, " state"]
    policy: Float64[np.ndarray, "state action"]


def boltzmann_policy(q: Float[np.ndarray, "*state action"], alpha: float) -> Float[np.ndarray, "*state action"]:
    """``pi(a|s) = exp(Q(s,a) / alpha) / Z(s)``; at ``alpha`` zero uniform over the largest."""
    check_alpha(alpha)
    below_best = q - q.max(-1, keepdims=True)
    weights = np.exp(below_best / alpha) if alpha else (below_best == 0).astype(q.dtype)
    return weights / weights.sum(-1, keepdims=True)


def soft_value(q: Float[np.ndarray, "*state action"], alpha: float) -> Float[np.ndarray, "*state"] | np.floating:
    """``V(s) = alpha log sum_a exp(Q(s,a) / alpha)``, eq. (18); at ``alpha`` zero the largest."""
    check_alpha(alpha)
    best = q.max(-1)
    return best + alpha * np.log(np.exp((q - best[..., None]) / alpha).sum(-1)) if alpha else best


def soft_bellman_operator(
    mdp: FiniteMDP, q: Float64[np.ndarray, "state action"], alpha: float
) -> Float64[np.ndarray, "state action"]:
    """``Q(s,a) <- r(s,a) + gamma E[V(s')]``, eq. (17); a contraction with modulus ``gamma`` in the maximum norm."""
    return _action_value(mdp, _state_value(mdp, q, alpha))


def soft_value_iteration(mdp: FiniteMDP, alpha: float, tolerance: float = 1e-10) -> Solution:
    """The best policy of objective (16), ``max E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]``, by iterating (17), (18).

    Below discount 1, action values are off by ``tolerance`` at most, besides the rounding of float64: the operator is a
    contraction, so the error is at most ``gamma / (1 - gamma)`` times the last change.  At discount 1, iteration goes
    on until rounding hides the change.

    Raises:
        MaxEntError: if at discount 1 the values do not settle, because endless loops pay for themselves or episodes
            are very long.
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
                f"At discount 1 the values have not settled after {sweeps:,} sweeps, so endless loops pay for themselves "
                f"or episodes are very long: give a discount below 1 or a lower alpha, or use policy iteration."
            )


def value_iteration(mdp: FiniteMDP, tolerance: float = 1e-10) -> Solution:
    """The best policy without entropy, and its values: ``soft_value_iteration`` at ``alpha`` zero."""
    return soft_value_iteration(mdp, 0.0, tolerance)


def evaluate_policy(mdp: FiniteMDP, policy: ArrayLike, alpha: float = 0.0) -> Solution:
    """Soft values of a policy, ``V = (I - gamma P_pi)^-1 (r_pi + alpha H(pi))``, by linear algebra.

    ``Q`` does not pay the entropy of its own action: ``V(s) = E_pi[Q(s,a)] + alpha H(pi(.|s))``.

    Args:
        mdp: whose rewards, transitions and discount.
        policy: probabilities ``[state, action]``; rows of terminal states are never played.
        alpha: weight of the entropy.

    Raises:
        MaxEntError: if ``policy`` holds no probabilities, or if at discount 1 its episodes do not end.
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
    """The best policy of objective (16), by evaluating a policy and taking the Boltzmann policy of its values in turns.

    From the uniform policy on, the soft value of no state ever falls.  Below discount 1, values are off by
    ``tolerance`` at most, besides the rounding of float64: the error is at most ``1 / (1 - gamma)`` times the most
    that one step of (18) would add.

    Raises:
        MaxEntError: if at discount 1 values grow without limit, because endless loops pay for themselves.
    """
    check_tolerance(tolerance)
    policy = np.full_like(mdp.reward, 1 / mdp.actions)
    while True:
        q, value, _ = evaluate_policy(mdp, policy, alpha)
        gain, rounding = _state_value(mdp, q, alpha) - value, SOLVED * np.abs(value).max()
        if gain.max() <= max(tolerance * (1 - mdp.discount), rounding):
            return Solution(q, value + gain, boltzmann_policy(q, alpha) if alpha else policy)
        policy = np.where((gain > rounding)[:, None], boltzmann_policy(q, alpha), policy)  # of ties, keep what ends


def entropy_regularized_policy(mdp: FiniteMDP, alpha: float, tolerance: float = 1e-10) -> Solution:
    """The policy that maximizes objective (15), ``E[R + alpha H(pi(.|s))]``, in every state; with its hard values.

    This is entropy regularization as in A3C (Mnih et al. 2016, arXiv 1602.01783): each state is paid for its own
    entropy only, not for leading to states of high entropy.  There, ``pi(.|s)`` maximizes
    ``sum_a pi(a|s) Q(s,a) + alpha H(pi(.|s))`` with the plain action values ``Q`` of that very policy, so it is a fixed
    point ``pi = softmax(Q / alpha)``.  Without cycles there is exactly one.  With cycles the step is no contraction
    (Asadi & Littman 2017, arXiv 1612.05628): there may be several fixed points, and this returns the one found from the
    uniform policy on, with steps halved when they come no nearer.

    Args:
        mdp: whose rewards, transitions and discount.
        alpha: weight of the entropy.
        tolerance: how far the ``Q`` of ``softmax(Q / alpha)`` may be from its action values, besides rounding.

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
        f"No policy was found that is the Boltzmann policy of its own values at alpha {alpha}, the last being "
        f"{gap:.1e} away: give a larger alpha."
    )


def expected_return(
    mdp: FiniteMDP, policy: ArrayLike, horizon: int | None = None, discount: float | None = None
) -> float:
    """``E[sum_(t < horizon) discount^t r_t]`` from the first state on, without entropy.

    Args:
        mdp: whose rewards, transitions and first state.
        policy: probabilities ``[state, action]``.
        horizon: number of steps; without limit if None.
        discount: the MDP's own if None; with a horizon 1 is always allowed.

    Raises:
        MaxEntError: if ``policy`` holds no probabilities, or if without horizon its return is infinite.
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
    """``(I - step)^-1 own``, or NaN if that is singular.

    On random graphs a sparse factorization fills up (5,000 states: 10 seconds, a dense one 6), while BiCGSTAB needs
    some 20 products (0.01 seconds); a second pass of it, on what the first left over, brings the residual down to
    rounding.  On grids and rings at a discount near 1 it may fail, and there the factorization stays sparse.
    """
    system = csr_array(sparse.eye_array(len(own)) - step)
    if len(own) > DIRECT_STATES:
        value = np.zeros_like(own)
        for _ in range(2):
            value = value + linalg.bicgstab(system, own - system @ value, rtol=1e-12, atol=0.0, maxiter=1000)[0]
        if np.abs(own - system @ value).max() <= 1e-14 * np.abs(value).max():
            return value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", linalg.MatrixRankWarning)  # said by the NaN
        return np.asarray(linalg.spsolve(system.tocsc(), own))
