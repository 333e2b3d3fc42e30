"""Building critics, and checks of their interface."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_maxent.actions import FiniteActions
from lightning_maxent.contracts import without_side_effects
from lightning_maxent.critics.base import AbstractCritic, CriticBuilder, ReturnDistribution
from lightning_maxent.errors import MaxEntError, errors_of


def build_critic(builder: CriticBuilder, obs_dim: int, action_dim: int) -> AbstractCritic:
    """Build a critic and check its interface on three random pairs.

    Without these checks, some mistakes raise no error: wrong shapes broadcast, equal members stay equal, and a critic
    without gradients does not learn.

    Raises:
        MaxEntError: if a check fails; the message names the method, the expected result and the actual one.
    """
    critic = _keeping_the_contract(builder, obs_dim, action_dim)
    with without_side_effects(critic, "three pairs"), torch.enable_grad():
        obs, action = torch.randn(3, obs_dim), (torch.rand(3, action_dim) * 2 - 1).requires_grad_()
        value = critic.value(critic(obs, action)).sum()
        slope = torch.autograd.grad(value, action, allow_unused=True)[0] if value.requires_grad else None
    if slope is None:
        name = type(critic).__name__
        raise MaxEntError(
            f"{name}.value({name}.forward(obs, action)) must have a gradient in the action, from which the policy "
            f"learns, but was cut off from it: do not detach in either method, and use the action in forward."
        )
    return critic


def _keeping_the_contract(builder: CriticBuilder, obs_dim: int, action_dim: int) -> AbstractCritic:
    with errors_of("Building the critic"):
        critic = builder(obs_dim, action_dim)
    if not any(parameter.requires_grad for parameter in critic.parameters()):
        raise MaxEntError(
            f"{type(critic).__name__} has no trainable parameters: assign its layers to attributes in __init__, after "
            f"super().__init__()."
        )
    with without_side_effects(critic, "three pairs"), torch.enable_grad():
        _check_contract(critic, torch.randn(3, obs_dim), torch.rand(3, action_dim) * 2 - 1)
    critic.zero_grad(set_to_none=True)
    return critic


def build_finite_critic(builder: CriticBuilder, obs_dim: int, actions: FiniteActions) -> AbstractCritic:
    """Build a critic for finite actions and check its interface.

    Q needs no gradient in the action here, but ``every_action`` must agree with ``forward``.  For actions of several
    factors, this means that Q must be a sum over the factors, because there are too many joint actions to evaluate
    each.  Members must then predict one number each, because distributions do not add up like this.

    Raises:
        MaxEntError: as ``build_critic``, or if the two methods disagree.
    """
    critic = _keeping_the_contract(builder, obs_dim, actions.dim)
    with without_side_effects(critic, "every action in eight states"), torch.no_grad():
        obs, action = torch.randn(8, obs_dim), actions.sample(actions.log_softmax(torch.zeros(8, actions.dim)))
        every, one = critic.every_action(obs, torch.eye(actions.dim)), critic(obs, action)
    name, factors = type(critic).__name__, len(actions.counts)
    fits = every.shape == (*one.shape[:2], actions.dim, *one.shape[2:])
    adds_up = fits and torch.allclose(torch.einsum("mba...,ba->mb...", every, action), one, rtol=1e-3, atol=1e-4)
    if factors > 1 and not (adds_up and one.ndim == 2):
        raise MaxEntError(
            f"The Q of {name} is not a sum over the {factors} factors of the action, of one number each: use "
            f"TwinHeadsCritic, or raise data.max_joint_actions so that the factors become one."
        )
    if not adds_up:
        raise MaxEntError(
            f"{name}.every_action does not agree with {name}.forward: it must return [member, batch, action] or "
            f"[member, batch, action, atom]."
        )
    return critic


def _check_contract(
    critic: AbstractCritic, obs: Float[Tensor, "batch obs_dim"], action: Float[Tensor, "batch action_dim"]
) -> None:
    name, batch = type(critic).__name__, len(obs)

    def check(method: str, right: bool, expected: str, returned: object) -> None:
        if not right:
            raise MaxEntError(f"{name}.{method} must return {expected}, but for a batch of {batch} it {returned}.")

    def check_numbers(method: str, numbers: Any, shape: str, fits: Callable[[Tensor], bool]) -> None:
        check(method, isinstance(numbers, Tensor), shape, f"returned a {type(numbers).__name__}")
        check(method, numbers.dtype == torch.float32, "float32", f"returned {numbers.dtype}")
        check(method, fits(numbers), shape, f"returned {list(numbers.shape)}")
        check(method, bool(torch.isfinite(numbers).all()), "finite numbers", "returned NaN or infinity")

    prediction = critic(obs, action)
    shape = "[member, batch] or [member, batch, atom]"
    check_numbers("forward", prediction, shape, lambda x: x.ndim in (2, 3) and x.shape[1] == batch)
    alike = any(torch.equal(one, other) for i, one in enumerate(prediction) for other in prediction[:i])
    check("forward", not alike, "different predictions for all members", "returned the same for two members")
    value = critic.value(prediction)
    check_numbers("value", value, "[batch]", lambda x: x.shape == (batch,))
    target = critic.target(prediction)
    check("target", isinstance(target, ReturnDistribution), "ReturnDistribution", f"returned a {type(target).__name__}")
    shape = "atoms and probabilities [batch, atom]"
    check_numbers(
        "target", target.atoms, shape, lambda x: x.ndim == 2 and len(x) == batch and x.shape == target.probs.shape
    )
    sums = target.probs.sum(-1)
    check(
        "target",
        torch.allclose(sums, torch.ones_like(sums), atol=1e-3),
        "probabilities that sum to 1",
        f"gave {sums.tolist()}",
    )
    shifted = ReturnDistribution(target.atoms.detach() + 1, target.probs.detach())
    loss = critic.loss(prediction, shifted)
    check_numbers("loss", loss, "[member, batch]", lambda x: x.shape == prediction.shape[:2])
    check("loss", loss.requires_grad, "a loss with a gradient", "was cut off from the parameters")
    loss.sum().backward()
    moved = [parameter.grad for parameter in critic.parameters() if parameter.grad is not None]
    check("loss", any(bool(gradient.any()) for gradient in moved), "a loss with a gradient", "gave none")
