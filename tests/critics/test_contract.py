"""Every mistake in a critic that would otherwise go unnoticed is refused in one sentence when the critic is built."""

import re
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_maxent.actions import FiniteActions
from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution
from lightning_maxent.critics.building import build_critic, build_finite_critic
from lightning_maxent.critics.categorical import CategoricalCritic
from lightning_maxent.critics.ensemble import EnsembleCritic
from lightning_maxent.critics.quantile import QuantileCritic, TruncatedPooling
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP, BatchRenormMLP, DropoutMLP, EnsembleLinear

OBS, ACTION = 3, 2


class Right(AbstractCritic):
    """Two members of one number each, without a mistake."""

    def __init__(self, obs_dim, action_dim):
        super().__init__()
        self.layer = EnsembleLinear(2, obs_dim + action_dim, 1)

    def forward(self, obs, action):
        pair = torch.cat((obs, action), -1)
        return self.layer(pair.expand(2, *pair.shape)).squeeze(-1)

    def value(self, prediction):
        return prediction.amin(0)


class Nothing(Right):
    def forward(self, obs, action):
        return None


class Double(Right):
    def forward(self, obs, action):
        return super().forward(obs, action).double()


class CutAction(Right):
    def forward(self, obs, action):
        return super().forward(obs, action.detach())


class CutValue(Right):
    def value(self, prediction):
        return prediction.detach().amin(0)


class Narrow(Right):
    def __init__(self, obs_dim, action_dim):
        super().__init__(obs_dim, action_dim - 1)


class NotBegun(Right):
    def __init__(self, obs_dim, action_dim):
        self.layer = EnsembleLinear(2, obs_dim + action_dim, 1)


class Column(Right):
    def forward(self, obs, action):
        return super().forward(obs, action).mT


class Flat(Right):
    def forward(self, obs, action):
        return super().forward(obs, action)[0]


class Infinite(Right):
    def forward(self, obs, action):
        return super().forward(obs, action) / 0


class Alike(Right):
    def __init__(self, obs_dim, action_dim):
        super().__init__(obs_dim, action_dim)
        self.layer.weight.data[1] = self.layer.weight.data[0]
        self.layer.bias.data[1] = self.layer.bias.data[0]


class ColumnValue(Right):
    def value(self, prediction):
        return prediction.amin(0).unsqueeze(-1)


class MemberValue(Right):
    def value(self, prediction):
        return prediction


class NaNValue(Right):
    def value(self, prediction):
        return prediction.amin(0) * torch.nan


class TensorTarget(Right):
    def target(self, prediction):
        return self.value(prediction)


class FlatTarget(Right):
    def target(self, prediction):
        return ReturnDistribution(self.value(prediction), torch.ones(prediction.shape[1]))


class SharedTarget(Right):
    def target(self, prediction):
        return ReturnDistribution(torch.zeros(prediction.shape[1], 4), torch.full((4,), 0.25))


class MemberTarget(Right):
    def target(self, prediction):
        return ReturnDistribution.equally_likely(prediction)


class NaNTarget(Right):
    def target(self, prediction):
        return ReturnDistribution.certain(self.value(prediction) * torch.nan)


class Improbable(Right):
    def target(self, prediction):
        atoms = torch.zeros(prediction.shape[1], 4)
        return ReturnDistribution(atoms, torch.full_like(atoms, 0.5))


class NaNProbable(Right):
    def target(self, prediction):
        atoms = torch.zeros(prediction.shape[1], 4)
        return ReturnDistribution(atoms, torch.full_like(atoms, torch.nan))


class MeanLoss(Right):
    def loss(self, prediction, target):
        return super().loss(prediction, target).mean()


class BatchLoss(Right):
    def loss(self, prediction, target):
        return super().loss(prediction, target).sum(0)


class NaNLoss(Right):
    def loss(self, prediction, target):
        return (prediction - target.mean() - 1e30).square() * 0


class CutLoss(Right):
    def loss(self, prediction, target):
        return super().loss(prediction.detach(), target)


class CutPrediction(Right):
    def forward(self, obs, action):
        return super().forward(obs, action).detach()


class FlatLoss(Right):
    def loss(self, prediction, target):
        return 0 * prediction


class Unassigned(Right):
    def __init__(self, obs_dim, action_dim):
        super().__init__(obs_dim, action_dim)
        self.hidden = [self.layer]  # in a list, nn.Module does not see it
        del self.layer

    @property
    def layer(self):
        return self.hidden[0]


class Resting(Right):
    def __init__(self, obs_dim, action_dim):
        super().__init__(obs_dim, action_dim)
        self.requires_grad_(False)


FORWARD = "must return [member, batch] or [member, batch, atom], but for a batch of 3 it returned"
TARGET = "must return atoms and probabilities [batch, atom], but for a batch of 3 it returned"
SUM = "must return probabilities that sum to 1, but for a batch of 3 it gave"
LOSS = "must return [member, batch], but for a batch of 3 it returned"
FINITE = "must return finite numbers, but for a batch of 3 it returned NaN or infinity."
GRADIENT = "must return a loss with a gradient, but for a batch of 3 it"

MISTAKES = {
    Nothing: ("forward", f"{FORWARD} a NoneType."),
    Double: ("forward", "must return float32, but for a batch of 3 it returned torch.float64."),
    Column: ("forward", f"{FORWARD} [3, 2]."),
    Flat: ("forward", f"{FORWARD} [3]."),
    Infinite: ("forward", FINITE),
    Alike: ("forward", "must return different predictions for all members, but for a batch of 3 it returned the same"),
    ColumnValue: ("value", "must return [batch], but for a batch of 3 it returned [3, 1]."),
    MemberValue: ("value", "must return [batch], but for a batch of 3 it returned [2, 3]."),
    NaNValue: ("value", FINITE),
    TensorTarget: ("target", "must return ReturnDistribution, but for a batch of 3 it returned a Tensor."),
    FlatTarget: ("target", f"{TARGET} [3]."),
    SharedTarget: ("target", f"{TARGET} [3, 4]."),
    MemberTarget: ("target", f"{TARGET} [2, 3]."),
    NaNTarget: ("target", FINITE),
    Improbable: ("target", f"{SUM} [2.0, 2.0, 2.0]."),
    NaNProbable: ("target", f"{SUM} [nan, nan, nan]."),
    MeanLoss: ("loss", f"{LOSS} []."),
    BatchLoss: ("loss", f"{LOSS} [3]."),
    NaNLoss: ("loss", FINITE),
    CutLoss: ("loss", f"{GRADIENT} was cut off from the parameters."),
    CutPrediction: ("loss", f"{GRADIENT} was cut off from the parameters."),
    FlatLoss: ("loss", f"{GRADIENT} gave none."),
}


@pytest.mark.parametrize("build", [build_critic, partial(build_finite_critic)])
def test_a_correct_critic_is_built(build):
    actions = FiniteActions((ACTION,)) if isinstance(build, partial) else ACTION
    assert isinstance(build(Right, OBS, actions), Right)


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_broken_critic_is_refused_with_class_method_and_expected_and_actual_shape(kind):
    method, sentence = MISTAKES[kind]
    with pytest.raises(MaxEntError, match=f"^{kind.__name__}.{method} {re.escape(sentence)}"):
        build_critic(kind, OBS, ACTION)
    with pytest.raises(MaxEntError, match=f"^{kind.__name__}.{method} "):
        build_finite_critic(kind, OBS, FiniteActions((ACTION,)))


@pytest.mark.parametrize("kind", [CutAction, CutValue])
def test_a_critic_without_action_gradient_is_refused_unless_actions_are_finite(kind):
    with pytest.raises(MaxEntError, match=rf"^{kind.__name__}.value.* must have a gradient in the action"):
        build_critic(kind, OBS, ACTION)
    assert isinstance(build_finite_critic(kind, OBS, FiniteActions((ACTION,))), kind)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Narrow, r"^Narrow, asked for three pairs, raised RuntimeError: .* \(.*test_contract.py, line \d+\)\.$"),
        (
            NotBegun,
            r"^Building the critic raised AttributeError: cannot assign module before .*test_contract.py, line ",
        ),
    ],
)
def test_an_error_in_a_critic_is_reported_in_one_sentence_with_its_line(kind, sentence):
    with pytest.raises(MaxEntError, match=sentence):
        build_critic(kind, OBS, ACTION)


class BrokenHeads(Right):
    def every_action(self, obs, actions):
        raise IndexError("no such action")


def test_an_error_in_every_action_is_reported_in_one_sentence():
    with pytest.raises(
        MaxEntError, match=r"^BrokenHeads, asked for every action .* IndexError: no such action \(.*line "
    ):
        build_finite_critic(BrokenHeads, OBS, FiniteActions((ACTION,)))


@pytest.mark.parametrize("kind", [Unassigned, Resting])
def test_a_critic_without_parameters_is_refused_with_advice(kind):
    with pytest.raises(MaxEntError, match=rf"^{kind.__name__} has no trainable parameters: assign its layers to attri"):
        build_critic(kind, OBS, ACTION)


def test_a_pooling_that_does_not_fit_is_refused_where_the_critic_is_built():
    network = partial(MLP, hidden_dims=(4,))
    critic = partial(QuantileCritic, quantiles=3, pooling=partial(TruncatedPooling, dropped=3), network=network)
    with pytest.raises(MaxEntError, match="below the 3 quantiles"):
        build_critic(critic, OBS, ACTION)


class Pieces(Right):
    """A critic with dropout, statistics, and a part that is kept in evaluation mode."""

    def __init__(self, obs_dim, action_dim):
        super().__init__(obs_dim, action_dim)
        self.norm, self.drop, self.kept = nn.BatchNorm1d(obs_dim), nn.Dropout(0.5), nn.BatchNorm1d(obs_dim).eval()

    def forward(self, obs, action):
        return super().forward(self.kept(self.drop(self.norm(obs))), action)


BUILT = {
    "pieces": Pieces,
    "pieces_in_evaluation_mode": lambda *dims: Pieces(*dims).eval(),
    "ensemble": partial(EnsembleCritic, members=3, network=partial(DropoutMLP, hidden_dims=(4,))),
    "normalized": partial(TwinCritic, network=partial(BatchRenormMLP, hidden_dims=(4,))),
    "categorical": partial(CategoricalCritic, low=-1.0, high=1.0, bins=5, network=partial(MLP, hidden_dims=(4,))),
}


@pytest.mark.parametrize("build", BUILT.values(), ids=BUILT)
@pytest.mark.parametrize("finite", [False, True])
def test_checking_a_critic_changes_neither_random_state_nor_weights_gradients_modes_or_statistics(build, finite):
    torch.manual_seed(0)
    expected = build(OBS, ACTION)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    critic = build_finite_critic(build, OBS, FiniteActions((ACTION,))) if finite else build_critic(build, OBS, ACTION)
    assert torch.equal(torch.get_rng_state(), state)
    assert_close(critic.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in critic.parameters())
    assert [each.training for each in critic.modules()] == [each.training for each in expected.modules()]


def test_a_critic_built_under_no_grad_is_checked_with_gradients():
    with torch.no_grad():
        assert isinstance(build_critic(Right, OBS, ACTION), Right)
