"""Deep deterministic policy gradient."""

from collections.abc import Callable

from torch import nn

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.deterministic import DeterministicAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.noise import GaussianNoise, NoiseBuilder, NoNoise
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.targets import PolyakTarget, TargetBuilder


class DDPG(DeterministicAlgorithm):
    """A deterministic policy that maximizes Q, with target networks and exploration by noise; without entropy.

    Q regresses on ``r + gamma Q'(s', mu'(s'))`` with the target networks Q' and mu'.  Lillicrap et al. 2015 (arXiv
    1509.02971v6), algorithm 1.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds the critic Q.
        policy: builds the policy, ``[batch, obs_dim] -> [batch, action_dim]`` in [-1, 1], from ``obs_dim`` and
            ``action_dim``.
        noise: builds the noise on actions that collect training data.
        smoothing: builds the noise on the next action in the backup.
        target: builds the target networks.
        optimizers: optimizers and learning-rate schedules of the networks.
        policy_delay: number of updates of Q and the target networks per update of the policy.
        discount: gamma in [0, 1]; .99 in Lillicrap et al. 2015.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: Callable[[int, int], nn.Module],
        noise: NoiseBuilder = GaussianNoise,
        smoothing: NoiseBuilder = NoNoise,
        target: TargetBuilder = PolyakTarget,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        policy_delay: int = 1,
        discount: float = 0.99,
    ):
        super().__init__(obs_dim, actions, critic, policy, noise, smoothing, target, optimizers, policy_delay, discount)
