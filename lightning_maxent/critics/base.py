"""The contract of a critic: what every soft Q-function plugs in as."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_maxent.actions import FiniteActions
from lightning_maxent.errors import MaxEntError


class AbstractCritic(nn.Module, ABC):
    """A soft Q-function: an ensemble of ``member`` predictions of the return, each described by ``atom`` numbers.

    An algorithm calls ``forward`` for predictions, hands predictions to the other three methods, and never looks
    inside one.  All results are float32 under every precision.
    """

    @abstractmethod
    def forward(
        self, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
    ) -> Float[Tensor, "member batch *atom"]:
        """Predictions of the soft return of ``action`` in ``obs``; members must start different."""

    def every_action(
        self, obs: Float[Tensor, "batch obs_dim"], actions: Float[Tensor, "action action_dim"]
    ) -> Float[Tensor, "member batch action *atom"]:
        """Predictions for each of finitely many actions in every state.

        Asks for every pair; a critic that has an output per action overrides this to give them all in one pass.
        """
        batch, count = len(obs), len(actions)
        prediction = self(obs.repeat_interleave(count, dim=0), actions.repeat(batch, 1))
        return prediction.unflatten(1, (batch, count))

    @abstractmethod
    def value(self, prediction: Float[Tensor, "member batch *atom"]) -> Float[Tensor, " batch"]:
        """The one value that the policy climbs and V regresses on; each pair's for itself."""

    @abstractmethod
    def target(self, prediction: Float[Tensor, "member batch *atom"]) -> Float[Tensor, "batch target_atom"]:
        """What of the prediction for the next state enters the backup; one atom for a scalar critic."""

    @abstractmethod
    def loss(
        self, prediction: Float[Tensor, "member batch *atom"], target: Float[Tensor, "batch target_atom"]
    ) -> Float[Tensor, "member batch"]:
        """The error of every member against the backed-up target."""


def build_critic(builder: "CriticBuilder", obs_dim: int, action_dim: int) -> AbstractCritic:
    """Build a critic and see, on three pairs of zeros, that it keeps to the shapes of its contract.

    Without this, a critic of the wrong shape broadcasts and learns nonsense in silence.

    Raises:
        MaxEntError: names the method, what it returned and what was expected.
    """
    critic, batch = builder(obs_dim, action_dim), 3
    training = critic.training
    critic.eval()  # so that looking changes no statistics
    with torch.no_grad():
        prediction = critic(torch.zeros(batch, obs_dim), torch.zeros(batch, action_dim))
        _check_shape(critic, "forward", prediction, prediction.ndim in (2, 3) and prediction.shape[1] == batch)
        _check_shape(critic, "value", value := critic.value(prediction), value.shape == (batch,))
        target = critic.target(prediction)
        _check_shape(critic, "target", target, target.ndim == 2 and len(target) == batch)
        loss = critic.loss(prediction, target)
        _check_shape(critic, "loss", loss, loss.shape == prediction.shape[:2])
    return critic.train(training)


def build_finite_critic(builder: "CriticBuilder", obs_dim: int, actions: FiniteActions) -> AbstractCritic:
    """The same for finite actions: ``every_action`` must agree with ``forward``.

    For actions of several factors that means that Q is a sum over factors, as it has to be where their combinations
    are too many to be counted.

    Raises:
        MaxEntError: as ``build_critic``, or if the two methods disagree.
    """
    critic = build_critic(builder, obs_dim, actions.dim)
    training = critic.training
    critic.eval()
    with torch.no_grad():
        obs, action = torch.randn(8, obs_dim), actions.sample(actions.log_softmax(torch.zeros(8, actions.dim)))
        every, one = critic.every_action(obs, torch.eye(actions.dim)), critic(obs, action)
    fits = every.shape == (*one.shape[:2], actions.dim, *one.shape[2:])
    if not fits or not torch.allclose(torch.einsum("mba...,ba->mb...", every, action), one, rtol=1e-3, atol=1e-4):
        name = type(critic).__name__
        raise MaxEntError(
            f"{name}.every_action does not agree with {name}.forward: it must return [member, batch, action] or "
            f"[member, batch, action, atom]."
            if len(actions.counts) == 1
            else f"{name} gives no Q that is a sum over the {len(actions.counts)} factors of the action: use "
            f"TwinHeadsCritic, or raise data.max_joint_actions so that the factors become one."
        )
    return critic.train(training)


def _check_shape(critic: AbstractCritic, method: str, tensor: Tensor, right: bool) -> None:
    expected = {
        "forward": "[member, batch] or [member, batch, atom]",
        "value": "[batch]",
        "target": "[batch, atom]",
        "loss": "[member, batch]",
    }
    if not right:
        raise MaxEntError(
            f"{type(critic).__name__}.{method} must return {expected[method]}, but for a batch of 3 it returned "
            f"{list(tensor.shape)}."
        )


CriticBuilder = Callable[[int, int], AbstractCritic]
"""Builds a critic from ``obs_dim`` and ``action_dim``."""
