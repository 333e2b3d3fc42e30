"""Linear dynamics, quadratic costs: a problem with continuous actions whose soft optimum is known in closed form.

The next state is ``s' = A s + B a + w`` with ``w ~ N(0, W)``.  The reward ``r(s,a) = -(s'Qs + a'Ra)`` depends on the
state and the action before the step.  Actions are unbounded vectors, and episodes never end.  (``s'`` by itself is the
next state; in a product, as in ``s'Qs``, the prime means transposition.)  For the objective
``max E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]``, the soft values are quadratic and the best policy is Gaussian::

    V(s)    = -s'Ps + c
    Q(s,a)  = r(s,a) + gamma (-(As + Ba)'P(As + Ba) - tr(PW) + c)
    pi(.|s) = N(-Ks, alpha/2 M^-1)              M = R + gamma B'PB,  K = gamma M^-1 B'PA
    P       = Q + gamma A'PA - K'MK             the Riccati equation of the same world without entropy
    c       = (alpha/2 log det(pi alpha M^-1) - gamma tr(PW)) / (1 - gamma)

because ``Q(s,a)`` equals its maximum over actions minus ``(a + Ks)'M(a + Ks)``.  So
``V(s) = alpha log integral exp(Q(s,a) / alpha) da`` is a Gaussian integral:
``alpha log integral exp(-x'Mx / alpha) dx = alpha/2 log det(pi alpha M^-1)``.  At every temperature the mean of the
policy is the action of the linear-quadratic regulator (certainty equivalence), and its covariance is proportional to
the temperature.  After Ziebart, "Modeling Purposeful Adaptive Behavior with the Principle of Maximum Causal Entropy"
(2010).

Entropies and values refer to densities over the actions of this world.  A learner's actions lie in [-1, 1] and are
scaled to [-bound, bound].  So its entropies and values are those of ``world.rescaled(bound)``; for a bound of 1 there
is no difference.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy import linalg

from lightning_maxent.errors import MaxEntError
from lightning_maxent.exact.checks import ROUNDING, check_alpha

EDGE = 1e-6  # an eigenvalue above 1 - EDGE counts as growth


@dataclass(frozen=True, eq=False, init=False, repr=False)
class LinearQuadratic:
    """A problem with linear dynamics and quadratic costs.  Its arrays are read-only.

    Args:
        dynamics: ``A[next state, state]``.
        control: ``B[next state, action]``.
        state_cost: ``Q[state, state]``, symmetric, positive semi-definite; in units of reward.
        action_cost: ``R[action, action]``, symmetric, positive definite; in units of reward.
        discount: in (0, 1).
        noise: covariance ``W[next state, next state]`` of the next state; zero if left out.

    Raises:
        MaxEntError: for matrices whose shapes do not match, that are not finite or not definite as required; for a
            discount outside (0, 1); or if values would be infinite or not unique.  This is so if some direction of the
            state grows by more than ``gamma^-1/2`` a step, and no action can stop it (not stabilizable) or it has no
            cost (not detectable).
    """

    dynamics: Float64[np.ndarray, "state state"]
    control: Float64[np.ndarray, "state action"]
    state_cost: Float64[np.ndarray, "state state"]
    action_cost: Float64[np.ndarray, "action action"]
    discount: float
    noise: Float64[np.ndarray, "state state"]

    def __init__(
        self,
        dynamics: ArrayLike,
        control: ArrayLike,
        state_cost: ArrayLike,
        action_cost: ArrayLike,
        discount: float,
        noise: ArrayLike | None = None,
    ):
        pushes = _control(control)
        states, actions = pushes.shape
        if not 0 < discount < 1:
            raise MaxEntError(f"The discount must lie between 0 and 1, both excluded, but is {discount}.")
        fields = {
            "dynamics": _matrix("dynamics", dynamics, (states, states)),
            "control": pushes,
            "state_cost": _semi_definite("state_cost", state_cost, states),
            "action_cost": _definite("action_cost", action_cost, actions),
            "discount": discount,
            "noise": _semi_definite("noise", np.zeros((states, states)) if noise is None else noise, states),
        }
        for name, field in fields.items():
            if isinstance(field, np.ndarray):
                field.setflags(write=False)
            object.__setattr__(self, name, field)
        self._check_that_values_are_finite()

    @property
    def state_dim(self) -> int:
        return self.control.shape[0]

    @property
    def action_dim(self) -> int:
        return self.control.shape[1]

    def reward(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"] | np.floating:
        """``r(s,a) = -(s'Qs + a'Ra)`` of states ``[*batch, state]`` and actions ``[*batch, action]``."""
        states, actions = _vectors("state", state, self.state_dim), _vectors("action", action, self.action_dim)
        return -_square(states, self.state_cost) - _square(actions, self.action_cost)

    def mean_after(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch state"]:
        """``As + Ba``, the mean of the next state ``[*batch, state]``; without noise, this is the next state."""
        states, actions = _vectors("state", state, self.state_dim), _vectors("action", action, self.action_dim)
        return states @ self.dynamics.T + actions @ self.control.T

    def rescaled(self, bound: float) -> "LinearQuadratic":
        """The same problem with actions in units of ``bound``: ``bound B`` in place of B and ``bound^2 R`` for R.

        The density of a policy is ``bound^action_dim`` times as high there.  So its entropy is lower by
        ``action_dim log(bound)``, and its soft values by ``alpha action_dim log(bound) / (1 - discount)``.

        Raises:
            MaxEntError: if the bound is not positive and finite.
        """
        if not (np.isfinite(bound) and bound > 0):
            raise MaxEntError(f"The bound must be positive and finite, but is {bound}.")
        action_cost = bound**2 * self.action_cost
        return LinearQuadratic(
            self.dynamics, bound * self.control, self.state_cost, action_cost, self.discount, self.noise
        )

    def _check_that_values_are_finite(self) -> None:
        shrunk = np.sqrt(self.discount) * self.dynamics
        if _escapes(shrunk, self.control):
            raise MaxEntError(
                f"The world is not stabilizable: some state grows faster than the discount {self.discount} shrinks it "
                f"and no action stops it. Give a lower discount, other dynamics or another control."
            )
        if _escapes(shrunk.T, self.state_cost):
            raise MaxEntError(
                f"The world is not detectable: some state grows faster than the discount {self.discount} shrinks it "
                f"and has no cost. Give it a state_cost, or lower the discount."
            )


class LinearGaussianPolicy(NamedTuple):
    """``pi(.|s) = N(-Ks, S)``: ``gain`` is ``K``, ``covariance`` is ``S``."""

    gain: Float64[np.ndarray, "action state"]
    covariance: Float64[np.ndarray, "action action"]

    def mean(self, state: ArrayLike) -> Float64[np.ndarray, "*batch action"]:
        """``-Ks`` of states ``[*batch, state]``."""
        return -_vectors("state", state, self.gain.shape[1]) @ self.gain.T

    @property
    def entropy(self) -> float:
        """``H = log det(2 pi e S) / 2`` in nats, the same in every state; negative infinity if ``S`` is singular."""
        return float(np.linalg.slogdet(2 * np.pi * np.e * self.covariance)[1]) / 2

    def log_prob(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"] | np.floating:
        """``log pi(a|s) = -(a + Ks)'S^-1(a + Ks)/2 - log det(2 pi S)/2``; needs an ``S`` that is not singular."""
        away = _vectors("action", action, len(self.covariance)) - self.mean(state)
        log_volume = np.linalg.slogdet(2 * np.pi * self.covariance)[1]
        return -(_square(away, np.linalg.inv(self.covariance)) + log_volume) / 2


class LinearQuadraticSolution(NamedTuple):
    """A policy with its soft values ``V(s) = -s'Ps + c``: ``curvature`` is ``P``, ``constant`` is ``c``."""

    world: LinearQuadratic
    policy: LinearGaussianPolicy
    curvature: Float64[np.ndarray, "state state"]
    constant: float

    def value(self, state: ArrayLike) -> Float64[np.ndarray, "*batch"] | np.floating:
        """``V(s)`` of states ``[*batch, state]``, in units of reward."""
        return self.constant - _square(_vectors("state", state, self.world.state_dim), self.curvature)

    def q_value(self, state: ArrayLike, action: ArrayLike) -> Float64[np.ndarray, "*batch"] | np.floating:
        """``Q(s,a) = r(s,a) + gamma E[V(s')]`` of states ``[*batch, state]`` and actions ``[*batch, action]``.

        Q does not include the entropy of the policy in ``s``.
        """
        next_value = self.value(self.world.mean_after(state, action)) - np.trace(self.curvature @ self.world.noise)
        return self.world.reward(state, action) + self.world.discount * next_value


def solve_linear_quadratic(world: LinearQuadratic, alpha: float) -> LinearQuadraticSolution:
    """The policy that maximizes ``E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]``, and its soft values.

    Raises:
        MaxEntError: if ``alpha`` is not positive and finite, or the world's matrices differ too much in scale for
            float64.
    """
    check_alpha(alpha)
    if alpha == 0:
        raise MaxEntError(
            "The temperature alpha must be positive, but is 0: the best policy is then deterministic and has no "
            "density. Its gain is the same for every alpha; evaluate it with the covariance 0."
        )
    curvature, discount = _riccati(world), world.discount
    steepness = world.action_cost + discount * world.control.T @ curvature @ world.control
    gain = discount * np.linalg.solve(steepness, world.control.T @ curvature @ world.dynamics)
    log_normalizer = (world.action_dim * np.log(np.pi * alpha) - np.linalg.slogdet(steepness)[1]) / 2
    own = alpha * log_normalizer - discount * np.trace(curvature @ world.noise)
    policy = LinearGaussianPolicy(gain, alpha / 2 * np.linalg.inv(steepness))
    return LinearQuadraticSolution(world, policy, curvature, float(own / (1 - discount)))


def evaluate_linear_policy(
    world: LinearQuadratic, policy: LinearGaussianPolicy, alpha: float = 0.0
) -> LinearQuadraticSolution:
    """Soft values of any policy ``N(-Ks, S)``, by a Lyapunov equation.

    ``P = Q + K'RK + gamma (A - BK)'P(A - BK)`` and
    ``(1 - gamma) c = alpha H - tr(RS) - gamma tr(P(W + BSB'))``.

    Args:
        world: the problem in which the policy acts.
        policy: if ``alpha`` is zero, its covariance may be singular or zero.
        alpha: weight of the entropy, in units of reward per nat.

    Raises:
        MaxEntError: if the shapes of the policy and the world do not match, the covariance is singular although
            ``alpha`` is positive, or the state grows so fast that the discounted cost is infinite.
    """
    check_alpha(alpha)
    gain = _matrix("The policy's gain", policy.gain, (world.action_dim, world.state_dim))
    checked = _definite if alpha else _semi_definite
    played = LinearGaussianPolicy(gain, checked("The policy's covariance", policy.covariance, world.action_dim))
    loop = np.sqrt(world.discount) * (world.dynamics - world.control @ gain)
    growth = np.abs(np.linalg.eigvals(loop)).max()
    if growth >= 1:
        raise MaxEntError(
            f"Under this policy the state, after discounting, grows by the factor {growth:.4g} a step, so its value is "
            f"not finite: give another gain or a lower discount."
        )
    curvature = linalg.solve_discrete_lyapunov(loop.T, world.state_cost + gain.T @ world.action_cost @ gain)
    spread = world.noise + world.control @ played.covariance @ world.control.T
    cost = np.trace(world.action_cost @ played.covariance) + world.discount * np.trace(curvature @ spread)
    bonus = alpha * played.entropy if alpha else 0.0
    return LinearQuadraticSolution(world, played, curvature, float((bonus - cost) / (1 - world.discount)))


def _square(
    vectors: Float64[np.ndarray, "*batch dim"], matrix: Float64[np.ndarray, "dim dim"]
) -> Float64[np.ndarray, "*batch"] | np.floating:
    """``x' matrix x``."""
    return ((vectors @ matrix) * vectors).sum(-1)


def _riccati(world: LinearQuadratic) -> Float64[np.ndarray, "state state"]:
    """``P = Q + gamma A'PA - gamma^2 A'PB (R + gamma B'PB)^-1 B'PA``."""
    a, b = np.sqrt(world.discount) * world.dynamics, np.sqrt(world.discount) * world.control
    try:
        curvature = linalg.solve_discrete_are(a, b, world.state_cost, world.action_cost)
    except np.linalg.LinAlgError:
        curvature = np.full_like(a, np.nan)
    towards = b.T @ curvature @ a
    saved = towards.T @ np.linalg.solve(world.action_cost + b.T @ curvature @ b, towards)
    residual = np.abs(world.state_cost + a.T @ curvature @ a - saved - curvature).max()
    if not residual <= ROUNDING * max(np.abs(curvature).max(), np.abs(world.action_cost).max()):
        raise MaxEntError(
            "The Riccati equation cannot be solved in float64, because its numbers differ too much in scale: rescale "
            "states, actions or costs, or give a lower discount."
        )
    return curvature


def _escapes(dynamics: Float64[np.ndarray, "state state"], control: Float64[np.ndarray, "state input"]) -> bool:
    """Whether some direction of the state does not shrink by itself and is not controlled (Hautus test)."""
    roots, size = np.linalg.eigvals(dynamics), len(dynamics)
    reach = np.column_stack((dynamics, control / (np.abs(control).max() or 1.0)))
    return any(
        np.linalg.matrix_rank(reach - root * np.eye(*reach.shape), tol=EDGE * np.abs(reach).max()) < size
        for root in roots[np.abs(roots) > 1 - EDGE]
    )


def _vectors(name: str, given: ArrayLike, size: int) -> Float64[np.ndarray, "*batch size"]:
    vectors = np.asarray(given, dtype=np.float64)
    if vectors.shape[-1:] != (size,):
        raise MaxEntError(f"{name} must have {size} numbers on its last axis, but has the shape {vectors.shape}.")
    return vectors


def _control(control: ArrayLike) -> Float64[np.ndarray, "state action"]:
    matrix = np.array(control, dtype=np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape or not np.isfinite(matrix).all():
        raise MaxEntError(
            f"control must be a matrix [state, action] of finite numbers, but has the shape {matrix.shape} and "
            f"{np.count_nonzero(~np.isfinite(matrix))} entries that are not finite."
        )
    return matrix


def _matrix(name: str, given: ArrayLike, shape: tuple[int, int]) -> Float64[np.ndarray, "row column"]:
    matrix = np.array(given, dtype=np.float64)
    if matrix.shape != shape or not np.isfinite(matrix).all():
        raise MaxEntError(
            f"{name} must be a matrix of the shape {shape} of finite numbers, but has the shape {matrix.shape} and "
            f"{np.count_nonzero(~np.isfinite(matrix))} entries that are not finite."
        )
    return matrix


def _symmetric(name: str, given: ArrayLike, size: int) -> Float64[np.ndarray, "size size"]:
    matrix = _matrix(name, given, (size, size))
    if np.abs(matrix - matrix.T).max() > ROUNDING * np.abs(matrix).max():
        raise MaxEntError(f"{name} must be symmetric; give half the sum of it and its transpose.")
    return (matrix + matrix.T) / 2


def _definite(name: str, given: ArrayLike, size: int) -> Float64[np.ndarray, "size size"]:
    matrix = _symmetric(name, given, size)
    smallest = np.linalg.eigvalsh(matrix)[0]
    if smallest <= np.finfo(float).eps * size * np.abs(matrix).max():
        raise MaxEntError(f"{name} must be positive definite, but has the eigenvalue {smallest:.4g}.")
    return matrix


def _semi_definite(name: str, given: ArrayLike, size: int) -> Float64[np.ndarray, "size size"]:
    matrix = _symmetric(name, given, size)
    smallest = np.linalg.eigvalsh(matrix)[0]
    if smallest < -ROUNDING * np.abs(matrix).max():
        raise MaxEntError(f"{name} must be positive semi-definite, but has the eigenvalue {smallest:.4g}.")
    return matrix
