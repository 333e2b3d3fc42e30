"""Deep Q-learning."""

from functools import partial

from lightning_maxent.actions import AbstractActions
from lightning_maxent.algorithms.q_learning import QLearning
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.exploration import ExplorationBuilder
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, Optimizers
from lightning_maxent.targets import PeriodicTarget, TargetBuilder
from lightning_maxent.temperature import FixedTemperature


class DQN(QLearning):
    """Soft Q-learning at ``alpha = 0``: the maximum in the backup, the best action as policy, and noise to explore.

    Mnih et al. 2015, algorithm 1, with any critic in the place of theirs.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be finite.
        critic: builds Q.
        exploration: builds what plays while learning, such as ``EpsilonGreedy``; nothing else tries other actions.
        target: builds the slow copy of Q; every 10,000 updates in extended data table 1 of the paper.
        optimizers: how to optimize the networks.
        discount: gamma; .99 there.
    """

    networks = ("critic",)

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        exploration: ExplorationBuilder,
        target: TargetBuilder = PeriodicTarget,
        optimizers: Optimizers = DEFAULT_OPTIMIZERS,
        discount: float = 0.99,
    ):
        hard = partial(FixedTemperature, alpha=0.0)
        super().__init__(obs_dim, actions, critic, hard, target, exploration, optimizers, discount)
