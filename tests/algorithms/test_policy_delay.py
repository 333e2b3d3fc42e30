"""Policies that are updated less often than Q."""

from functools import partial

import pytest
import torch
from helpers import made_up, named_optimizers
from torch.testing import assert_close

from lightning_maxent.actions import BoxActions, FiniteActions
from lightning_maxent.algorithms.discrete_sac import DiscreteSAC
from lightning_maxent.algorithms.discrete_value_sac import DiscreteValueSAC
from lightning_maxent.algorithms.sac import SAC
from lightning_maxent.algorithms.value_sac import ValueSAC
from lightning_maxent.critics.twin import TwinCritic
from lightning_maxent.critics.twin_heads import TwinHeadsCritic
from lightning_maxent.errors import MaxEntError
from lightning_maxent.networks import MLP
from lightning_maxent.policies.categorical import Categorical
from lightning_maxent.policies.squashed_gaussian import SquashedGaussian
from lightning_maxent.temperature import LearnedTemperature
from lightning_maxent.value import StateValue

OBS, ACTIONS, BATCH = 3, FiniteActions((2,)), 8
SMALL = partial(MLP, hidden_dims=(8,))
CONTINUOUS = {"critic": partial(TwinCritic, network=SMALL), "policy": partial(SquashedGaussian, network=SMALL)}
FINITE = {"critic": partial(TwinHeadsCritic, network=SMALL), "policy": partial(Categorical, network=SMALL)}
VALUE = {"value": partial(StateValue, network=SMALL)}

ALGORITHMS = {
    "value_sac": partial(ValueSAC, actions=BoxActions(2), **CONTINUOUS, **VALUE),
    "sac": partial(SAC, actions=BoxActions(2), **CONTINUOUS),
    "discrete_sac": partial(DiscreteSAC, actions=ACTIONS, **FINITE),
    "discrete_value_sac": partial(DiscreteValueSAC, actions=ACTIONS, **FINITE, **VALUE),
}


@pytest.fixture(params=ALGORITHMS.values(), ids=ALGORITHMS)
def build(request):
    torch.manual_seed(0)
    return partial(request.param, OBS, temperature=LearnedTemperature)


def weights(algorithm, name):
    return torch.cat([parameter.detach().flatten() for parameter in getattr(algorithm, name).parameters()])


def updates_that_move(algorithm, count):
    """For every network, the updates (counted from 1) at which its weights changed."""
    optimizers, moved = named_optimizers(algorithm), {name: [] for name in algorithm.trained_networks()}
    for number in range(1, count + 1):
        before = {name: weights(algorithm, name) for name in moved}
        algorithm.update(made_up(OBS, ACTIONS, BATCH), optimizers)
        for name, own in before.items():
            if not torch.equal(weights(algorithm, name), own):
                moved[name].append(number)
    return moved


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_policy_and_temperature_are_updated_at_the_last_of_every_policy_delay_updates(build, delay):
    moved = updates_that_move(build(policy_delay=delay), 7)
    late = list(range(delay, 8, delay))
    for name, updates in moved.items():
        assert updates == (late if name in ("policy", "temperature") else list(range(1, 8))), name


def test_the_default_policy_delay_is_one(build):
    assert all(updates == [1, 2, 3] for updates in updates_that_move(build(), 3).values())


def test_a_delayed_update_has_the_losses_of_one_without_delay(build):
    torch.manual_seed(0)
    algorithm = build()
    torch.manual_seed(0)
    delayed = build(policy_delay=2)
    delayed.gradient_steps, given = 1, made_up(OBS, ACTIONS, BATCH)
    losses = []
    for each in (algorithm, delayed):
        torch.manual_seed(1)
        losses.append(each.losses(given))
    assert_close(losses[1], losses[0], rtol=0, atol=0)
    assert losses[0].keys() == set(algorithm.trained_networks())


def test_metrics_of_a_delayed_policy_are_means_over_the_updates_that_it_has(build, monkeypatch):
    algorithm, recorded = build(policy_delay=3), []
    optimizers, add = named_optimizers(algorithm), algorithm._metrics.add
    monkeypatch.setattr(algorithm._metrics, "add", lambda metrics: recorded.append(metrics) or add(metrics))
    for _ in range(6):
        algorithm.update(made_up(OBS, ACTIONS, BATCH), optimizers)
    means = algorithm.drain_metrics()
    for name, updates in (("loss/critic", 6), ("loss/policy", 2), ("loss/temperature", 2)):
        values = [float(metrics.values[metrics.names.index(name)]) for metrics in recorded if name in metrics.names]
        assert len(values) == updates
        assert means[name] == pytest.approx(sum(values) / updates)
    assert means["gradient_steps"] == 6


def test_a_restored_algorithm_continues_within_the_policy_delay(build):
    algorithm, checkpoint = build(policy_delay=3), {}
    updates_that_move(algorithm, 2)
    algorithm.on_save_checkpoint(checkpoint)
    restored = build(policy_delay=3)
    restored.on_load_checkpoint(checkpoint | {"state_dict": restored.state_dict()})
    assert updates_that_move(restored, 4)["policy"] == [1, 4]


@pytest.mark.parametrize("delay", [0, -1])
def test_a_delay_below_one_is_refused(build, delay):
    with pytest.raises(MaxEntError, match=f"policy_delay, .* must be at least 1, but is {delay}"):
        build(policy_delay=delay)
