from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, ReduceLROnPlateau

from lightning_maxent import (
    A2C,
    DQN,
    SAC,
    BoxActions,
    FiniteActions,
    FusedAdam,
    MaxEntError,
    Optimizers,
    SquashedGaussian,
    TwinCritic,
)
from lightning_maxent.exploration import PolicyExploration
from lightning_maxent.optimizers import LearningRates


def a_parameter() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2))]


def test_the_default_is_a_fused_adam_with_the_step_size_of_the_paper():
    optimizer = Optimizers().build("critic", a_parameter())
    assert type(optimizer) is FusedAdam
    theirs = Adam(a_parameter(), lr=3e-4, fused=True)
    assert optimizer.defaults == theirs.defaults


def test_a_network_gets_the_optimizer_of_its_entry_or_else_the_default():
    optimizers = Optimizers(partial(SGD, lr=0.5), policy=partial(Adam, lr=0.25))
    built = {name: optimizers.build(name, a_parameter()) for name in ("policy", "critic", "of_my_own")}
    assert {name: (type(each), each.defaults["lr"]) for name, each in built.items()} == {
        "policy": (Adam, 0.25),
        "critic": (SGD, 0.5),
        "of_my_own": (SGD, 0.5),
    }


def test_an_optimizer_entry_for_an_untrained_network_is_refused():
    with pytest.raises(
        MaxEntError, match=r"an entry optimizers.value, but SAC trains no value: .* critic, policy, temp"
    ):
        SAC(3, BoxActions(1), TwinCritic, SquashedGaussian, optimizers=Optimizers(value=FusedAdam))
    with pytest.raises(MaxEntError, match=r"optimizers.critic, but A2C trains no critic"):
        A2C(3, BoxActions(1), SquashedGaussian, optimizers=Optimizers(critic=FusedAdam))
    with pytest.raises(MaxEntError, match=r"optimizers.temperature, but DQN trains no temperature"):
        DQN(3, FiniteActions((2,)), TwinCritic, PolicyExploration, optimizers=Optimizers(temperature=FusedAdam))


def scheduled(schedule) -> tuple[torch.optim.Optimizer, LearningRates]:
    optimizers = Optimizers(partial(SGD, lr=1.0), schedule=schedule)
    built = {"critic": optimizers.build("critic", a_parameter())}
    _, ((config),) = optimizers.scheduled(built)
    return built["critic"], LearningRates([("critic", config["scheduler"])])


def test_a_learning_rate_depends_only_on_the_number_of_steps():
    linear = partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=8)
    optimizer, rates = scheduled(linear)
    for steps in (0, 1, 1, 2, 6):
        rates.advance(steps)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1 - steps / 8)
        assert rates.now() == {"lr/critic": optimizer.param_groups[0]["lr"]}
    again, at_once = scheduled(linear)
    at_once.advance(6)
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]  # to the last bit


def test_a_schedule_that_waits_for_a_metric_is_refused():
    with pytest.raises(MaxEntError, match="of critic cannot follow ReduceLROnPlateau, which needs a metric: choose"):
        scheduled(ReduceLROnPlateau)


def test_a_schedule_that_cannot_be_built_or_ends_too_early_is_refused_with_its_error():
    with pytest.raises(MaxEntError, match=r"^optimizers.schedule raised TypeError: .*'total_iters_'"):
        scheduled(partial(LinearLR, total_iters_=3))
    _, rates = scheduled(partial(OneCycleLR, max_lr=1.0, total_steps=4))
    with pytest.raises(MaxEntError, match=r"^The learning-rate schedule raised ValueError: Tried to step 5 times"):
        rates.advance(10)
