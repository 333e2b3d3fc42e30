"""The checks of a critic's contract, which need no algorithm."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_maxent.critics.base import AbstractCritic, CriticBuilder, ReturnDistribution
from lightning_maxent.critics.building import build_critic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.targets import TargetBuilder
from lightning_maxent.verification.measurement import Measurement

OBS_DIM, ACTION_DIM, BATCH, DRAWS = 4, 2, 256, 100
INTERVALS, MOVE, UPDATES = 10, 0.005, 5


def contract(critic: CriticBuilder, target: TargetBuilder) -> Iterator[Measurement]:
    """Properties of every correct critic, independent of the problem it is trained on.

    - ``shapes``: 1 if ``build_critic`` refuses the critic, else 0.
    - ``optimism``: how much the result of ``value`` or ``target`` exceeds the mean of the members, in units of their
      standard deviation.  It is 0 for a minimum or a mean.
    - ``detached target``: the gradient of ``loss`` in the target.
    - ``separate members``: the gradient of one member's loss in the prediction of another member.
    - ``batch statistics``, only for critics with running statistics: 1 if predictions in training mode differ from
      those in evaluation mode, on inputs of another scale.
    - ``statistics of both pairs``, only for critics with running statistics: 1 if predictions for (s,a) depend on
      (s',a') in the same batch.
    - ``every observation entry counts``: the share of states in which a new value of one entry changes the prediction,
      for the entry with the lowest share.  It is 1 for smooth networks, less for narrow ReLU networks, and 0 if an
      entry is not used.
    - ``every action counts``: each action dimension is divided into ten intervals.  This is the share of states in
      which a small change of the action within an interval changes the prediction, for the interval with the lowest
      share.  It is 1 for smooth networks, .9 or more for ReLU networks four units wide (no change where all units are
      off), and near 0 if actions are clipped, rounded or not used.

    Args:
        critic: builds Q.
        target: builds the target, used for critics with running statistics.
    """
    try:
        built = build_critic(critic, OBS_DIM, ACTION_DIM)
    except MaxEntError as error:
        yield Measurement("contract: shapes", 1.0, 0.0, 0.0, str(error))
        return
    yield Measurement("contract: shapes", 0.0, 0.0, 0.0, "")
    obs, action = torch.randn(BATCH, OBS_DIM), torch.rand(BATCH, ACTION_DIM) * 2 - 1
    built.eval()
    with torch.no_grad():
        prediction = built(obs, action)
    yield from _optimism(built, prediction)
    yield from _gradients(built, prediction)
    yield from _statistics(built.train(), target, (obs, action))
    _wake(built, (obs, action))
    built.eval()
    yield _seen(built, (obs, action))
    yield _reach(built, (obs, action))


def _optimism(critic: AbstractCritic, prediction: Tensor) -> Iterator[Measurement]:
    members = torch.stack([critic.value(member.unsqueeze(0)) for member in prediction])
    mean, disagreement = members.mean(0), members.std(0, correction=0).mean().clamp(min=1e-6)
    drawn = torch.stack([critic.target(prediction).mean() for _ in range(DRAWS)])  # it may draw random members
    for method, result in (("value", critic.value(prediction)), ("target", drawn.mean(0))):
        excess = float(((result - mean).mean() / disagreement).clamp(min=0))
        yield Measurement(
            f"contract: optimism of {method}", excess, 0.0, 0.02, f"{method} must not exceed the mean of the members"
        )


def _gradients(critic: AbstractCritic, prediction: Tensor) -> Iterator[Measurement]:
    prediction = prediction.clone().requires_grad_()
    atoms = torch.randn(BATCH, 5, requires_grad=True)
    loss = critic.loss(prediction, ReturnDistribution(atoms, torch.full((BATCH, 5), 0.2)))
    (into_target,) = torch.autograd.grad(loss.sum(), atoms, retain_graph=True, allow_unused=True)
    yield Measurement(
        "contract: detached target",
        0.0 if into_target is None else float(into_target.abs().max()),
        0.0,
        0.0,
        "loss must not pass a gradient into returns",
    )
    leaked = 0.0
    for member in range(len(prediction)):
        (gradient,) = torch.autograd.grad(loss[member].sum(), prediction, retain_graph=True)
        gradient[member] = 0
        leaked = max(leaked, float(gradient.abs().max()))
    yield Measurement("contract: separate members", leaked, 0.0, 0.0, "one member learns from the loss of another")


def _statistics(critic: AbstractCritic, target: TargetBuilder, pair: tuple[Tensor, Tensor]) -> Iterator[Measurement]:
    if len(list(critic.state_dict())) == len(list(critic.parameters())):
        return
    both = target(critic)

    def ask(network: AbstractCritic, obs: Tensor, action: Tensor) -> Tensor:
        return network(obs, action)

    def learned(following: tuple[Tensor, ...]) -> Tensor:
        torch.manual_seed(0)  # the same dropout
        return both.predictions(critic, ask, pair, following)[0].detach()

    def differs(one: Tensor, other: Tensor) -> float:
        return float(not torch.allclose(one, other, atol=1e-5))

    with torch.no_grad():
        wide = tuple(10 * each for each in pair)
        batch = differs(_in_mode(critic, True, pair), _in_mode(critic, False, pair))
        yield Measurement(
            "contract: batch statistics", batch, 1.0, 0.0, "forward does not normalize by the batch in training mode"
        )
        joint = differs(learned(pair), learned(wide))
        yield Measurement(
            "contract: statistics of both pairs", joint, 1.0, 0.0, "use targets.JointPass or JointPolyakTarget"
        )


def _seen(critic: AbstractCritic, pair: tuple[Tensor, Tensor]) -> Measurement:
    shares = []
    for entry in range(OBS_DIM):
        changed = pair[0].clone()
        changed[:, entry] = torch.randn(BATCH)
        shares.append(_share_changed(critic, pair, (changed, pair[1])))
    lowest = min(shares)
    advice = (
        f"predictions hardly change with entry {shares.index(lowest)} of the observation: let forward use every entry"
    )
    return Measurement("contract: every observation entry counts", lowest, 1.0, 0.75, advice)


def _reach(critic: AbstractCritic, pair: tuple[Tensor, Tensor]) -> Measurement:
    places = [(dim, interval) for dim in range(ACTION_DIM) for interval in range(INTERVALS)]
    shares = {place: _share_moved(critic, pair, *place) for place in places}
    dim, interval = min(shares, key=lambda place: shares[place])
    low, high = (-1 + 2 * (interval + edge) / INTERVALS for edge in (0, 1))
    advice = (
        f"predictions hardly change while dimension {dim} of the action moves between {low:.1f} and {high:.1f}: let "
        f"forward use the whole action, without clipping or rounding it"
    )
    return Measurement("contract: every action counts", shares[dim, interval], 1.0, 0.75, advice)


def _wake(critic: AbstractCritic, pair: tuple[Tensor, Tensor]) -> None:
    """A few updates on noise, because a network with a last layer of zeros does not depend on its inputs before."""
    optimizer = torch.optim.Adam([parameter for parameter in critic.parameters() if parameter.requires_grad])
    for _ in range(UPDATES):
        optimizer.zero_grad()
        critic.loss(critic(*pair), ReturnDistribution.certain(torch.randn(BATCH))).sum(0).mean().backward()
        optimizer.step()


def _share_moved(critic: AbstractCritic, pair: tuple[Tensor, Tensor], dim: int, interval: int) -> float:
    """The share of states in which a small change of one action dimension within an interval changes a prediction."""
    obs, start = pair[0], pair[1].clone()
    start[:, dim] = -1 + 2 * (interval + (1 - MOVE * INTERVALS / 2) * torch.rand(BATCH)) / INTERVALS
    end = start.clone()
    end[:, dim] += MOVE
    return _share_changed(critic, (obs, start), (obs, end))


@torch.no_grad()
def _share_changed(critic: AbstractCritic, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> float:
    """The share of rows in which any prediction differs."""
    before, after = (critic(*pair).transpose(0, 1).flatten(1) for pair in (start, end))
    return float(((after - before).abs() > 1e-6 * before.std(0)).any(1).float().mean())


def _in_mode(critic: AbstractCritic, training: bool, pair: tuple[Tensor, Tensor]) -> Tensor:
    torch.manual_seed(0)
    critic.train(training)
    try:
        return critic(*(5 + 3 * each for each in pair))
    finally:
        critic.train()
