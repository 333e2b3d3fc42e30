"""Maximum entropy reinforcement learning on PyTorch Lightning.

An algorithm is a dictionary of losses, keyed by the network that each one moves; everything else is a part.
"""

from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.algorithms.target_critic_sac import TargetCriticSAC
from lightning_maxent.critics.base import AbstractCritic
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.data.replay import ReplayDataModule
from lightning_maxent.errors import MaxEntError
from lightning_maxent.policies.base import AbstractPolicy
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.targets import AbstractTarget, PeriodicTarget, PolyakTarget
from lightning_maxent.temperature import AbstractTemperature, FixedTemperature, LearnedTemperature
from lightning_maxent.transition import Episode, Round, Transition
from lightning_maxent.value import StateValue

__all__ = [
    "SAC",
    "AbstractAlgorithm",
    "AbstractCritic",
    "AbstractPolicy",
    "AbstractTarget",
    "AbstractTemperature",
    "Episode",
    "FixedTemperature",
    "LearnedTemperature",
    "MaxEntError",
    "PeriodicTarget",
    "PolyakTarget",
    "ReplayDataModule",
    "Round",
    "SquashedGaussian",
    "StateValue",
    "TargetCriticSAC",
    "Transition",
    "TwinCritic",
]
