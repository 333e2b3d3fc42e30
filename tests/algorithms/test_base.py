from types import SimpleNamespace

import pytest

from lightning_maxent import SAC, MaxEntError, SquashedGaussian, TwinCritic


@pytest.mark.parametrize(
    ("trainer", "sentence"),
    [
        (SimpleNamespace(precision="16-mixed", world_size=1), "choose 32-true or bf16-mixed"),
        (SimpleNamespace(precision="32-true", world_size=2), "given 2: set devices to 1"),
    ],
)
def test_what_several_optimizers_behind_one_backward_pass_cannot_do_is_refused(trainer, sentence):
    algorithm = SAC(3, 1, critic=TwinCritic, policy=SquashedGaussian)
    algorithm._trainer = trainer
    with pytest.raises(MaxEntError, match=sentence):
        algorithm.on_fit_start()


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_a_discount_outside_zero_to_one_is_refused(discount):
    with pytest.raises(MaxEntError, match="discount"):
        SAC(3, 1, critic=TwinCritic, policy=SquashedGaussian, discount=discount)
