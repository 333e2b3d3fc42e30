"""Base classes of the algorithms for continuous actions."""

from abc import ABC

from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import AbstractActions, BoxActions
from lightning_maxent.algorithms.action_value import ActionValueAlgorithm
from lightning_maxent.critics.base import CriticBuilder
from lightning_maxent.critics.building import build_critic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.objectives import soft_value
from lightning_maxent.optimizers import Optimizers
from lightning_maxent.policies.base import PolicyBuilder
from lightning_maxent.policies.building import build_policy
from lightning_maxent.targets import AbstractTarget
from lightning_maxent.temperature import TemperatureBuilder
from lightning_maxent.transition import Transition


class ContinuousAlgorithm(ActionValueAlgorithm, ABC):
    """An algorithm with a critic for actions in ``[-1, 1]^dim``.

    Raises:
        MaxEntError: for finite actions.
    """

    target_critic: AbstractTarget  # only in algorithms with a target critic

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        temperature: TemperatureBuilder,
        optimizers: Optimizers,
        discount: float,
    ):
        if not isinstance(actions, BoxActions):
            raise MaxEntError(
                f"{type(self).__name__} needs continuous actions (a Box), but this environment has finite actions: use "
                f"SoftQLearning or DiscreteSAC, or a continuous variant of the task (e.g. `continuous: true` in the "
                f"env_kwargs of LunarLander-v3)."
            )
        super().__init__(temperature(actions), optimizers, discount)
        self.critic = build_critic(critic, obs_dim, actions.dim)

    def predictions(
        self,
        batch: Transition,
        next_obs: Float[Tensor, "pair obs_dim"],
        next_action: Float[Tensor, "pair action_dim"],
    ) -> tuple[Float[Tensor, "member batch *atom"], Float[Tensor, "member pair *atom"]]:
        """Predictions of Q for ``(s, a)``, and of the target critic for the next pairs, without gradients."""
        pairs = (batch.obs, batch.action), (next_obs, next_action)
        return self.target_critic.predictions(self.critic, nn.Module.__call__, *pairs)

    def q_value(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, " batch"]:
        return self.critic.value(self.critic(obs, action))


class ActorCritic(ContinuousAlgorithm, ABC):
    """An algorithm with a critic and a policy with a density.

    Raises:
        MaxEntError: for finite actions, or a policy without a density.
    """

    def __init__(
        self,
        obs_dim: int,
        actions: AbstractActions,
        critic: CriticBuilder,
        policy: PolicyBuilder,
        temperature: TemperatureBuilder,
        optimizers: Optimizers,
        discount: float,
    ):
        super().__init__(obs_dim, actions, critic, temperature, optimizers, discount)
        self.policy = build_policy(policy, obs_dim, actions.dim)

    def _act(self, obs: Float[Tensor, "batch obs_dim"], deterministic: bool) -> Float[Tensor, "batch action_dim"]:
        return self.policy.act(obs, deterministic)

    def value_and_entropy(
        self, obs: Float[Tensor, "batch obs_dim"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """The soft value and the entropy of the policy in every state, each estimated from one action."""
        action, log_prob = self.policy(obs)
        return soft_value(self.q_value(obs, action), log_prob, self.temperature()), -log_prob
