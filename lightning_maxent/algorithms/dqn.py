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
    """Q-learning, which is soft Q-learning at ``alpha = 0``: the backup has the maximum, and the policy is greedy.

    Mnih et al. 2015, algorithm 1, with any critic.

    Args:
        obs_dim: size of the flattened observation.
        actions: the action space; must be finite.
        critic: builds the critic Q.
        exploration: builds the rule for actions that collect training data, such as ``EpsilonGreedy``.
        target: builds the target network of Q; a copy every 10,000 updates in extended data
            table 1 of Mnih et al. 2015.
        optimizers: optimizers and learning-rate schedules of the networks.
        discount: gamma in [0, 1]; .99 in extended data table 1 of Mnih et al. 2015.
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
