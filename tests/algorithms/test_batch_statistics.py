"""Which batches batch normalization takes its statistics from in the replay algorithms, with a second implementation of
CrossQ and FlashSAC.
"""

from copy import deepcopy
from functools import partial

import pytest
import torch
from helpers import lose, made_up, modes, named_optimizers, snapshot
from torch.optim import SGD
from torch.testing import assert_close

from lightning_maxent import Optimizers
from lightning_maxent.actions import BoxActions, FiniteActions
from lightning_maxent.algorithms.discrete_sac import DiscreteSAC
from lightning_maxent.algorithms.discrete_value_sac import DiscreteValueSAC
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.algorithms.soft_q_learning import SoftQLearning
from lightning_maxent.algorithms.value_sac import ValueSAC
from lightning_maxent.critics.categorical import CategoricalCritic, ProjectedHistogram
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.critics.twin_heads import TwinHeadsCritic
from lightning_maxent.networks import BatchRenormMLP, FlashNet
from lightning_maxent.networks.layers import UnitBatchNorm, UnitLinear
from lightning_maxent.policies.categorical import Categorical
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.targets import JointPass, JointPolyakTarget, PolyakTarget
from lightning_maxent.temperature import FixedTemperature
from lightning_maxent.value import StateValue

OBS, ACTION, BATCH = 3, 2, 32
ALPHA, DISCOUNT, RATE = 0.3, 0.9, 0.3
FIXED = partial(FixedTemperature, alpha=ALPHA)
NORMED = partial(BatchRenormMLP, hidden_dims=(8,))
FLASH = partial(FlashNet, width=8, blocks=1)
BOX, FINITE = BoxActions(ACTION), FiniteActions((ACTION,))


def parts(network):
    twin, heads = partial(TwinCritic, network=network), partial(TwinHeadsCritic, network=network)
    gaussian, categorical = partial(SquashedGaussian, network=network), partial(Categorical, network=network)
    value = partial(StateValue, network=network)
    return {
        "value_sac": partial(ValueSAC, actions=BOX, critic=twin, policy=gaussian, value=value),
        "sac": partial(SAC, actions=BOX, critic=twin, policy=gaussian),
        "soft_q": partial(SoftQLearning, actions=FINITE, critic=heads),
        "soft_q_of_pairs": partial(SoftQLearning, actions=FINITE, critic=twin),
        "discrete_sac": partial(DiscreteSAC, actions=FINITE, critic=heads, policy=categorical),
        "discrete_value_sac": partial(DiscreteValueSAC, actions=FINITE, critic=heads, policy=categorical, value=value),
    }


ALGORITHMS = {name: partial(build, OBS, temperature=FIXED, discount=DISCOUNT) for name, build in parts(NORMED).items()}
TARGETS = {"polyak": PolyakTarget, "joint_pass": JointPass, "joint_polyak": JointPolyakTarget}


OF_V = ("value_sac", "discrete_value_sac")  # whose target is the slow copy of V, which no joint pass serves
PAIRS = {
    f"{name}-{target}": (ALGORITHMS[name], TARGETS[target])
    for name in ALGORITHMS
    for target in TARGETS
    if target == "polyak" or name not in OF_V
}


@pytest.fixture(params=PAIRS.values(), ids=PAIRS)
def pair(request):
    return request.param


@pytest.fixture
def build(pair):
    return pair[0]


@pytest.fixture
def target(pair):
    return pair[1]


@pytest.fixture
def batch():
    """Of states and next states whose statistics differ."""
    batch = made_up(OBS, FINITE, BATCH)
    return batch._replace(obs=2 * batch.obs + 1, next_obs=batch.next_obs - 1)


def test_every_network_updates_its_batch_statistics_once_per_update(build, target, batch):
    """The policy's pass through Q, the pass for the next action and target networks do not change the statistics."""
    algorithm = build(target=target)
    lose(algorithm, batch)
    joint = target is not PolyakTarget and hasattr(algorithm, "target_critic")
    for name in algorithm.trained_networks():
        norm = getattr(algorithm, name).network[0]
        both = joint and name == "critic"
        seen = torch.cat((batch.obs, batch.next_obs)) if both else batch.obs
        assert int(norm.passes) == 1, name
        assert_close(norm.mean[..., :OBS], (0.01 * seen.mean(0)).expand(len(norm.mean), 1, OBS), msg=name)
    assert all(modes(algorithm))


@pytest.mark.parametrize("how", ["act", "explore"])
def test_acting_uses_running_statistics_and_does_not_change_them(build, target, batch, how):
    algorithm = build(target=target)
    lose(algorithm, batch)
    before = snapshot(algorithm)
    play = getattr(algorithm, how)
    played = []
    for _ in range(2):
        torch.manual_seed(3)
        played.append(play(batch.obs))
        algorithm.eval()  # the second time, and then the same
    assert_close(played[1], played[0], rtol=0, atol=0)
    assert_close(algorithm.state_dict(), before, rtol=0, atol=0)
    algorithm.train()
    play(batch.obs)
    assert all(modes(algorithm))


# ---- published algorithms, written down again ------------------------------------------------------------------------------


def both(now, following):
    return torch.cat((now, following))


def disturbed(algorithm, batch):
    """Gives running statistics and target networks values that differ from the initial ones."""
    optimizers = named_optimizers(algorithm)
    for _ in range(3):
        algorithm.update(batch, optimizers)
    return algorithm


def drawn(algorithm, batch):
    """Actions of the policy, with batch statistics for the current states and running statistics for the next states."""
    policy = deepcopy(algorithm.policy)
    torch.manual_seed(7)
    action, log_prob = policy(batch.obs)
    with torch.no_grad():
        next_action, next_log_prob = policy.eval()(batch.next_obs)
    return action, log_prob, next_action, next_log_prob


SGD_LARGE = partial(SGD, lr=0.1)
RESTLESS = {"optimizers": Optimizers(critic=SGD_LARGE, policy=SGD_LARGE)}


@pytest.mark.parametrize("warmup", [0, 100])
def test_losses_of_crossq_equal_those_of_its_paper(batch, warmup):
    """One joint pass of the critic over both pairs without a target network; the policy's pass uses running statistics."""
    network = partial(NORMED, warmup=warmup)
    build = partial(parts(network)["sac"], OBS, temperature=FIXED, discount=DISCOUNT)
    algorithm = disturbed(build(target=JointPass, **RESTLESS), batch)
    action, log_prob, next_action, next_log_prob = drawn(algorithm, batch)
    live, asked = deepcopy(algorithm.critic).network, deepcopy(algorithm.critic).network.eval()

    def q_of(network, obs, action):
        pair = torch.cat((obs, action), -1)
        return network(torch.stack((pair, pair)))[..., 0]

    q = q_of(live, both(batch.obs, batch.next_obs), both(batch.action, next_action))
    continuation = (~batch.terminated).float()
    following = q[:, BATCH:].detach().amin(0) - ALPHA * next_log_prob
    y = batch.reward + DISCOUNT * continuation * following
    expected = {
        "critic": ((q[0, :BATCH] - y) ** 2 + (q[1, :BATCH] - y) ** 2).mean(),
        "policy": (ALPHA * log_prob - q_of(asked, batch.obs, action).amin(0)).mean(),
        "temperature": torch.zeros(()),
    }
    losses = lose(algorithm, batch)
    assert_close(losses, expected)
    assert_close(algorithm.critic.network.state_dict(), live.state_dict(), rtol=0, atol=0)
    slopes = torch.autograd.grad(losses["critic"], list(algorithm.critic.parameters()))
    assert_close(slopes, torch.autograd.grad(expected["critic"], list(live.parameters())))


LOW, HIGH, BINS = -2.0, 2.0, 5


def flash_sac(**kwargs):
    critic = partial(CategoricalCritic, low=LOW, high=HIGH, bins=BINS, histogram=ProjectedHistogram, network=FLASH)
    policy = partial(SquashedGaussian, network=FLASH)
    return SAC(OBS, BOX, critic, policy, FIXED, partial(JointPolyakTarget, rate=RATE), discount=DISCOUNT, **kwargs)


def test_losses_of_flash_sac_equal_those_of_its_code(batch):
    """The critic and its target network each pass over both pairs; the histogram with the smaller mean is shifted and
    projected.
    """
    algorithm = disturbed(flash_sac(**RESTLESS), batch)
    action, log_prob, next_action, next_log_prob = drawn(algorithm, batch)
    critic = algorithm.critic
    live, asked = deepcopy(critic).network, deepcopy(critic).network.eval()
    copy = deepcopy(algorithm.target_critic.network).network
    assert (copy[1].weight - live[1].weight).abs().max() > 1e-3
    centers, width = torch.linspace(LOW, HIGH, BINS), (HIGH - LOW) / (BINS - 1)

    def logits_of(network, obs, action):
        pair = torch.cat((obs, action), -1)
        return network(torch.stack((pair, pair)))

    pairs = both(batch.obs, batch.next_obs), both(batch.action, next_action)
    believed = logits_of(copy, *pairs).detach()[:, BATCH:].softmax(-1)
    predicted = logits_of(live, *pairs)[:, :BATCH].log_softmax(-1)
    loss = torch.zeros(())
    for sample in range(BATCH):
        first, second = believed[:, sample]
        probs = first if (first * centers).sum() < (second * centers).sum() else second
        histogram = torch.zeros(BINS)
        for center, prob in zip(centers, probs):
            continuation = 0.0 if batch.terminated[sample] else 1.0
            z = batch.reward[sample] + DISCOUNT * continuation * (center - ALPHA * next_log_prob[sample])
            distance = (z.clamp(LOW, HIGH) - centers).abs() / width
            histogram += prob * (1 - distance).clamp(min=0)
        loss = loss - (histogram * predicted[:, sample]).sum() / BATCH
    q = (logits_of(asked, batch.obs, action).softmax(-1) * centers).sum(-1).amin(0)
    losses = lose(algorithm, batch)
    assert_close(losses["critic"], loss, rtol=1e-4, atol=1e-5)
    assert_close(losses["policy"], (ALPHA * log_prob - q).mean(), rtol=1e-4, atol=1e-5)
    assert_close(critic.network.state_dict(), live.state_dict())
    slopes = torch.autograd.grad(losses["critic"], list(critic.parameters()))
    assert_close(slopes, torch.autograd.grad(loss, list(live.parameters())), rtol=1e-3, atol=1e-5)


def test_after_every_update_constraints_hold_and_slow_copies_follow_by_their_formula_untouched(batch):
    large = partial(SGD, lr=1.0)
    algorithm = flash_sac(optimizers=Optimizers(critic=large, policy=large))
    optimizers = named_optimizers(algorithm)
    for _ in range(3):
        before = {name: p.detach().clone() for name, p in algorithm.target_critic.network.named_parameters()}
        algorithm.update(batch, optimizers)
        for network in (algorithm.critic, algorithm.policy):
            for layer in network.modules():
                if isinstance(layer, UnitLinear):
                    norms = layer.weight.norm(dim=1)
                    assert_close(norms, torch.ones_like(norms))
                if isinstance(layer, UnitBatchNorm):
                    squares = (layer.scale.square() + layer.shift.square()).mean(-1)
                    assert_close(squares, torch.ones_like(squares))
        for name, source in algorithm.critic.named_parameters():
            copy = algorithm.target_critic.network.get_parameter(name)
            assert_close(copy, (1 - RATE) * before[name] + RATE * source.detach())
    loose = algorithm.target_critic.network.network[1].weight.norm(dim=1)
    assert (1 - loose).abs().max() > 1e-3  # a mixture of unit vectors is shorter
