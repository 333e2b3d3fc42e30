"""Every equation of the project as a pure function.

Maximum entropy reinforcement learning maximizes ``E[sum_t gamma^t (r_t + alpha H(pi(.|s_t)))]``: the rewards plus the
entropy of the policy in every visited state, weighted by the temperature ``alpha``.  The functions return one number
per transition; the caller takes the mean.  Shapes: ``batch`` transitions, ``member`` critics of an ensemble, ``atom``
numbers that describe one return (one for a scalar critic).

Sources, cited below by name:

- Williams & Peng 1991, "Function optimization using connectionist reinforcement learning algorithms".
- Haarnoja et al. 2018a, "Soft Actor-Critic: Off-Policy Maximum Entropy Deep RL with a Stochastic Actor",
  arXiv 1801.01290v2.
- Haarnoja et al. 2018b, "Soft Actor-Critic Algorithms and Applications", arXiv 1812.05905v2.
- Haarnoja et al. 2017, "Reinforcement Learning with Deep Energy-Based Policies", arXiv 1702.08165v2.
- Bellemare et al. 2017, "A Distributional Perspective on Reinforcement Learning", arXiv 1707.06887v1.
- Dabney et al. 2018, "Distributional Reinforcement Learning with Quantile Regression", arXiv 1710.10044v1.
- Kuznetsov et al. 2020, "Controlling Overestimation Bias with Truncated Mixture of Continuous Distributional Quantile
  Critics", arXiv 2005.04269v1.
- Imani & White 2018, "Improving Regression Performance with Distributional Losses", arXiv 1806.04613v1.
- Liu & Wang 2016, "Stein Variational Gradient Descent", arXiv 1608.04471v3.
- Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning".
- Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning", arXiv 1602.01783v2.
- Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
  arXiv 1506.02438v6.
- Schulman et al. 2017b, "Proximal Policy Optimization Algorithms", arXiv 1707.06347v2.
- Christodoulou 2019, "Soft Actor-Critic for Discrete Action Settings", arXiv 1910.07207v2.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

Scalar = Float[Tensor, ""]

Error = Callable[[Tensor, Tensor], Any]  # a Tensor; the command line would refuse one with a shape
"""An elementwise error between predictions and targets: ``squared_error`` or ``huber_error``."""


def soft_value(
    q: Float[Tensor, "*shape"], log_prob: Float[Tensor, "*#shape"], alpha: Scalar
) -> Float[Tensor, "*shape"]:
    """One-sample estimate of ``V(s) = E_pi[Q(s,a) - alpha log pi(a|s)]``.  Haarnoja et al. 2018a, eq. 3."""
    return q - alpha * log_prob


def soft_bellman_target(
    reward: Float[Tensor, "*#shape"],
    terminated: Bool[Tensor, "*#shape"],
    next_value: Float[Tensor, "*shape"],
    discount: float,
) -> Float[Tensor, "*shape"]:
    """``r + gamma (1 - d) V(s')``, detached.  Haarnoja et al. 2018a, eq. 8; ``d`` is termination, never truncation."""
    return (reward + discount * next_value.masked_fill(terminated, 0.0)).detach()


def squared_error(prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
    """``(prediction - target)^2`` with a detached target; Haarnoja et al. 2018a, eqs. 5 and 7, have a factor of 1/2."""
    return (prediction - target.detach()).square()


def huber_error(prediction: Float[Tensor, "*shape"], target: Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
    """``squared_error`` up to an error of 1, linear beyond it with the same slope; with a detached target.

    The clipped error of Mnih et al. 2015 (Human-level control, Nature 518), "Methods"; twice the loss of Huber 1964 with
    a threshold of 1.
    """
    return 2 * functional.huber_loss(prediction, target.detach().expand_as(prediction), reduction="none")


def quantile_huber(
    quantiles: Float[Tensor, "*batch quantile"],
    atoms: Float[Tensor, "*#batch atom"],
    probs: Float[Tensor, "*#batch atom"],
) -> Float[Tensor, "*batch"]:
    """``mean_i sum_j p_j |tau_i - 1[z_j < q_i]| h(z_j - q_i)`` with levels ``tau_i = (2i + 1) / 2n``, detached targets.

    ``h`` is the Huber loss with threshold 1.  Dabney et al. 2018, eq. 10; Kuznetsov et al. 2020, eq. 8.

    The code does not sum over all pairs.  ``h`` is quadratic or linear in ``z``.  So its sum over sorted atoms between
    two bounds is a difference of cumulative sums of ``p``, ``p z`` and ``p z^2``.  These sums are in float64, because
    large terms cancel.
    """
    shape = torch.broadcast_shapes(quantiles.shape[:-1], atoms.shape[:-1])
    z, order = atoms.detach().double().sort(-1)
    p = probs.detach().double().expand_as(z).gather(-1, order)
    sums = [functional.pad((p * z**power).cumsum(-1), (1, 0)).expand(*shape, -1) for power in range(3)]
    z, q = z.expand(*shape, -1).contiguous(), quantiles.double()

    def below(bound: Tensor) -> list[Tensor]:
        """The sums of p, p z and p z^2 over all atoms up to ``bound``."""
        index = torch.searchsorted(z, bound.detach().contiguous())
        return [running.gather(-1, index) for running in sums]

    def parabolas(low: list[Tensor], high: list[Tensor]) -> Tensor:
        """The sum of ``p (z - q)^2 / 2`` between two bounds."""
        mass, first, second = (upper - lower for lower, upper in zip(low, high))
        return (second - 2 * q * first + q.square() * mass) / 2

    low, middle, high, everything = below(q - 1), below(q), below(q + 1), [running[..., -1:] for running in sums]
    over = parabolas(middle, high) + (everything[1] - high[1]) - (q + 0.5) * (everything[0] - high[0])
    under = parabolas(low, middle) + (q - 0.5) * low[0] - low[1]
    count = quantiles.shape[-1]
    levels = (torch.arange(count, device=q.device) + 0.5) / count
    return (levels * over + (1 - levels) * under).mean(-1).to(quantiles.dtype)


def projection(
    atoms: Float[Tensor, "*batch atom"], probs: Float[Tensor, "*batch atom"], centers: Float[Tensor, " bin"]
) -> Float[Tensor, "*batch bin"]:
    """Projects a distribution onto equally spaced ``centers``: the two nearest ones share the probability of an atom.

    This keeps the mean, except that atoms outside the range are moved to its ends.  Bellemare et al. 2017, eq. 7.  For
    a single atom this is the two-hot encoding.
    """
    last = len(centers) - 1
    position = ((atoms - centers[0]) * (last / (centers[-1] - centers[0]))).clamp(0, last)
    below = position.nan_to_num().long().clamp(max=last - 1)  # any index for NaN; the probabilities become NaN below
    above = position - below
    histogram = torch.zeros(*atoms.shape[:-1], len(centers), dtype=atoms.dtype, device=atoms.device)
    histogram.scatter_add_(-1, below, probs * (1 - above))
    return histogram.scatter_add_(-1, below + 1, probs * above)


def gaussian_histogram(
    mean: Float[Tensor, "*batch"], centers: Float[Tensor, " bin"], sigma: float
) -> Float[Tensor, "*batch bin"]:
    """The probability of ``N(mean, (sigma width)^2)``, truncated to the range, in equally wide bins around ``centers``.

    Imani & White 2018; Farebrother et al. 2024 (arXiv 2403.03950), section 3.2.
    """
    width = (centers[-1] - centers[0]) / (len(centers) - 1)
    edges = torch.cat((centers - width / 2, centers[-1:] + width / 2))
    inside = mean.clamp(edges[0], edges[-1]).unsqueeze(-1)
    mass = torch.special.ndtr((edges - inside) / (sigma * width)).diff(dim=-1)
    return mass / mass.sum(-1, keepdim=True)


def cross_entropy(
    logits: Float[Tensor, "*batch bin"], histogram: Float[Tensor, "*#batch bin"]
) -> Float[Tensor, "*batch"]:
    """``-sum_k p_k log q_k`` for a detached histogram ``p`` and the softmax ``q`` of ``logits``."""
    return -(histogram.detach() * logits.log_softmax(-1)).sum(-1)


def value_loss(
    value: Float[Tensor, " batch"], q: Float[Tensor, " batch"], log_prob: Float[Tensor, " batch"], alpha: Scalar
) -> Float[Tensor, " batch"]:
    """``(V(s) - (Q(s,a) - alpha log pi(a|s)))^2`` with ``a ~ pi(.|s)``.  Haarnoja et al. 2018a, eq. 5."""
    return squared_error(value, soft_value(q, log_prob, alpha))


def policy_loss(
    q: Float[Tensor, " batch"], log_prob: Float[Tensor, " batch"], alpha: Scalar
) -> Float[Tensor, " batch"]:
    """``alpha log pi(a|s) - Q(s,a)`` with a reparameterized action ``a``.  Haarnoja et al. 2018b, eq. 9.

    In expectation this is ``alpha KL(pi || exp(Q/alpha)/Z) - alpha log Z``, where ``Z`` does not depend on the policy.
    Eq. 12 of Haarnoja et al. 2018a is divided by ``alpha``.
    """
    return alpha.detach() * log_prob - q


def temperature_loss(
    alpha: Scalar, log_prob: Float[Tensor, " batch"], target_entropy: Scalar
) -> Float[Tensor, " batch"]:
    """``-alpha (log pi(a|s) + H)`` with target entropy ``H`` in nats.  Haarnoja et al. 2018b, eq. 18."""
    return -alpha * (log_prob + target_entropy).detach()


def boltzmann_log_probs(q: Float[Tensor, "*batch action"], alpha: Scalar) -> Float[Tensor, "*batch action"]:
    """``log pi(a|s) = Q(s,a) / alpha - log sum_b exp(Q(s,b) / alpha)``.  Haarnoja et al. 2017, eq. 6.

    At ``alpha = 0`` this is the limit: uniform over the best actions, ``-inf`` for all others.
    """
    behind = q - q.amax(-1, keepdim=True)
    hard = behind.masked_fill(behind < 0, -math.inf)
    soft = behind / torch.where(alpha > 0, alpha, 1.0)
    return torch.where(alpha > 0, soft, hard).log_softmax(-1)


def categorical_entropy(log_probs: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch"]:
    """``H(pi(.|s)) = -sum_a pi(a|s) log pi(a|s)`` in nats; actions of probability zero add nothing.

    For an action of several independent factors, this is the sum of their entropies, the entropy of the whole action.
    """
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -math.inf, 0.0)).sum(-1)


def expected_soft_value(
    q: Float[Tensor, "*batch action atom"], log_probs: Float[Tensor, "*batch action"], alpha: Scalar
) -> Float[Tensor, "*batch atom"]:
    """``V(s) = sum_a pi(a|s) Q(s,a) + alpha H(pi(.|s))``, exact over finite actions.  Christodoulou 2019, eq. 10.

    For the Boltzmann policy of Q this is ``alpha log sum_a exp(Q(s,a) / alpha)``.  For an action of several factors, Q
    is a sum over the factors, and ``q`` holds its terms.
    """
    expectation = (log_probs.exp().unsqueeze(-1) * q).sum(-2)
    return expectation + alpha * categorical_entropy(log_probs).unsqueeze(-1)


def soft_mixture(
    q: Float[Tensor, "*batch action atom"],
    probs: Float[Tensor, "*batch action atom"],
    log_weights: Float[Tensor, "*batch action"],
    log_probs: Float[Tensor, "*batch action"],
    alpha: Scalar,
) -> tuple[Float[Tensor, "*batch atoms"], Float[Tensor, "*batch atoms"]]:
    """The distribution of ``Q(s,a) - alpha log pi(a|s)`` for an action drawn with the given weights.

    ``q`` holds the atoms of the return of every action, and ``probs`` their probabilities.  If the weights are the
    probabilities of the policy, the mean is ``expected_soft_value``.

    Returns:
        The atoms of all actions and their probabilities.
    """
    bonus = -alpha * log_probs.masked_fill(log_probs == -math.inf, 0.0)
    atoms, weights = q + bonus.unsqueeze(-1), probs * log_weights.exp().unsqueeze(-1)
    return atoms.flatten(-2), weights.flatten(-2)


def importance_log_probs(
    q: Float[Tensor, "*batch particle"], log_density: Float[Tensor, "*batch particle"], alpha: Scalar
) -> tuple[Float[Tensor, "*batch particle"], Float[Tensor, "*batch particle"]]:
    """``log pi(a_k|s) = (Q(s,a_k) - V(s)) / alpha`` with ``V(s) = alpha log mean_k exp(Q(s,a_k)/alpha) / p(a_k)``.

    Haarnoja et al. 2017, eqs. 6 and 10; particles ``a_k`` drawn with density ``p``.

    At ``alpha = 0`` V is the maximum over the particles.

    Returns:
        Logarithms of the importance weights ``pi(a_k|s) / p(a_k)``, normalized to sum to one, and ``log pi(a_k|s)``,
        which is finite even if the weight is zero.
    """
    log_weights = boltzmann_log_probs(q - alpha * log_density, alpha)
    finite = log_weights.masked_fill(log_weights == -math.inf, 0.0)
    return log_weights, finite + log_density + math.log(q.shape[-1])


def stein_direction(
    particles: Float[Tensor, "batch particle dim"], slope: Float[Tensor, "batch particle dim"], alpha: Scalar
) -> Float[Tensor, "batch particle dim"]:
    """``phi(y_i) = mean_j k(x_j, y_i) slope(x_j) + alpha grad_{x_j} k(x_j, y_i)`` over the other particles.

    The first term moves particles along the ``slope``, ``alpha grad log p``, of their neighbors; the second moves them
    away from their neighbors.  Haarnoja et al. 2017, eq. 13; ``alpha`` times Liu & Wang 2016, eq. 8, with
    ``k(x, y) = exp(-||x - y||^2 / h)`` and their bandwidth: in each state, ``h`` is the median of the squared distances
    between two particles divided by the logarithm of their number, and at least 1e-3.

    Both papers also include ``j = i`` in the mean, which adds slope but no repulsion.  With 32 fresh particles per
    update, samples in the multi-goal world then have lengths that are a fifth too small.  Without ``j = i``, samples of
    ``p`` do not move on average.
    """
    count = particles.shape[1]
    squared = torch.cdist(particles, particles, compute_mode="donot_use_mm_for_euclid_dist").square()
    one, other = torch.triu_indices(count, count, 1, device=particles.device)  # a mask would wait for the device
    bandwidth = (squared[:, one, other].median(-1).values / math.log(count)).clamp(min=1e-3)[:, None, None]
    kernel = (-squared / bandwidth).exp() - torch.eye(count, dtype=squared.dtype, device=squared.device)
    push = 2 * alpha / bandwidth  # alpha grad_{x_j} k(x_j, y_i) = push k(x_j, y_i) (y_i - x_j)
    return (kernel @ (slope - push * particles) + push * kernel.sum(2, keepdim=True) * particles) / (count - 1)


def expected_policy_loss(
    q: Float[Tensor, "batch action"], log_probs: Float[Tensor, "batch action"], alpha: Scalar
) -> Float[Tensor, " batch"]:
    """``sum_a pi(a|s) (alpha log pi(a|s) - Q(s,a))``, with detached Q and ``alpha``.

    Christodoulou 2019, eq. 12; minus ``expected_soft_value``.
    """
    return -expected_soft_value(q.detach().unsqueeze(-1), log_probs, alpha.detach()).squeeze(-1)


def normal_log_prob(noise: Float[Tensor, "*shape"], log_std: Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
    """``log N(mean + std noise; mean, std^2)`` of each coordinate, from the standard normal ``noise`` of the sample."""
    return -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)


def tanh_log_det(u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``log(1 - tanh(u)^2)``, computed as ``2 (log 2 - u - softplus(-2u))``, which is exact for large ``|u|``.

    The change of variables of Haarnoja et al. 2018a, appendix C, eq. 21.
    """
    return 2 * (math.log(2) - u - functional.softplus(-2 * u))


def soft_returns(
    reward: Float[Tensor, " time"],
    entropy: Float[Tensor, " time"],
    alpha: Scalar,
    discount: float,
    bootstrap: Scalar,
) -> Float[Tensor, " time"]:
    """Monte Carlo soft action values of one episode, ``G_t = r_t + gamma (alpha H_{t+1} + G_{t+1})``.

    Like Q, ``G_t`` includes the reward at step t but not the entropy at step t: ``entropy[0]`` is not used.
    ``bootstrap`` is the soft value of the state after the last step, zero if that state is terminal.
    """
    returns = torch.empty_like(reward)
    value = bootstrap
    for t in range(len(reward) - 1, -1, -1):
        returns[t] = reward[t] + discount * value
        value = returns[t] + alpha * entropy[t]
    return returns


# ---- on policy -------------------------------------------------------------------------------------------------------


def generalized_advantages(
    error: Float[Tensor, "time *env"], done: Bool[Tensor, "time *env"], decay: float
) -> Float[Tensor, "time *env"]:
    """``A_t = delta_t + decay A_{t+1}`` within episodes, for one-step errors ``delta_t = r + gamma V(s') - V(s)``.

    With ``decay = gamma lambda`` this is Schulman et al. 2016, eq. 16.  ``done`` marks the last step of an episode.
    The sum ends at the last row.
    """
    advantages, following = torch.empty_like(error), torch.zeros_like(error[0])
    for t in range(len(error) - 1, -1, -1):
        following = error[t] + decay * following.masked_fill(done[t], 0.0)
        advantages[t] = following
    return advantages


def policy_gradient_loss(
    log_prob: Float[Tensor, " batch"],
    advantage: Float[Tensor, " batch"],
    entropy: Float[Tensor, " batch"],
    alpha: Scalar,
) -> Float[Tensor, " batch"]:
    """``-A log pi(a|s) - alpha H(pi(.|s))`` with detached advantages.

    Its gradient is that of Williams 1992, theorem 1, with the entropy of Williams & Peng 1991; Mnih et al. 2016,
    section 4.
    """
    return -advantage.detach() * log_prob - alpha.detach() * entropy


def clipped_surrogate_loss(
    log_ratio: Float[Tensor, " batch"],
    advantage: Float[Tensor, " batch"],
    entropy: Float[Tensor, " batch"],
    alpha: Scalar,
    clip: float,
) -> Float[Tensor, " batch"]:
    """``-min(w A, clip(w, 1 - eps, 1 + eps) A) - alpha H(pi(.|s))`` with ``w = pi(a|s) / pi_old(a|s)``.

    Schulman et al. 2017b, eqs. 7 and 9, with detached advantages.
    """
    ratio, advantage = log_ratio.exp(), advantage.detach()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    return -surrogate - alpha.detach() * entropy
