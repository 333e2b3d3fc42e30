"""Twin delayed DDPG."""

from collections.abc import Callable

from torch import nn

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.deterministic import DeterministicAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.noise import GaussianNoise, NoiseBuilder
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.targets import PolyakTarget, TargetBuilder


def clipped_noise(dim: int) -> GaussianNoise:
    """Gaussian noise with standard deviation .2, clipped at .5: Fujimoto et al. 2018, section 6.1."""
    return GaussianNoise(dim, std=0.2, clip=0.5)


class TD3(DeterministicAlgorithm):
    """DDPG with a twin critic, noise on the next action in the backup, and a policy update at every second update.

    Fujimoto et al. 2018 (arXiv 1802.09477v3), algorithm 1, with two differences: the policy maximizes ``critic.value``,
    which is the minimum for the twin critic, and not Q1; and the target networks are updated at every update, not only
    together with the policy.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be continuous.
        critic: builds the critic Q; the minimum of two Q in Fujimoto et al. 2018.
        policy: builds the policy, ``[batch, obs_dim] -> [batch, action_dim]`` in [-1, 1], from ``obs_dim`` and
            ``action_dim``.
        noise: builds the noise on actions that collect training data; standard deviation .1 in appendix C of
            Fujimoto et al. 2018.
        smoothing: builds the noise on the next action in the backup.
        target: builds the target networks.
        optimizers: optimizers and learning-rate schedules of the networks.
        policy_delay: number of updates of Q per update of the policy; 2 in section 6.1 of Fujimoto et al. 2018.
        discount: gamma in [0, 1]; .99 in Fujimoto et al. 2018.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: Callable[[int, int], nn.Module],
        noise: NoiseBuilder = GaussianNoise,
        smoothing: NoiseBuilder = clipped_noise,
        target: TargetBuilder = PolyakTarget,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        policy_delay: int = 2,
        discount: float = 0.99,
    ):
        super().__init__(obs_dim, actions, critic, policy, noise, smoothing, target, optimizers, policy_delay, discount)
