"""What enters a backup is the critic's ``target``, in every algorithm and for every critic that comes with the package.

The policy maximizes the critic's ``value``.  Losses are worked out here from the equations, with the same random
numbers.
"""

from functools import partial

import pytest
import torch
from helpers import made_up
from torch.testing import assert_close

from lightning_maxent import (
    DDPG,
    DQN,
    REPPO,
    SAC,
    TD3,
    AbstractCritic,
    BoxActions,
    ContinuousSoftQLearning,
    DiscreteSAC,
    DiscreteValueSAC,
    FiniteActions,
    FixedTemperature,
    MaxEntError,
    PolicyExploration,
    PolyakTarget,
    Rollout,
    SoftQLearning,
    SquashedGaussian,
    ValueSAC,
)
from lightning_maxent.critics.base import ReturnDistribution
from lightning_maxent.critics.ensemble import EnsembleCritic
from lightning_maxent.networks import MLP
from lightning_maxent.policies.categorical import Categorical
from lightning_maxent.policies.deterministic import Deterministic
from lightning_maxent.targets import AbstractJointTarget, JointPass, JointPolyakTarget
from lightning_maxent.value import StateValue
from lightning_maxent.verification import command

OBS, ACTIONS, BATCH = 3, 3, 16
ALPHA, DISCOUNT = 0.3, 0.9
SMALL = partial(MLP, hidden_dims=(16,))
FIXED = partial(FixedTemperature, alpha=ALPHA)
ACTOR = {"policy": partial(SquashedGaussian, network=SMALL), "temperature": FIXED, "discount": DISCOUNT}
FINITE_ACTOR = ACTOR | {"policy": partial(Categorical, network=SMALL)}
VALUE = {"value": partial(StateValue, network=SMALL)}


def built_in() -> list[command.Candidate]:
    parser = command._parser()
    return command._candidates(parser, parser.parse_args(["--critic", "all"]))


BUILT_IN = built_in()


@pytest.fixture(params=BUILT_IN, ids=lambda candidate: candidate.name)
def candidate(request):
    return request.param


def target_of_v(candidate):
    """An overlay's own target where it can follow V."""
    joint = isinstance(candidate.target(torch.nn.Linear(1, 1)), AbstractJointTarget)
    return PolyakTarget if joint else candidate.target


def continuous():
    return made_up(OBS, BoxActions(ACTIONS), BATCH)


def finite():
    return made_up(OBS, FiniteActions((ACTIONS,)), BATCH)


def count_targets(monkeypatch, critic) -> list[torch.Tensor]:
    """Collects the arguments of all later calls of ``critic.target``."""
    asked, target = [], critic.target

    def counted(prediction):
        assert not torch.is_grad_enabled()
        asked.append(prediction)
        return target(prediction)

    monkeypatch.setattr(critic, "target", counted)
    return asked


def losses(algorithm, batch):
    """The losses without dropout and batch statistics: only the action and REDQ's subset are random."""
    algorithm.eval()
    torch.manual_seed(7)
    return algorithm.losses(batch)


# ---- every built-in critic in every SAC ----------------------------------------------------------------------------------


def test_v_of_sac_regresses_on_the_target_of_every_critic_and_the_policy_climbs_its_value(candidate, monkeypatch):
    batch = continuous()
    algorithm = ValueSAC(OBS, BoxActions(ACTIONS), candidate.critic, target=target_of_v(candidate), **ACTOR, **VALUE)
    asked = count_targets(monkeypatch, algorithm.critic)
    found = losses(algorithm, batch)
    assert len(asked) == 1
    torch.manual_seed(7)
    with torch.no_grad():
        action, log_prob = algorithm.policy(batch.obs)
        prediction = algorithm.critic(batch.obs, action)
        value = algorithm.critic.value(prediction)
        target = algorithm.critic.target(prediction)
        believed = (target.probs * target.atoms).sum(-1)
        v = algorithm.value(batch.obs)
    assert_close(asked[0], prediction)
    assert_close(found["value"], (v - (believed - ALPHA * log_prob)).square().mean())
    assert_close(found["policy"], (ALPHA * log_prob - value).mean())


def test_q_of_sac_regresses_on_the_target_of_every_critic(candidate, monkeypatch):
    batch = continuous()
    algorithm = SAC(OBS, BoxActions(ACTIONS), candidate.critic, target=candidate.target, **ACTOR)
    asked = count_targets(monkeypatch, algorithm.critic)
    found = losses(algorithm, batch)
    assert len(asked) == 1
    torch.manual_seed(7)
    with torch.no_grad():
        action, log_prob = algorithm.policy(batch.obs)
        value = algorithm.critic.value(algorithm.critic(batch.obs, action))
        next_action, next_log_prob = algorithm.policy(batch.next_obs)
        target = algorithm.critic.target(algorithm.critic(batch.next_obs, next_action))  # the copy starts equal
        continuation = (~batch.terminated).float().unsqueeze(-1)
        soft = target.atoms - ALPHA * next_log_prob.unsqueeze(-1)
        probs = torch.where(continuation > 0, target.probs, 1 / target.probs.shape[-1])
        backed_up = ReturnDistribution(batch.reward.unsqueeze(-1) + DISCOUNT * continuation * soft, probs)
        expected = algorithm.critic.loss(algorithm.critic(batch.obs, batch.action), backed_up).sum(0).mean()
    assert_close(found["critic"], expected, rtol=1e-4, atol=1e-5)
    assert_close(found["policy"], (ALPHA * log_prob - value).mean())


def test_v_of_discrete_value_sac_regresses_on_the_target_of_every_critic_for_every_action(candidate, monkeypatch):
    batch, actions = finite(), FiniteActions((ACTIONS,))
    algorithm = DiscreteValueSAC(OBS, actions, candidate.critic, target=target_of_v(candidate), **FINITE_ACTOR, **VALUE)
    asked = count_targets(monkeypatch, algorithm.critic)
    found = losses(algorithm, batch)
    assert len(asked) == 1
    torch.manual_seed(7)
    with torch.no_grad():
        log_probs = algorithm.policy(batch.obs)
        pairs = batch.obs.repeat_interleave(ACTIONS, 0), torch.eye(ACTIONS).repeat(BATCH, 1)
        prediction = algorithm.critic(*pairs)
        target = algorithm.critic.target(prediction)
        believed = (target.probs * target.atoms).sum(-1).view(BATCH, ACTIONS)
        value = algorithm.critic.value(prediction).view(BATCH, ACTIONS)
        pi, v = log_probs.exp(), algorithm.value(batch.obs)
    assert_close(asked[0], prediction)
    assert_close(found["value"], (v - (pi * (believed - ALPHA * log_probs)).sum(-1)).square().mean())
    assert_close(found["policy"], (pi * (ALPHA * log_probs - value)).sum(-1).mean())


# ---- by hand -------------------------------------------------------------------------------------------------------------


class Known(AbstractCritic):
    """Its ``target`` is -2 and its ``value`` is +5, each times the sum of the action's entries."""

    def __init__(self, obs_dim, action_dim):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, obs, action):
        return self.one * action.sum(-1).unsqueeze(0)

    def value(self, prediction):
        return 5 * prediction[0]

    def target(self, prediction):
        low = -2 * prediction[0]
        return ReturnDistribution(torch.stack((low - 3, low + 1), -1), torch.tensor([0.25, 0.75]).expand(len(low), 2))


def constant_value(algorithm, number):
    with torch.no_grad():
        algorithm.value.network[-1].weight.zero_()
        algorithm.value.network[-1].bias.fill_(number)


@pytest.mark.parametrize("counts", [(3,), (2, 3), (2, 2, 4)])
def test_with_factored_actions_v_regresses_on_the_sum_over_factors_of_the_target(counts):
    """The target of every choice is -2 - 3/4 + 3/4 = -2, so that of F factors is -2 F; the policy's value is 5 F."""
    actions, factors = FiniteActions(counts), len(counts)
    algorithm = DiscreteValueSAC(OBS, actions, Known, **FINITE_ACTOR, **VALUE)
    constant_value(algorithm, 0.5)
    batch = made_up(OBS, actions, BATCH)
    found = algorithm.losses(batch)
    log_probs = algorithm.policy(batch.obs).detach()
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    assert_close(found["value"], (0.5 - (-2.0 * factors + ALPHA * entropy)).square().mean())
    assert_close(found["policy"], -(5.0 * factors + ALPHA * entropy).mean())


def test_redq_under_sac_gives_v_the_smaller_of_a_random_pair_and_the_policy_the_mean():
    """The members are 1, 2 and 6: the smaller of two is 1 in two of three pairs and 2 in the third; the mean is 3."""
    critic = partial(EnsembleCritic, members=3, subset=2, network=partial(MLP, hidden_dims=()))
    algorithm = ValueSAC(OBS, BoxActions(ACTIONS), critic, **ACTOR, **VALUE)
    constant_value(algorithm, 0.0)
    with torch.no_grad():
        algorithm.critic.network[-1].weight.zero_()
        algorithm.critic.network[-1].bias.copy_(torch.tensor([1.0, 2.0, 6.0]).view(3, 1, 1))
    batch, seen = continuous(), []
    for seed in range(60):
        torch.manual_seed(seed)
        found = algorithm.losses(batch)
        torch.manual_seed(seed)
        _, log_prob = algorithm.policy(batch.obs)
        assert_close(found["policy"], (ALPHA * log_prob - 3).mean())
        smaller = [q for q in (1.0, 2.0) if torch.isclose(found["value"], (q - ALPHA * log_prob).square().mean())]
        seen += smaller
    assert len(seen) == 60
    assert 0.45 < seen.count(1.0) / 60 < 0.85


# ---- every other algorithm with a critic ---------------------------------------------------------------------------------

DETERMINISTIC = {"policy": partial(Deterministic, network=SMALL), "discount": DISCOUNT}
OTHERS = {
    "ddpg": partial(DDPG, **DETERMINISTIC),
    "td3": partial(TD3, **DETERMINISTIC),
    "continuous_soft_q": partial(ContinuousSoftQLearning, **ACTOR),
    "soft_q": partial(SoftQLearning, temperature=FIXED, discount=DISCOUNT),
    "dqn": partial(DQN, exploration=PolicyExploration, discount=DISCOUNT),
    "discrete_sac": partial(DiscreteSAC, **FINITE_ACTOR),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_backup_asks_the_target_of_the_critic_once(name, candidate, monkeypatch):
    finite_actions = name in ("soft_q", "dqn", "discrete_sac")
    actions, batch = (FiniteActions((ACTIONS,)), finite()) if finite_actions else (BoxActions(ACTIONS), continuous())
    algorithm = OTHERS[name](OBS, actions, candidate.critic, target=candidate.target)
    asked = count_targets(monkeypatch, algorithm.critic)
    algorithm.losses(batch)
    assert len(asked) == 1


def test_reppo_backs_up_the_target_of_the_critic():
    """For one row the return is ``r + gamma (target - alpha log pi)`` with the target -2, not with the value +5."""
    algorithm = REPPO(OBS, BoxActions(ACTIONS), Known, **ACTOR)
    batch = continuous()
    rollout = Rollout(*(each.unsqueeze(0) for each in (*batch, batch.terminated)))
    torch.manual_seed(7)
    returns = algorithm.soft_returns(rollout)
    torch.manual_seed(7)
    with torch.no_grad():
        action, log_prob = algorithm.policy(batch.next_obs)
    following = torch.where(batch.terminated, 0.0, -2 * action.sum(-1) - ALPHA * log_prob)
    assert_close(returns[0], batch.reward + DISCOUNT * following)


# ---- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [JointPass, JointPolyakTarget])
@pytest.mark.parametrize(
    ("build", "instead"),
    [
        (partial(ValueSAC, OBS, BoxActions(2), **ACTOR), "SAC, as in fit sac/half_cheetah"),
        (
            partial(DiscreteValueSAC, OBS, FiniteActions((2,)), **FINITE_ACTOR),
            "DiscreteSAC, as in fit discrete_sac/",
        ),
    ],
    ids=["SAC", "DiscreteValueSAC"],
)
def test_a_joint_pass_is_refused_as_the_slow_copy_of_v(build, instead, target):
    with pytest.raises(MaxEntError, match=rf"^{target.__name__} computes .* copy of V, .* use {instead}.*\.$"):
        build(critic=BUILT_IN[0].critic, target=target)
