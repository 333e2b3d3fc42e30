"""What ``from lightning_maxent import …`` offers."""

from lightning_maxent.actions import AbstractActions, BoxActions, FiniteActions
from lightning_maxent.algorithms.a2c import A2C
from lightning_maxent.algorithms.base import AbstractAlgorithm
from lightning_maxent.algorithms.continuous import ActorCritic, ContinuousAlgorithm
from lightning_maxent.algorithms.continuous_soft_q_learning import ContinuousSoftQLearning
from lightning_maxent.algorithms.ddpg import DDPG
from lightning_maxent.algorithms.discrete_sac import DiscreteSAC
from lightning_maxent.algorithms.discrete_value_sac import DiscreteValueSAC
from lightning_maxent.algorithms.dqn import DQN
from lightning_maxent.algorithms.feeding import AbstractFeeding, Replay, Rollouts
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.algorithms.on_policy import AdvantageAlgorithm, OnPolicyAlgorithm, Sample
from lightning_maxent.algorithms.ppo import PPO
from lightning_maxent.algorithms.q_learning import QLearning
from lightning_maxent.algorithms.reinforce import REINFORCE
from lightning_maxent.algorithms.reppo import REPPO, TrustRegion
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.algorithms.soft_q_learning import SoftQLearning
from lightning_maxent.algorithms.td3 import TD3
from lightning_maxent.algorithms.value_sac import ValueSAC
from lightning_maxent.callbacks.histograms import GradientHistograms, Histograms
from lightning_maxent.callbacks.recorded_data import RecordedData
from lightning_maxent.callbacks.warm_start import WarmStart
from lightning_maxent.critics.base import AbstractCritic, CriticBuilder, ReturnDistribution
from lightning_maxent.critics.categorical import (
    AbstractHistogram,
    CategoricalCritic,
    GaussianHistogram,
    ProjectedHistogram,
    TwoHotHistogram,
)
from lightning_maxent.critics.ensemble import EnsembleCritic
from lightning_maxent.critics.quantile import AbstractPooling, MeanPooling, QuantileCritic, TruncatedPooling
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.critics.twin_heads import TwinHeadsCritic
from lightning_maxent.data.replay import ReplayDataModule
from lightning_maxent.data.rollout import RolloutDataModule
from lightning_maxent.data.scaling import (
    AbstractObservationScaling,
    AbstractRewardScaling,
    FixedScaleRewards,
    RawObservations,
    RawRewards,
    ReturnScaledRewards,
    StandardizedObservations,
)
from lightning_maxent.data.vectorization import OneProcess, VectorizationBuilder
from lightning_maxent.data.worker_processes import WorkerProcesses
from lightning_maxent.data.wrapping import WrapperBuilder
from lightning_maxent.deployment.exported_policy import ExportReport, export_policy
from lightning_maxent.entropy_objectives import AbstractEntropyObjective, CurrentEntropy, TrajectoryEntropy
from lightning_maxent.errors import MaxEntError
from lightning_maxent.execution import AbstractExecution, Compiled, CudaGraph, Eager
from lightning_maxent.exploration import (
    AbstractExploration,
    EpsilonGreedy,
    ExplorationBuilder,
    PolicyExploration,
    SoftmaxExploration,
)
from lightning_maxent.loggers.tidy_csv import TidyCSVLogger
from lightning_maxent.loggers.wandb import WandbLogger
from lightning_maxent.networks import (
    MLP,
    AbstractConstraint,
    BatchRenormMLP,
    BroNet,
    DropoutMLP,
    EnsembleLinear,
    FlashNet,
    Float32Output,
    NetworkBuilder,
    SimBa,
    TanhMLP,
)
from lightning_maxent.noise import AbstractNoise, GaussianNoise, NoNoise, OrnsteinUhlenbeckNoise
from lightning_maxent.optimizers import DEFAULT_OPTIMIZERS, FusedAdam, Optimizers
from lightning_maxent.particles import AbstractParticles, PolicyExpectation, PolicyParticles, UniformParticles
from lightning_maxent.policies.base import (
    AbstractComparablePolicy,
    AbstractDistribution,
    AbstractExplicitPolicy,
    AbstractFinitePolicy,
    AbstractPolicy,
    AbstractSampler,
    AbstractSquashedPolicy,
    ExplicitPolicyBuilder,
    FinitePolicyBuilder,
    PolicyBuilder,
)
from lightning_maxent.policies.categorical import Categorical
from lightning_maxent.policies.deterministic import Deterministic
from lightning_maxent.policies.flow import FlowPolicy
from lightning_maxent.policies.gaussian import Gaussian
from lightning_maxent.policies.gaussian_or_categorical import GaussianOrCategorical
from lightning_maxent.policies.mixture import MixtureOfGaussians
from lightning_maxent.policies.squashed_gaussian import AbstractLogStd, ClippedLogStd, SquashedGaussian, TanhLogStd
from lightning_maxent.policies.stein_sampler import SteinSampler
from lightning_maxent.policy_loading import load_policy
from lightning_maxent.policy_updates import AbstractPolicyUpdate, DivergenceUpdate, SteinUpdate
from lightning_maxent.run_trainer import make_trainer
from lightning_maxent.schedules import AbstractSchedule, ConstantSchedule, ExponentialSchedule, LinearSchedule
from lightning_maxent.sharing.shared_policy import share_policy
from lightning_maxent.strategy import GradientAveragingStrategy
from lightning_maxent.targets import (
    AbstractTarget,
    JointPass,
    JointPolyakTarget,
    PeriodicTarget,
    PolyakTarget,
    TargetBuilder,
    frozen,
)
from lightning_maxent.temperature import (
    AbstractTemperature,
    AnnealedTemperature,
    FixedTemperature,
    LearnedTemperature,
    TemperatureBuilder,
)
from lightning_maxent.trained_policy import TrainedPolicy
from lightning_maxent.transition import Episode, Rollout, Round, Transition
from lightning_maxent.value import StateValue, ValueBuilder
from lightning_maxent.videos.episode_table import EpisodeTable
from lightning_maxent.videos.episode_videos import EpisodeVideos
from lightning_maxent.videos.episodes import record_episodes

__all__ = [
    "A2C",
    "DDPG",
    "DEFAULT_OPTIMIZERS",
    "DQN",
    "MLP",
    "PPO",
    "REINFORCE",
    "REPPO",
    "SAC",
    "TD3",
    "AbstractActions",
    "AbstractAlgorithm",
    "AbstractComparablePolicy",
    "AbstractConstraint",
    "AbstractCritic",
    "AbstractDistribution",
    "AbstractEntropyObjective",
    "AbstractExecution",
    "AbstractExplicitPolicy",
    "AbstractExploration",
    "AbstractFeeding",
    "AbstractFinitePolicy",
    "AbstractHistogram",
    "AbstractLogStd",
    "AbstractNoise",
    "AbstractObservationScaling",
    "AbstractParticles",
    "AbstractPolicy",
    "AbstractPolicyUpdate",
    "AbstractPooling",
    "AbstractRewardScaling",
    "AbstractSampler",
    "AbstractSchedule",
    "AbstractSquashedPolicy",
    "AbstractTarget",
    "AbstractTemperature",
    "ActorCritic",
    "AdvantageAlgorithm",
    "AnnealedTemperature",
    "BatchRenormMLP",
    "BoxActions",
    "BroNet",
    "Categorical",
    "CategoricalCritic",
    "ClippedLogStd",
    "Compiled",
    "ConstantSchedule",
    "ContinuousAlgorithm",
    "ContinuousSoftQLearning",
    "CriticBuilder",
    "CudaGraph",
    "CurrentEntropy",
    "Deterministic",
    "DiscreteSAC",
    "DiscreteValueSAC",
    "DivergenceUpdate",
    "DropoutMLP",
    "Eager",
    "EnsembleCritic",
    "EnsembleLinear",
    "Episode",
    "EpisodeTable",
    "EpisodeVideos",
    "EpsilonGreedy",
    "ExplicitPolicyBuilder",
    "ExplorationBuilder",
    "ExponentialSchedule",
    "ExportReport",
    "FiniteActions",
    "FiniteAlgorithm",
    "FinitePolicyBuilder",
    "FixedScaleRewards",
    "FixedTemperature",
    "FlashNet",
    "Float32Output",
    "FlowPolicy",
    "FusedAdam",
    "Gaussian",
    "GaussianHistogram",
    "GaussianNoise",
    "GaussianOrCategorical",
    "GradientAveragingStrategy",
    "GradientHistograms",
    "Histograms",
    "JointPass",
    "JointPolyakTarget",
    "LearnedTemperature",
    "LinearSchedule",
    "MaxEntError",
    "MeanPooling",
    "MixtureOfGaussians",
    "NetworkBuilder",
    "NoNoise",
    "OnPolicyAlgorithm",
    "OneProcess",
    "Optimizers",
    "OrnsteinUhlenbeckNoise",
    "PeriodicTarget",
    "PolicyBuilder",
    "PolicyExpectation",
    "PolicyExploration",
    "PolicyParticles",
    "PolyakTarget",
    "ProjectedHistogram",
    "QLearning",
    "QuantileCritic",
    "RawObservations",
    "RawRewards",
    "RecordedData",
    "Replay",
    "ReplayDataModule",
    "ReturnDistribution",
    "ReturnScaledRewards",
    "Rollout",
    "RolloutDataModule",
    "Rollouts",
    "Round",
    "Sample",
    "SimBa",
    "SoftQLearning",
    "SoftmaxExploration",
    "SquashedGaussian",
    "StandardizedObservations",
    "StateValue",
    "SteinSampler",
    "SteinUpdate",
    "TanhLogStd",
    "TanhMLP",
    "TargetBuilder",
    "TemperatureBuilder",
    "TidyCSVLogger",
    "TrainedPolicy",
    "TrajectoryEntropy",
    "Transition",
    "TruncatedPooling",
    "TrustRegion",
    "TwinCritic",
    "TwinHeadsCritic",
    "TwoHotHistogram",
    "UniformParticles",
    "ValueBuilder",
    "ValueSAC",
    "VectorizationBuilder",
    "WandbLogger",
    "WarmStart",
    "WorkerProcesses",
    "WrapperBuilder",
    "export_policy",
    "frozen",
    "load_policy",
    "make_trainer",
    "record_episodes",
    "share_policy",
]
