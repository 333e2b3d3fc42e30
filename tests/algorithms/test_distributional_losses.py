"""Algorithms under critics that predict distributions."""

import math
from functools import partial

import pytest
import torch
from helpers import lose, made_up, recorded
from torch import tensor
from torch.testing import assert_close

from lightning_maxent.actions import BoxActions, FiniteActions
from lightning_maxent.algorithms.discrete_sac import DiscreteSAC
from lightning_maxent.algorithms.discrete_value_sac import DiscreteValueSAC
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.algorithms.soft_q_learning import SoftQLearning
from lightning_maxent.algorithms.value_sac import ValueSAC
from lightning_maxent.critics.base import ReturnDistribution
from lightning_maxent.critics.categorical import (
    CategoricalCritic,
    GaussianHistogram,
    ProjectedHistogram,
    TwoHotHistogram,
)
from lightning_maxent.critics.ensemble import EnsembleCritic
from lightning_maxent.critics.quantile import MeanPooling, QuantileCritic, TruncatedPooling
from lightning_maxent.networks import MLP
from lightning_maxent.policies.categorical import Categorical
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.targets import JointPass, JointPolyakTarget, PolyakTarget
from lightning_maxent.temperature import FixedTemperature
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue

OBS, ACTION, BATCH = 3, 2, 32
ALPHA, DISCOUNT = 0.3, 0.9
SMALL = partial(MLP, hidden_dims=(8,))
PARTS = {"temperature": partial(FixedTemperature, alpha=ALPHA), "discount": DISCOUNT}
CONTINUOUS = PARTS | {"actions": BoxActions(ACTION), "policy": partial(SquashedGaussian, network=SMALL)}
FINITE = PARTS | {"actions": FiniteActions((ACTION,))}
ACTOR = FINITE | {"policy": partial(Categorical, network=SMALL)}
VALUE = {"value": partial(StateValue, network=SMALL)}

OF_TARGET_CRITICS = {
    "sac": partial(SAC, OBS, **CONTINUOUS),
    "soft_q": partial(SoftQLearning, OBS, **FINITE),
    "discrete_sac": partial(DiscreteSAC, OBS, **ACTOR),
}
ALGORITHMS = OF_TARGET_CRITICS | {
    "value_sac": partial(ValueSAC, OBS, **CONTINUOUS, **VALUE),
    "discrete_value_sac": partial(DiscreteValueSAC, OBS, **ACTOR, **VALUE),
}
CATEGORICAL = partial(CategoricalCritic, low=-3.0, high=3.0, bins=11, network=SMALL)
CRITICS = {
    "ensemble": partial(EnsembleCritic, members=3, network=SMALL),
    "truncated_quantiles": partial(QuantileCritic, members=2, quantiles=5, network=SMALL),
    "averaged_quantiles": partial(QuantileCritic, members=2, quantiles=5, pooling=MeanPooling, network=SMALL),
    "gaussian_histogram": partial(CATEGORICAL, histogram=GaussianHistogram),
    "two_hot": partial(CATEGORICAL, histogram=TwoHotHistogram),
    "projection": partial(CATEGORICAL, histogram=ProjectedHistogram),
}


@pytest.fixture
def batch():
    return made_up(OBS, FiniteActions((ACTION,)), BATCH)


def target_of(algorithm, batch):
    """The return distribution that the critic is trained on."""
    given, loss = [], algorithm.critic.loss
    algorithm.critic.loss = lambda prediction, target: given.append(target) or loss(prediction, target)
    lose(algorithm, batch)
    return given[0]


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)
@pytest.mark.parametrize("build", ALGORITHMS.values(), ids=ALGORITHMS)
def test_no_loss_depends_on_the_state_after_termination(build, critic, garbage, batch):
    algorithm = build(critic=critic)
    next_obs = batch.next_obs.clone()
    next_obs[batch.terminated] = garbage
    expected = lose(algorithm, batch)
    assert all(loss.isfinite() for loss in expected.values())
    assert_close(lose(algorithm, batch._replace(next_obs=next_obs)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("target", [PolyakTarget, JointPass, JointPolyakTarget])
@pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS)
@pytest.mark.parametrize("build", OF_TARGET_CRITICS.values(), ids=OF_TARGET_CRITICS)
def test_a_backed_up_return_is_a_distribution_without_gradient_and_the_reward_alone_at_the_end(
    build, critic, target, batch
):
    returns = target_of(build(critic=critic, target=target), batch)
    assert returns.atoms.shape == returns.probs.shape
    assert returns.atoms.isfinite().all()
    assert_close(returns.probs.sum(-1), torch.ones(BATCH))
    assert not returns.atoms.requires_grad
    assert not returns.probs.requires_grad
    ended = batch.terminated
    assert_close(returns.atoms[ended], batch.reward[ended].unsqueeze(-1).expand_as(returns.atoms[ended]))


@pytest.mark.parametrize("build", ALGORITHMS.values(), ids=ALGORITHMS)
def test_the_backup_shifts_atoms_and_keeps_probabilities_but_for_terminal_states(build):
    algorithm = build(critic=CRITICS["ensemble"])
    batch = Transition(
        torch.zeros(2, OBS), torch.zeros(2, ACTION), tensor([1.0, -1.0]), torch.zeros(2, OBS), tensor([False, True])
    )
    following = ReturnDistribution(tensor([[1.0, 2.0], [3.0, math.nan]]), tensor([[0.3, 0.7], [math.nan, 0.2]]))
    returns = algorithm.backup(batch, following)
    assert_close(returns.atoms, tensor([[1.9, 2.8], [-1.0, -1.0]]))
    assert_close(returns.probs, tensor([[0.3, 0.7], [0.5, 0.5]]))


# ---- a distribution that is one number is treated as that number -----------------------------------------------------------


def all_quantiles_alike(critic, scalar):
    """Give every quantile of each member the weights of the scalar critic's member."""
    with torch.no_grad():
        for own, other in zip(critic.parameters(), scalar.parameters(), strict=True):
            own.copy_(other.expand_as(own))


@pytest.mark.parametrize(
    "pooling", [partial(TruncatedPooling, dropped=0), partial(TruncatedPooling, dropped=2), MeanPooling]
)
@pytest.mark.parametrize("build", OF_TARGET_CRITICS.values(), ids=OF_TARGET_CRITICS)
def test_a_distribution_of_equal_atoms_has_the_target_of_a_scalar_critic(build, pooling, batch):
    scalar = build(critic=partial(EnsembleCritic, members=1, subset=1, network=SMALL))
    critic = partial(QuantileCritic, members=1, quantiles=4, pooling=pooling, network=SMALL)
    algorithm = build(critic=critic)
    all_quantiles_alike(algorithm.critic, scalar.critic)
    all_quantiles_alike(algorithm.target_critic.network, scalar.target_critic.network)
    if hasattr(algorithm, "policy"):
        algorithm.policy.load_state_dict(scalar.policy.state_dict())
    expected, returns = target_of(scalar, batch), target_of(algorithm, batch)
    assert_close(returns.mean(), expected.mean())
    for name in ("policy", "temperature"):
        if name in lose(scalar, batch):
            assert_close(lose(algorithm, batch)[name], lose(scalar, batch)[name])
    if isinstance(algorithm, SAC):
        assert_close(returns.atoms, expected.atoms.expand_as(returns.atoms))
    assert expected.mean().std() > 0.1


@pytest.mark.parametrize("build", OF_TARGET_CRITICS.values(), ids=OF_TARGET_CRITICS)
def test_the_mean_of_the_backed_up_distribution_is_the_soft_value_of_the_critics_target(build, batch):
    """Every atom contains the entropy bonus, weighted by the policy's probabilities."""
    algorithm = build(critic=CRITICS["projection"])
    returns = target_of(algorithm, batch)
    copy, continuation = algorithm.target_critic.network, (~batch.terminated).float()
    with torch.no_grad():
        if isinstance(algorithm, SAC):
            torch.manual_seed(7)
            algorithm.policy(batch.obs)  # which is drawn first
            action, log_prob = algorithm.policy(batch.next_obs)
            value = copy.value(copy(batch.next_obs, action)) - ALPHA * log_prob
        else:
            actions = [row.expand(BATCH, -1) for row in torch.eye(ACTION)]
            q = torch.stack([copy.value(copy(batch.next_obs, action)) for action in actions], -1)
            scores = algorithm.policy(batch.next_obs) if isinstance(algorithm, DiscreteSAC) else q / ALPHA
            log_probs = scores.log_softmax(-1)
            value = (log_probs.exp() * (q - ALPHA * log_probs)).sum(-1)
    assert_close(returns.mean(), batch.reward + DISCOUNT * continuation * value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_share_of_backups_beyond_the_range_of_a_histogram_is_recorded(name):
    algorithm = ALGORITHMS[name](critic=CRITICS["two_hot"])
    reward = torch.zeros(BATCH)
    reward[:4], reward[4:8] = 3.1, -3.1  # the range is -3 to 3, and nothing follows
    obs, action = torch.randn(BATCH, OBS), torch.eye(ACTION)[torch.zeros(BATCH, dtype=torch.long)]
    algorithm.losses(Transition(obs, action, reward, obs, torch.ones(BATCH, dtype=torch.bool)))
    assert recorded(algorithm)["critic/clipped"] == pytest.approx(8 / BATCH)


def test_a_critic_without_a_range_records_no_share():
    algorithm = ALGORITHMS["value_sac"](critic=CRITICS["ensemble"])
    obs = torch.randn(BATCH, OBS)
    ended = torch.ones(BATCH, dtype=torch.bool)
    algorithm.losses(Transition(obs, torch.zeros(BATCH, ACTION), torch.full((BATCH,), 1e6), obs, ended))
    names = recorded(algorithm).keys()
    assert "q" in names
    assert "critic/clipped" not in names
