"""``verify --algorithm`` passes what is right, and names what is wrong."""

import pytest
import torch
from cli_helpers import verify

from lightning_maxent import SoftQLearning
from lightning_maxent.cli.command import main
from lightning_maxent.objectives import Scalar
from lightning_maxent.transition import Transition


class WithoutEntropy(SoftQLearning):
    """Its backup leaves out the entropy of the next state."""

    def losses(self, batch: Transition) -> dict[str, Scalar]:
        prediction, next_prediction = self.predictions(batch)
        with torch.no_grad():
            log_probs = self.actions.boltzmann(self.every_value(next_prediction), self.temperature())
            next_value = self.state_value_distribution(next_prediction, log_probs, torch.zeros(()))
        return {"critic": self.critic_loss(self.chosen(prediction, batch.action), self.backup(batch, next_value))}


def test_a_right_algorithm_over_finite_actions_passes_at_its_own_temperature(capsys):
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
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_sentence(capsys, arguments, sentence):
    with pytest.raises(SystemExit):
        main(["verify", *arguments.split()])
    assert sentence in capsys.readouterr().err
