"""``verify --algorithm`` accepts correct algorithms, and names the mistake of wrong ones."""

from typing import Any

import pytest
import torch
from cli_helpers import verify

from lightning_maxent import AbstractAlgorithm, FiniteActions, SoftQLearning
from lightning_maxent.cli.command import main
from lightning_maxent.objectives import Scalar
from lightning_maxent.transition import Transition

pytestmark = pytest.mark.usefixtures("shapes_unchecked")  # hundreds of updates; test_verify.py checks those of one


class WithoutEntropy(SoftQLearning):
    """Its backup leaves out the entropy of the next state."""

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        prediction, next_prediction = self.predictions(batch)
        with torch.no_grad():
            log_probs = self.actions.boltzmann(self.every_value(next_prediction), self.temperature())
            next_value = self.state_value_distribution(next_prediction, log_probs, torch.zeros(()))
        return {"critic": self.critic_loss(self.chosen(prediction, batch.action), self.backup(batch, next_value))}


class WithKwargs(SoftQLearning):
    """Passes the arguments of its base class on."""

    def __init__(self, obs_dim: int, actions: FiniteActions, my_option: float = 0.0, **kwargs: Any):
        super().__init__(obs_dim, actions, **kwargs)


class OwnOptionFirst(SoftQLearning):
    """Its arguments in order: ``my_option``, then those of its base class."""

    def __init__(self, *args: Any, my_option: float = 0.0, **kwargs: Any):
        super().__init__(*args, **kwargs)


class HiddenArguments(SoftQLearning):
    """Its code does not show that the arguments are those of its base class."""

    def __init__(self, obs_dim: int, actions: FiniteActions, **kwargs: Any):
        given = dict(kwargs)
        super().__init__(obs_dim, actions, **given)


class RaisesInConstructor(SoftQLearning):
    def __init__(self, obs_dim: int, actions: FiniteActions):
        raise ValueError("my own")


def test_a_correct_algorithm_with_finite_actions_passes_at_its_own_temperature(capsys):
    given = "--algorithm lightning_maxent.SoftQLearning --algorithm.temperature.alpha 0.5"
    status, found = verify(capsys, f"--quick {given}")
    assert status == 0
    assert [each["check"] for each in found] == [
        "tabular, SoftQLearning: error of Q over its range",
        "tabular, SoftQLearning: KL of the policy (nats)",
    ]
    assert {each["algorithm"] for each in found} == {"SoftQLearning"}


def test_an_algorithm_that_leaves_out_the_entropy_fails(capsys, monkeypatch):
    monkeypatch.syspath_prepend("tests/verification")
    status, found = verify(capsys, "--quick --algorithm test_verify_algorithm.WithoutEntropy")
    assert status == 1
    (q, _) = found
    assert not q["passed"]
    assert q["value"] > 0.1


def test_verify_gives_an_algorithm_the_arguments_that_its_kwargs_pass_on(capsys, monkeypatch):
    monkeypatch.syspath_prepend("tests/verification")
    status, found = verify(capsys, "--quick --algorithm test_verify_algorithm.WithKwargs --algorithm.my_option 0.5")
    assert status == 0
    assert len(found) == 2


def test_an_algorithm_over_continuous_actions_is_compared_with_the_linear_quadratic_world(capsys):
    _, found = verify(capsys, "--quick --algorithm lightning_maxent.ValueSAC")
    assert len(found) == 3
    assert all(each["check"].startswith("linear-quadratic, ValueSAC") for each in found)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--algorithm lightning_maxent.PPO", "PPO cannot be checked: verify trains subclasses of FiniteAlgorithm"),
        ("--algorithm lightning_maxent.REPPO", "REPPO cannot be checked"),
        ("--algorithm lightning_maxent.TwinCritic", "TwinCritic cannot be checked"),
        ("--algorithm my_package.Absent", "my_package.Absent cannot be imported"),
        (
            "--algorithm lightning_maxent.SAC --algorithm.discount 0.9",
            "but SAC has 0.9: leave out --algorithm.discount",
        ),
        (
            "--algorithm test_verify_algorithm.WithKwargs --algorithm.discount 0.9",
            "but WithKwargs has 0.9: leave out --algorithm.discount",
        ),
        (
            "--algorithm test_verify_algorithm.OwnOptionFirst",
            "OwnOptionFirst cannot be checked, because the arguments of",
        ),
        (
            "--algorithm test_verify_algorithm.HiddenArguments",
            "read from its code: list them, obs_dim and actions first",
        ),
        (
            "--algorithm test_verify_algorithm.RaisesInConstructor",
            "Building the algorithm raised ValueError: my own (",
        ),
        (
            "--algorithm lightning_maxent.SAC --algorithm.temperature.alpha 0",
            "known for positive temperatures, but SAC has 0: choose another one, as in --algorithm.temperature.alpha 0.1.",
        ),
    ],
)
def test_invalid_algorithms_and_options_are_refused_in_one_sentence_before_training(
    capsys, monkeypatch, arguments, sentence
):
    monkeypatch.syspath_prepend("tests/verification")
    monkeypatch.setattr(AbstractAlgorithm, "update", None)
    with pytest.raises(SystemExit):
        main(["verify", *arguments.split()])
    assert sentence in capsys.readouterr().err
