"""Exact solutions of small Markov decision processes, without the package's own equations."""

from typing import NamedTuple

import torch
from torch import Tensor


class MDP(NamedTuple):
    """Entering a state of ``terminal`` ends the episode; the row of such a state is not used."""

    reward: Tensor  # [state, action]
    transition: Tensor  # [state, action, next state]
    terminal: Tensor  # [next state]
    discount: float


def random_mdp(seed: int, states: int = 7, actions: int = 3, discount: float = 0.9) -> MDP:
    generator = torch.Generator().manual_seed(seed)
    transition = torch.rand(states, actions, states, generator=generator, dtype=torch.float64) ** 4
    terminal = torch.zeros(states, dtype=torch.bool)
    terminal[-1] = True
    return MDP(
        reward=torch.randn(states, actions, generator=generator, dtype=torch.float64),
        transition=transition / transition.sum(-1, keepdim=True),
        terminal=terminal,
        discount=discount,
    )


def random_policy(mdp: MDP, seed: int) -> Tensor:
    """Probabilities ``[state, action]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(mdp.reward.shape, generator=generator, dtype=torch.float64).softmax(-1)


def boltzmann(q: Tensor, alpha: float) -> Tensor:
    """``pi(a|s) = exp(Q(s,a) / alpha) / Z(s)``."""
    weights = ((q - q.amax(-1, keepdim=True)) / alpha).exp()
    return weights / weights.sum(-1, keepdim=True)


def soft_policy_evaluation(mdp: MDP, policy: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Soft Q and V of a policy, ``V = (I - gamma P_pi)^-1 (r_pi + alpha H(pi))``: no sampling, no iteration."""
    entropy = -torch.xlogy(policy, policy).sum(-1)
    continuation = mdp.transition * (~mdp.terminal)
    step = torch.einsum("sa,san->sn", policy, continuation)
    own = (policy * mdp.reward).sum(-1) + alpha * entropy
    value = torch.linalg.solve(torch.eye(len(own), dtype=own.dtype) - mdp.discount * step, own)
    return mdp.reward + mdp.discount * continuation @ value, value


def soft_value_iteration(mdp: MDP, alpha: float, iterations: int = 1000) -> tuple[Tensor, Tensor]:
    """Soft Q and V of the best policy, iterating ``V(s) = alpha log sum_a exp(Q(s,a) / alpha)``."""
    continuation = mdp.transition * (~mdp.terminal)
    q = torch.zeros_like(mdp.reward)
    for _ in range(iterations):
        q = mdp.reward + mdp.discount * continuation @ (alpha * (q / alpha).logsumexp(-1))
    return q, alpha * (q / alpha).logsumexp(-1)
