"""Theorems over every algorithm of finite actions: a new one is one more entry of FINITE_ALGORITHMS and EQUATIONS."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import constant, disturb, gradients, made_up, named_optimizers
from scipy.optimize import brentq
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import chisquare, entropy
from tabular import MDP, soft_value_iteration
from torch.optim import SGD, Adam
from torch.testing import assert_close

from lightning_maxent import Optimizers
from lightning_maxent.actions import BoxActions, FiniteActions
from lightning_maxent.algorithms.discrete_sac import DiscreteSAC
from lightning_maxent.algorithms.discrete_value_sac import DiscreteValueSAC
from lightning_maxent.algorithms.dqn import DQN
from lightning_maxent.algorithms.q_learning import QLearning
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.algorithms.soft_q_learning import SoftQLearning
from lightning_maxent.algorithms.value_sac import ValueSAC
from lightning_maxent.critics.base import AbstractCritic, ReturnDistribution
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.critics.twin_heads import TwinHeadsCritic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.exploration import AbstractExploration, PolicyExploration
from lightning_maxent.networks import MLP
from lightning_maxent.policies.categorical import Categorical
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.schedules import LinearSchedule
from lightning_maxent.targets import PeriodicTarget, PolyakTarget
from lightning_maxent.temperature import AnnealedTemperature, FixedTemperature, LearnedTemperature
from lightning_maxent.transition import Transition
from lightning_maxent.value import StateValue

OBS, BATCH = 3, 32
ALPHA, DISCOUNT, RATE = 0.3, 0.9, 0.05
COUNTS = {"one_factor": (3,), "two_factors": (2, 3)}


def annealed(actions):
    """From 1 to .2 in eight steps; seven have passed, so the value is ALPHA."""
    schedule = LinearSchedule(1.0, 0.2, 8)
    schedule.advance(7)
    return AnnealedTemperature(actions, schedule)


FIXED = partial(FixedTemperature, alpha=ALPHA)
LEARNED = partial(LearnedTemperature, initial_alpha=ALPHA)
PARTS = {
    "critic": partial(TwinHeadsCritic, network=partial(MLP, hidden_dims=(16,))),
    "target": partial(PolyakTarget, rate=RATE),
    "discount": DISCOUNT,
}
ACTOR = PARTS | {"policy": partial(Categorical, network=partial(MLP, hidden_dims=(16,)))}
VALUE = ACTOR | {"value": partial(StateValue, network=partial(MLP, hidden_dims=(16,)))}

FINITE_ALGORITHMS = {
    "soft_q_fixed": partial(SoftQLearning, temperature=FIXED, **PARTS),
    "soft_q_learned": partial(SoftQLearning, temperature=LEARNED, **PARTS),
    "soft_q_annealed": partial(SoftQLearning, temperature=annealed, **PARTS),
    "discrete_sac_fixed": partial(DiscreteSAC, temperature=FIXED, **ACTOR),
    "discrete_sac_learned": partial(DiscreteSAC, temperature=LEARNED, **ACTOR),
    "discrete_value_sac_fixed": partial(DiscreteValueSAC, temperature=FIXED, **VALUE),
    "discrete_value_sac_learned": partial(DiscreteValueSAC, temperature=LEARNED, **VALUE),
}
LEARNERS = {name.removesuffix("_fixed"): build for name, build in FINITE_ALGORITHMS.items() if name.endswith("_fixed")}
NETWORKS = {
    SoftQLearning: ("critic", "temperature"),
    DiscreteSAC: ("critic", "policy", "temperature"),
    DiscreteValueSAC: ("value", "critic", "policy", "temperature"),
}


@pytest.fixture(params=FINITE_ALGORITHMS)
def build(request):
    return FINITE_ALGORITHMS[request.param]


@pytest.fixture(params=LEARNERS)
def learner(request):
    return LEARNERS[request.param]


@pytest.fixture(params=COUNTS.values(), ids=COUNTS)
def actions(request):
    return FiniteActions(request.param)


@pytest.fixture
def batch(actions):
    return made_up(OBS, actions, BATCH)


def all_actions(counts):
    """Every combination of choices, one-hot vectors side by side, the last factor changing fastest."""
    return torch.stack([torch.cat(choices) for choices in itertools.product(*(torch.eye(count) for count in counts))])


# ---- gradients ---------------------------------------------------------------------------------------------------------


def test_each_loss_has_a_gradient_in_every_weight_of_its_own_network_and_in_no_other(build, actions, batch):
    algorithm = build(OBS, actions)
    for moved in algorithm.trained_networks():
        algorithm.zero_grad()
        algorithm.losses(batch)[moved].backward()
        for name, gradient in gradients(algorithm).items():
            if name.startswith(f"{moved}."):
                assert gradient is not None
                assert (gradient != 0).any(), name
            else:
                assert gradient is None or (gradient == 0).all(), name


def test_one_shared_backward_gives_the_gradients_of_separate_ones(build, actions, batch):
    algorithm = build(OBS, actions, optimizers=Optimizers(partial(SGD, lr=0.0)))
    for name in algorithm.trained_networks():
        algorithm.losses(batch)[name].backward()
    separate = gradients(algorithm)
    algorithm.update(batch, named_optimizers(algorithm))
    assert_close(gradients(algorithm), separate)


def test_update_steps_every_network_down_its_gradient_and_the_slow_copy_follows_by_the_polyak_formula(
    build, actions, batch
):
    lr = 0.1
    algorithm = build(OBS, actions, optimizers=Optimizers(partial(SGD, lr=lr)))
    disturb(algorithm)
    for name in algorithm.trained_networks():
        algorithm.losses(batch)[name].backward()
    before = {name: p.detach().clone() for name, p in algorithm.named_parameters()}
    slopes = gradients(algorithm)
    algorithm.update(batch, named_optimizers(algorithm))
    assert algorithm.gradient_steps == 1
    after = dict(algorithm.named_parameters())
    assert any(name.startswith("target_") for name in after)
    for name, parameter in after.items():
        if name.startswith("target_"):
            source = after[name.removeprefix("target_").replace(".network.", ".", 1)]
            expected = (1 - RATE) * before[name] + RATE * source.detach()
        else:
            expected = before[name] - lr * slopes[name]
        assert_close(parameter.detach(), expected)


def test_losses_of_finite_action_algorithms_do_not_depend_on_the_random_state(build, actions, batch):
    """Every expectation over actions is an exact sum, so the random state has no effect."""
    algorithm = build(OBS, actions)
    first = algorithm.losses(batch)
    torch.manual_seed(99)
    assert_close(algorithm.losses(batch), first, rtol=0, atol=0)


def test_every_trainable_network_has_an_optimizer_and_a_fixed_temperature_has_none(build, actions):
    algorithm = build(OBS, actions)
    learned = isinstance(algorithm.temperature, LearnedTemperature)
    assert ("temperature" in algorithm.trained_networks()) == learned
    owned = [
        id(p)
        for optimizer in algorithm.configure_optimizers()
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    assert sorted(owned) == sorted(id(p) for p in algorithm.parameters() if p.requires_grad)


def test_no_loss_depends_on_the_state_after_termination(build, actions, batch):
    algorithm = build(OBS, actions)
    next_obs = batch.next_obs.clone()
    next_obs[batch.terminated] = math.nan
    expected = algorithm.losses(batch)
    assert_close(algorithm.losses(batch._replace(next_obs=next_obs)), expected, rtol=0, atol=0)


# ---- losses worked out by hand, for networks that are constants ----------------------------------------------------------

# One number for each choice of the largest of COUNTS; an action space with fewer takes the first ones.  In units of
# 2^-8 all are whole and of 8 bits or less, so that bfloat16 holds them, but not every sum of two.  The first two have the
# mean of the last three, so that it does not matter here how Q is shared between two factors.
Q1, Q2 = np.array([129, -63, 230, 51, -182]) / 256, np.array([26, 192, 103, 69, 155]) / 256
TARGET_Q1, TARGET_Q2 = np.array([254, 198, 243, 205, 230]) / 256, np.array([235, 213, 250, 225, 197]) / 256
LOGITS = np.array([77, -153, 251, 0, -101]) / 256
V, TARGET_V = 0.75, -1.0


def constant_networks(algorithm):
    dim = algorithm.actions.dim
    constant(algorithm.critic.network, Q1[:dim], Q2[:dim])
    if isinstance(algorithm, QLearning | DiscreteSAC):
        constant(algorithm.target_critic.network.network, TARGET_Q1[:dim], TARGET_Q2[:dim])
    if isinstance(algorithm, DiscreteSAC | DiscreteValueSAC):
        constant(algorithm.policy.network, LOGITS[:dim])
    if isinstance(algorithm, DiscreteValueSAC):
        constant(algorithm.value.network, V)
        constant(algorithm.target_value.network.network, TARGET_V)


def by_factor(counts, numbers):
    return np.split(numbers[: sum(counts)], np.cumsum(counts)[:-1])


def soft_value_of(counts, q, policy_of_factor):
    """``sum_a pi (Q - alpha log pi)`` over the factors, and the entropy, in float64 and without the package."""
    value, nats = 0.0, 0.0
    for own, log_pi in zip(by_factor(counts, q), policy_of_factor):
        value += (np.exp(log_pi) * (own - ALPHA * log_pi)).sum()
        nats += entropy(np.exp(log_pi))
    return value, nats


def soft_q_equations(counts):
    q, target_q = np.minimum(Q1, Q2), np.minimum(TARGET_Q1, TARGET_Q2)
    own_policy = [log_softmax(own / ALPHA) for own in by_factor(counts, q)]
    next_value = sum(ALPHA * logsumexp(own / ALPHA) for own in by_factor(counts, target_q))
    return {"entropy": soft_value_of(counts, q, own_policy)[1], "next_value": next_value}


def discrete_sac_equations(counts):
    policy = [log_softmax(own) for own in by_factor(counts, LOGITS)]
    value, nats = soft_value_of(counts, np.minimum(Q1, Q2), policy)
    next_value, _ = soft_value_of(counts, np.minimum(TARGET_Q1, TARGET_Q2), policy)
    return {"entropy": nats, "next_value": next_value, "policy": -value}


def discrete_value_sac_equations(counts):
    equations = discrete_sac_equations(counts)
    return equations | {"next_value": TARGET_V, "value": (V + equations["policy"]) ** 2}


EQUATIONS = {
    SoftQLearning: soft_q_equations,
    DiscreteSAC: discrete_sac_equations,
    DiscreteValueSAC: discrete_value_sac_equations,
}


def expected_losses(algorithm, batch):
    counts, played = algorithm.actions.counts, batch.action.double().numpy()
    equations = EQUATIONS[type(algorithm)](counts)
    continuation = (~batch.terminated).double().numpy()
    target = batch.reward.double().numpy() + DISCOUNT * continuation * equations.pop("next_value")
    nats = equations.pop("entropy")
    surplus = nats - 0.7 * sum(math.log(count) for count in counts)
    learned = isinstance(algorithm.temperature, LearnedTemperature)
    dim = sum(counts)
    errors = [(played @ member[:dim] - target) ** 2 for member in (Q1, Q2)]
    return equations | {"critic": sum(errors).mean(), "temperature": ALPHA * surplus if learned else 0.0}, nats


def test_losses_of_constant_networks_equal_the_equations_of_the_papers(build, actions, batch):
    algorithm = build(OBS, actions)
    constant_networks(algorithm)
    losses, (expected, _) = algorithm.losses(batch), expected_losses(algorithm, batch)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert float(loss.detach()) == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name


def test_under_bfloat16_autocast_only_networks_compute_in_bfloat16(build, actions, batch):
    algorithm = build(OBS, actions)
    constant_networks(algorithm)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, (expected, _) = algorithm.losses(batch), expected_losses(algorithm, batch)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert float(loss.detach()) == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name


def test_drained_metrics_are_means_over_the_updates_since_the_last_drain(build, actions, batch):
    resting = {"optimizers": Optimizers(partial(SGD, lr=0.0))} | {"target": PeriodicTarget}
    algorithm = build(OBS, actions, **resting)
    constant_networks(algorithm)
    optimizers, dim = named_optimizers(algorithm), actions.dim
    halves = [Transition(*(x[: BATCH // 2] for x in batch)), Transition(*(x[BATCH // 2 :] for x in batch))]
    for repeats in ((1, 1), (3, 1)):
        smaller, critic_loss = [], []
        for repeat, half in zip(repeats, halves):
            played, (expected, nats) = half.action.double().numpy(), expected_losses(algorithm, half)
            smaller += [np.minimum(played @ Q1[:dim], played @ Q2[:dim]).mean()] * repeat
            critic_loss += [expected["critic"]] * repeat
            for _ in range(repeat):
                algorithm.update(half, optimizers)
        metrics = algorithm.drain_metrics()
        assert metrics["entropy"] == pytest.approx(nats, rel=1e-5)
        assert metrics["temperature"] == pytest.approx(ALPHA)
        assert metrics["q"] == pytest.approx(np.mean(smaller), abs=1e-5)
        assert metrics["loss/critic"] == pytest.approx(np.mean(critic_loss), abs=1e-5)
    assert metrics["gradient_steps"] == 6
    target = 0.7 * sum(math.log(count) for count in actions.counts)
    learned = isinstance(algorithm.temperature, LearnedTemperature)
    assert metrics.get("entropy_target") == (pytest.approx(target) if learned else None)


def test_q_value_sums_the_smaller_member_of_every_factor_as_the_policy_and_the_backup_do(build, actions, batch):
    algorithm = build(OBS, actions)
    constant_networks(algorithm)
    expected = batch.action.double().numpy() @ np.minimum(Q1, Q2)[: actions.dim]
    assert_close(algorithm.q_value(batch.obs, batch.action).double(), torch.as_tensor(expected))


def test_value_and_entropy_are_the_exact_sums_over_actions(build, actions, batch):
    algorithm = build(OBS, actions)
    constant_networks(algorithm)
    q = np.minimum(Q1, Q2)
    scores = LOGITS if hasattr(algorithm, "policy") else q / ALPHA
    expected = soft_value_of(actions.counts, q, [log_softmax(own) for own in by_factor(actions.counts, scores)])
    for result, number in zip(algorithm.value_and_entropy(batch.obs), expected):
        assert_close(result, torch.full((BATCH,), float(number)), rtol=1e-5, atol=1e-6)


# ---- how it plays ------------------------------------------------------------------------------------------------------


def test_deterministic_actions_are_the_mode_of_every_factor_and_do_not_depend_on_the_random_state(build, actions):
    algorithm, obs = build(OBS, actions), torch.randn(64, OBS)
    torch.manual_seed(0)
    played, sampled = algorithm.act(obs, deterministic=True), algorithm.act(obs)
    with torch.no_grad():
        factors = algorithm.log_probs(obs).split(actions.counts, -1)
    expected = [(factor == factor.amax(-1, keepdim=True)).float() for factor in factors]
    assert_close(played, torch.cat(expected, -1), rtol=0, atol=0)
    torch.manual_seed(1)
    assert_close(algorithm.act(obs, deterministic=True), played, rtol=0, atol=0)
    assert (algorithm.act(obs) != sampled).any()


@pytest.mark.parametrize("how", ["act", "explore"])
def test_actions_are_drawn_with_the_probabilities_of_the_policy(build, actions, how):
    torch.manual_seed(3)
    algorithm, draws = build(OBS, actions), 10_000
    constant_networks(algorithm)
    scores = LOGITS if hasattr(algorithm, "policy") else np.minimum(Q1, Q2) / ALPHA
    played = getattr(algorithm, how)(torch.randn(draws, OBS))
    for factor, own in zip(played.split(actions.counts, -1), by_factor(actions.counts, scores)):
        assert chisquare(factor.sum(0).numpy(), draws * softmax(own)).pvalue > 1e-3


class Recording(AbstractExploration):
    """Chooses the last choice of every factor, and records its arguments."""

    def __init__(self, actions):
        super().__init__()
        self.actions = actions

    def forward(self, q, log_probs):
        self.given = q, log_probs
        last = [torch.eye(count)[-1] for count in self.actions.counts]
        return torch.cat(last).expand(len(q), -1)


def test_every_algorithm_explores_by_its_exploration_and_acts_by_its_policy(build, actions):
    algorithm = build(OBS, actions, exploration=Recording)
    last = torch.cat([torch.eye(count)[-1] for count in actions.counts])
    obs = torch.randn(BATCH, OBS)
    assert_close(algorithm.explore(obs), last.expand(BATCH, -1), rtol=0, atol=0)
    q, log_probs = algorithm.exploration.given
    with torch.no_grad():
        assert_close([q, log_probs], [algorithm.every_q(obs), algorithm.log_probs(obs)])
    assert (algorithm.act(torch.randn(200, OBS)) != last).any()


def test_soft_q_learning_explores_by_its_exploration_and_acts_by_its_policy(actions):
    algorithm = FINITE_ALGORITHMS["soft_q_fixed"](OBS, actions, exploration=Recording)
    constant_networks(algorithm)
    played = algorithm.explore(torch.randn(BATCH, OBS))
    last = torch.cat([torch.eye(count)[-1] for count in actions.counts])
    assert_close(played, last.expand(BATCH, -1), rtol=0, atol=0)
    q, log_probs = algorithm.exploration.given
    smaller = np.minimum(Q1, Q2)
    policy = np.concatenate([log_softmax(own / ALPHA) for own in by_factor(actions.counts, smaller)])
    expected = [torch.tensor(x[: actions.dim], dtype=torch.float32).expand(BATCH, -1) for x in (smaller, policy)]
    assert_close([q, log_probs], expected)
    assert (algorithm.act(torch.randn(200, OBS)) != last).any()


# ---- at alpha = 0 soft Q-learning is Q-learning --------------------------------------------------------------------------

HARD = {
    "soft_q": partial(SoftQLearning, temperature=partial(FixedTemperature, alpha=0.0)),
    "dqn": partial(DQN, exploration=PolicyExploration),
}


@pytest.fixture(params=HARD)
def kind(request):
    return HARD[request.param]


def hard(kind, actions, **kwargs):
    algorithm = kind(OBS, actions, **PARTS, **kwargs)
    disturb(algorithm)
    if len(actions.counts) > 1:
        constant_networks(algorithm)
    return algorithm


def test_at_alpha_zero_the_target_of_soft_q_learning_is_the_best_of_the_smaller_members(kind, actions, batch):
    algorithm = hard(kind, actions)
    with torch.no_grad():
        members = algorithm.target_critic.network.every_action(batch.next_obs, torch.eye(actions.dim))
        best = sum(factor.amax(-1) for factor in members.amin(0).split(actions.counts, -1))
        target = batch.reward + DISCOUNT * torch.where(batch.terminated, 0.0, best)
        error = (algorithm.critic(batch.obs, batch.action) - target).square()
    losses = algorithm.losses(batch)
    assert_close(losses["critic"], error.sum(0).mean())
    assert all(float(loss) == 0.0 for name, loss in losses.items() if name != "critic")


def test_at_alpha_zero_soft_q_learning_plays_the_action_of_the_largest_q_even_where_it_samples(kind, actions):
    algorithm, obs = hard(kind, actions), torch.randn(64, OBS)
    with torch.no_grad():
        factors = algorithm.critic.every_action(obs, torch.eye(actions.dim)).amin(0).split(actions.counts, -1)
    best = torch.cat([torch.eye(factor.shape[-1])[factor.argmax(-1)] for factor in factors], -1)
    for played in (algorithm.act(obs, deterministic=True), algorithm.act(obs), algorithm.explore(obs)):
        assert_close(played, best, rtol=0, atol=0)
    value, nats = algorithm.value_and_entropy(obs)
    assert_close(value, sum(factor.amax(-1) for factor in factors))
    assert_close(nats, torch.zeros(64), rtol=0, atol=0)


# ---- other critics -----------------------------------------------------------------------------------------------------


def test_a_pairwise_critic_gives_the_same_losses_as_every_action(learner):
    algorithm = learner(OBS, FiniteActions((3,)), critic=partial(TwinCritic, network=partial(MLP, hidden_dims=(8,))))
    disturb(algorithm)
    obs, eye = torch.randn(BATCH, OBS), torch.eye(3)
    batch = Transition(obs, eye[torch.arange(BATCH) % 3], torch.randn(BATCH), -obs, torch.arange(BATCH) % 4 == 0)

    def every(critic, obs):
        return torch.stack([critic(obs, action.expand(BATCH, -1)).amin(0) for action in eye], -1).detach()

    log_probs, next_log_probs = (algorithm.log_probs(obs).detach() for obs in (batch.obs, batch.next_obs))
    losses = algorithm.losses(batch)
    if hasattr(algorithm, "target_critic"):
        next_q = every(algorithm.target_critic.network, batch.next_obs)
        next_log_probs = next_log_probs if hasattr(algorithm, "policy") else (next_q / ALPHA).log_softmax(-1)
        next_value = (next_log_probs.exp() * (next_q - ALPHA * next_log_probs)).sum(-1)
    else:
        next_value = algorithm.target_value(batch.next_obs)
    target = batch.reward + DISCOUNT * torch.where(batch.terminated, 0.0, next_value)
    assert_close(losses["critic"], (algorithm.critic(obs, batch.action) - target).square().sum(0).mean())
    if "policy" in losses:
        costs = (log_probs.exp() * (ALPHA * log_probs - every(algorithm.critic, obs))).sum(-1)
        assert_close(losses["policy"], costs.mean())


class Quantiles(AbstractCritic):
    """Three numbers for each of two members; the policy maximizes their mean, and the backup uses them sorted."""

    def __init__(self, obs_dim, action_dim):
        super().__init__()
        self.network = torch.nn.Linear(obs_dim + action_dim, 6)

    def forward(self, obs, action):
        return self.network(torch.cat((obs, action), -1)).unflatten(-1, (2, 3)).transpose(0, 1)

    def value(self, prediction):
        return prediction.mean((0, 2))

    def target(self, prediction):
        return ReturnDistribution.equally_likely(prediction.transpose(0, 1).flatten(1).sort(-1)[0])

    def loss(self, prediction, target):
        distance = (prediction.unsqueeze(-1) - target.atoms.unsqueeze(-2)).abs()
        return (distance * target.probs.unsqueeze(-2)).sum(-1).mean(-1)


@pytest.mark.parametrize("name", ["soft_q_fixed", "discrete_sac_fixed"])
def test_the_backup_is_the_mixture_of_every_action_s_atoms_with_the_entropy_of_choosing_it(name):
    algorithm = FINITE_ALGORITHMS[name](OBS, FiniteActions((3,)), critic=Quantiles)
    disturb(algorithm)
    obs, eye = torch.randn(BATCH, OBS), torch.eye(3)
    batch = Transition(obs, eye[torch.arange(BATCH) % 3], torch.randn(BATCH), -obs, torch.arange(BATCH) % 4 == 0)
    copy = algorithm.target_critic.network
    with torch.no_grad():
        predictions = [copy(batch.next_obs, action.expand(BATCH, -1)) for action in eye]
        scores = torch.stack([copy.value(prediction) for prediction in predictions], -1) / ALPHA
        policy = algorithm.policy(batch.next_obs) if hasattr(algorithm, "policy") else scores.log_softmax(-1)
        atoms = [copy.target(prediction).atoms - ALPHA * policy[:, [a]] for a, prediction in enumerate(predictions)]
        next_value = torch.cat(atoms, -1).masked_fill(batch.terminated.unsqueeze(-1), 0.0)
        probs = torch.repeat_interleave(policy.exp(), 6, dim=-1) / 6
        target = ReturnDistribution(batch.reward.unsqueeze(-1) + DISCOUNT * next_value, probs)
        expected = algorithm.critic.loss(algorithm.critic(obs, batch.action), target).sum(0).mean()
    assert_close(algorithm.losses(batch)["critic"], expected)


# ---- what is refused ---------------------------------------------------------------------------------------------------


def test_continuous_actions_are_refused_and_a_continuous_algorithm_is_named(build):
    with pytest.raises(MaxEntError, match=rf"^{build.func.__name__} needs finite actions .* use SAC .*\.$"):
        build(OBS, BoxActions(2))


@pytest.mark.parametrize("kind", [ValueSAC, SAC])
def test_finite_actions_are_refused_by_continuous_algorithms_and_finite_ones_are_named(actions, kind):
    sentence = rf"^{kind.__name__} needs continuous actions .* use SoftQLearning or DiscreteSAC.*\.$"
    with pytest.raises(MaxEntError, match=sentence):
        kind(OBS, actions, critic=TwinCritic, policy=SquashedGaussian)


@pytest.mark.parametrize("discount", [-0.1, 1.1, math.nan])
def test_a_discount_outside_zero_to_one_is_refused(learner, discount):
    with pytest.raises(MaxEntError, match=r"^The discount must lie in \[0, 1\], but is .*\.$"):
        learner(OBS, FiniteActions((3,)), discount=discount)


# ---- worlds whose soft values are known ----------------------------------------------------------------------------------

SOFT = 0.5
"""The temperature in these worlds."""
TABLES = {
    "critic": partial(TwinHeadsCritic, network=partial(MLP, hidden_dims=())),
    "policy": partial(Categorical, network=partial(MLP, hidden_dims=())),
    "value": partial(StateValue, network=partial(MLP, hidden_dims=())),
    "target": partial(PolyakTarget, rate=0.3),
}


def tables(learner, states, counts, temperature=None, **kwargs):
    """The algorithm with a table in place of every network."""
    torch.manual_seed(0)
    return learner(
        states,
        FiniteActions(counts),
        temperature=temperature or partial(FixedTemperature, alpha=SOFT),
        **{name: table for name, table in TABLES.items() if name in learner.keywords},
        optimizers=Optimizers(partial(Adam, lr=0.1, betas=(0.8, 0.99))),
        **kwargs,
    )


def train(algorithm, batch, updates):
    """On a batch that holds every pair of the world."""
    optimizers = named_optimizers(algorithm)
    for number in range(updates):
        if number == updates * 3 // 4:  # settle
            for optimizer in optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] /= 10
        algorithm.update(batch, optimizers)


def every_pair(reward, counts, next_state=None):
    """One transition for each state and combination of choices; terminated where ``next_state`` is None or negative."""
    states, combinations = reward.shape
    obs = torch.eye(states).repeat_interleave(combinations, 0)
    following = torch.full((states, combinations), -1) if next_state is None else next_state
    terminated = following.flatten() < 0
    next_obs = torch.eye(states)[following.flatten()]
    next_obs[terminated] = math.nan
    return Transition(obs, all_actions(counts).repeat(states, 1), reward.flatten(), next_obs, terminated)


@torch.no_grad()
def solution(algorithm, batch):
    """Q of every pair, and V and the joint policy of every state."""
    states, counts = batch.obs.shape[-1], algorithm.actions.counts
    q = algorithm.q_value(batch.obs, batch.action).view(states, -1)
    value, _ = algorithm.value_and_entropy(torch.eye(states))
    policy = (algorithm.log_probs(torch.eye(states)) @ all_actions(counts).T).exp()
    return q, value, policy


def assert_solved(algorithm, batch, q, alpha=SOFT, atol=0.01):
    """V and the policy are the soft maximum and the softmax of a Q that is known."""
    found_q, value, policy = solution(algorithm, batch)
    assert_close(found_q, q, rtol=0, atol=atol)
    assert_close(policy, torch.as_tensor(softmax(q.numpy() / alpha, axis=-1)), rtol=0, atol=atol)
    assert_close(value, torch.as_tensor(alpha * logsumexp(q.numpy() / alpha, axis=-1)), rtol=0, atol=atol)


BANDIT = torch.tensor([[1.0, 0.5, -1.0], [0.0, 0.0, 2.0]])


def assert_value_network_solved(algorithm, states, atol=0.01):
    """V, where it is a network of its own, is the soft value of the policy."""
    if hasattr(algorithm, "value"):
        obs = torch.eye(states)
        assert_close(algorithm.value(obs), algorithm.value_and_entropy(obs)[0], rtol=0, atol=atol)


def test_in_a_world_of_one_step_q_is_the_reward_v_its_soft_maximum_and_the_policy_its_softmax(learner):
    algorithm, batch = tables(learner, 2, (3,)), every_pair(BANDIT, (3,))
    train(algorithm, batch, updates=120)
    assert_solved(algorithm, batch, BANDIT)
    assert_value_network_solved(algorithm, 2)


def test_in_a_world_of_two_steps_truncation_bootstraps_the_soft_value_and_termination_does_not(learner):
    """State 0 leads to state 2, where a time limit truncates the episode; state 1 leads to the same state, which
    terminates it.
    """
    reward, next_state = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 1.5]]), torch.tensor([[2, 2], [-1, -1], [-1, -1]])
    algorithm, batch = tables(learner, 3, (2,), discount=0.5), every_pair(reward, (2,), next_state)
    batch.next_obs[batch.obs[:, 1] == 1] = torch.eye(3)[2]
    train(algorithm, batch, updates=120)
    later = SOFT * math.log(math.exp(2 / SOFT) + math.exp(1.5 / SOFT))
    assert_solved(algorithm, batch, reward + 0.5 * later * torch.tensor([[1.0], [0.0], [0.0]]))
    assert_value_network_solved(algorithm, 3)


@pytest.mark.usefixtures("shapes_unchecked")
def test_on_a_random_decision_process_the_soft_optimum_of_value_iteration_is_learned(learner):
    """Deterministic, so that a batch of every pair is an exact sweep; some pairs end the episode."""
    generator = torch.Generator().manual_seed(5)
    states, count, discount = 4, 3, 0.5
    reward = torch.randn(states, count, generator=generator)
    next_state = torch.randint(-1, states, (states, count), generator=generator)
    transition = torch.zeros(states, count, states + 1, dtype=torch.float64)
    transition.scatter_(-1, (next_state % (states + 1)).unsqueeze(-1), 1.0)  # the last state is the end
    terminal = torch.arange(states + 1) == states
    padded = torch.cat((reward.double(), torch.zeros(1, count, dtype=torch.float64)))
    transition = torch.cat((transition, torch.zeros(1, count, states + 1, dtype=torch.float64)))
    q, _ = soft_value_iteration(MDP(padded, transition, terminal, discount), SOFT)
    algorithm, batch = tables(learner, states, (count,), discount=discount), every_pair(reward, (count,), next_state)
    train(algorithm, batch, updates=160)
    assert_solved(algorithm, batch, q[:states].float())
    assert_value_network_solved(algorithm, states)


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_learned_temperature_settles_where_the_boltzmann_policy_has_the_target_entropy(learner):
    reward, target = np.array([1.0, 0.5, -1.0]), 0.6
    alpha = brentq(lambda alpha: entropy(softmax(reward / alpha)) - target, 0.01, 10)
    temperature = partial(LearnedTemperature, initial_alpha=1.0, target_entropy=target)
    algorithm, batch = tables(learner, 1, (3,), temperature), every_pair(BANDIT[:1], (3,))
    train(algorithm, batch, updates=160)
    assert float(algorithm.temperature().detach()) == pytest.approx(alpha, rel=0.02)
    assert float(algorithm.value_and_entropy(torch.ones(1, 1))[1].detach()) == pytest.approx(target, abs=0.01)
    assert_solved(algorithm, batch, BANDIT[:1], alpha=alpha)


# ---- several factors ---------------------------------------------------------------------------------------------------

FACTORS = torch.tensor([1.0, -0.5]), torch.tensor([0.3, 0.0, -1.0])
ADDITIVE = (FACTORS[0].unsqueeze(-1) + FACTORS[1]).flatten().unsqueeze(0)
"""The reward of every combination: the sum of a number for each choice."""


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_reward_that_is_a_sum_over_factors_is_learned_exactly_by_factors(learner):
    """The solution is that of the one large choice among all combinations."""
    algorithm, batch = tables(learner, 1, (2, 3)), every_pair(ADDITIVE, (2, 3))
    train(algorithm, batch, updates=120)
    q, _, policy = solution(algorithm, batch)
    assert_close(q, ADDITIVE, rtol=0, atol=0.01)
    assert_close(policy, torch.as_tensor(softmax(ADDITIVE.numpy() / SOFT, axis=-1)), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    "shares",
    [(0.0, 0.0), (0.3, 0.3), (0.5, -0.5), (-2.0, 1.0)],
)
def test_soft_value_is_that_of_all_combinations_however_the_members_share_q_among_the_factors(learner, shares):
    """Q of a combination does not determine the Q of its factors: a constant can move from one factor to another."""
    algorithm = tables(learner, 1, (2, 3))
    first, second = FACTORS
    members = [torch.cat((first + share, second - share)).numpy() for share in shares]
    constant(algorithm.critic.network, *members)
    if hasattr(algorithm, "target_critic"):
        constant(algorithm.target_critic.network.network, *members)
    if hasattr(algorithm, "policy"):
        constant(algorithm.policy.network, torch.cat(FACTORS).numpy() / SOFT)
    batch = every_pair(ADDITIVE, (2, 3), next_state=torch.zeros(1, 6, dtype=torch.int64))
    assert_solved(algorithm, batch, ADDITIVE, atol=1e-5)
    soft_maximum = SOFT * logsumexp(ADDITIVE.numpy() / SOFT)
    losses = algorithm.losses(batch)
    if hasattr(algorithm, "value"):
        predicted = algorithm.value(torch.ones(1, 1)).item()
        assert float(losses["value"].detach()) == pytest.approx((predicted - soft_maximum) ** 2, abs=1e-4)
    else:
        expected = 2 * (algorithm.discount * soft_maximum) ** 2
        assert float(losses["critic"].detach()) == pytest.approx(expected, abs=1e-4)
    if "policy" in losses:
        assert float(losses["policy"].detach()) == pytest.approx(-soft_maximum, abs=1e-4)
