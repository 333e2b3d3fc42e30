"""Soft Q-learning for finite actions."""

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.q_learning import QLearning
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exploration import ExplorationBuilder, PolicyExploration
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.targets import PolyakTarget, TargetBuilder
from lightning_maxent.temperature import FixedTemperature, TemperatureBuilder


class SoftQLearning(QLearning):
    """Q with a target network; the policy is the softmax of Q.  Haarnoja et al. 2017 (arXiv 1702.08165v2), section 3.

    Q regresses on ``r + gamma V(s')`` with ``V(s') = alpha log sum_a exp(Q'(s',a)/alpha)`` and the target network Q'.
    At ``alpha = 0`` V is the maximum over actions, and the algorithm is Q-learning.

    A ``MultiDiscrete`` action with few combinations is treated as one choice among all of them, without approximation.
    With too many combinations, Q is a sum over factors, and its Boltzmann policy is a product over factors.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be finite.
        critic: builds the critic Q.
        temperature: builds alpha, the weight of entropy, from ``actions``.
        target: builds the target network of Q.
        exploration: builds the rule for actions that collect training data.
        optimizers: optimizers and learning-rate schedules of the networks.
        discount: gamma in [0, 1].
    """

    networks = ("critic", "temperature")

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        temperature: TemperatureBuilder = FixedTemperature,
        target: TargetBuilder = PolyakTarget,
        exploration: ExplorationBuilder = PolicyExploration,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        discount: float = 0.99,
    ):
        super().__init__(obs_dim, actions, critic, temperature, target, exploration, optimizers, discount)
