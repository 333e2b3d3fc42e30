"""``verify`` accepts correct critics, and names the mistake of wrong ones."""

from functools import partial

import pytest
import torch
from broken_critics import Narrow, OneDimension, OneEntryLess, StartsAtZero, UpperHalf
from cli_helpers import verify

from lightning_maxent import AbstractCritic, PolyakTarget, TwinCritic, TwinHeadsCritic
from lightning_maxent.cli.command import main
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS
from lightning_maxent.exact import MultiGoal, solve_multi_goal
from lightning_maxent.networks import MLP
from lightning_maxent.targets import JointPass, JointPolyakTarget
from lightning_maxent.verification import command, linear_quadratic, tabular
from lightning_maxent.verification import multi_goal as multi_goal_world
from lightning_maxent.verification.contract import contract
from lightning_maxent.verification.measurement import Measurement
from lightning_maxent.verification.multi_goal import ALPHA, DISCOUNT, SCALE, multi_goal

SMALL = (
    "--critic.init_args.network=lightning_maxent.networks.MLP --critic.init_args.network.init_args.hidden_dims=[64,64]"
)


@pytest.mark.parametrize(
    ("critic", "check"),
    [
        ("Optimist", "contract: optimism of value"),
        ("Attached", "contract: detached target"),
        ("Tied", "contract: shapes"),
        ("Resting", "contract: batch statistics"),
        ("Leaking", "contract: separate members"),
        ("Clipping", "contract: every action counts"),
        ("UpperHalf", "contract: every action counts"),
        ("Edgeless", "contract: every action counts"),
        ("OneDimension", "contract: every action counts"),
        ("OneEntryLess", "contract: every observation entry counts"),
        ("Blind", "contract: every observation entry counts"),
        ("Rounding", "contract: every action counts"),
        ("Signs", "contract: every action counts"),
    ],
)
def test_a_critic_with_a_broken_contract_fails_at_that_check_and_is_not_trained(capsys, monkeypatch, critic, check):
    monkeypatch.syspath_prepend("tests/verification")
    status, found = verify(capsys, f"--critic broken_critics.{critic}")
    assert status == 1
    assert check in [each["check"] for each in found if not each["passed"]]
    assert all(each["check"].startswith("contract") for each in found)
    assert {each["critic"] for each in found} == {critic}


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_loss_of_the_wrong_sign_fails_the_regression_check(capsys, monkeypatch):
    monkeypatch.syspath_prepend("tests/verification")
    small = f"{SMALL} --critic.init_args.members=2 --critic.init_args.quantiles=5"
    status, found = verify(capsys, f"--quick --critic broken_critics.WrongSign {small}")
    assert status == 1
    assert "regression: distance to the mean" in [each["check"] for each in found if not each["passed"]]
    assert all(each["passed"] for each in found if each["check"].startswith("contract"))


@pytest.mark.usefixtures("shapes_unchecked")
def test_a_correct_critic_passes_and_every_measurement_is_printed(capsys):
    status, found = verify(capsys, f"--quick --critic lightning_maxent.TwinCritic {SMALL}")
    assert status == 0
    assert {"check", "critic", "value", "expected", "error", "tolerance", "passed", "advice"} == set(found[0])
    assert {each["check"].partition(":")[0] for each in found} == {"contract", "regression", "tabular, SoftQLearning"}
    for each in found:
        assert each["error"] == abs(each["value"] - each["expected"]) <= each["tolerance"]


def test_batch_normalization_without_a_joint_pass_fails_with_advice(capsys, tmp_path):
    network = "--critic.init_args.network=lightning_maxent.networks.BatchRenormMLP"
    status, found = verify(capsys, f"--critic lightning_maxent.TwinCritic {network}")
    assert status == 1
    (failed,) = [each for each in found if not each["passed"]]
    assert failed["check"] == "contract: statistics of both pairs"
    assert "JointPass" in failed["advice"]


def test_a_critic_that_ignores_part_of_the_action_box_fails_with_that_part():
    found = {each.check: each for each in contract(UpperHalf, PolyakTarget)}
    assert "dimension 0 of the action moves between -1.0 and -0.8" in found["contract: every action counts"].advice
    found = {each.check: each for each in contract(OneDimension, PolyakTarget)}
    assert "dimension 1 of the action" in found["contract: every action counts"].advice


def test_a_critic_that_ignores_an_observation_entry_fails_only_that_check():
    (failed,) = [each for each in contract(OneEntryLess, PolyakTarget) if not each.passed]
    assert failed.value == 0.0
    assert "entry 2 of the observation" in failed.advice


RIGHT = {
    each.name: each for each in command._candidates(command._parser(), command._parser().parse_args(["--critic=all"]))
}


@pytest.mark.parametrize("name", RIGHT)
def test_every_built_in_critic_keeps_the_whole_contract(name):
    found = list(contract(RIGHT[name].critic, RIGHT[name].target))
    assert [each.check for each in found if not each.passed] == []
    assert [each.check for each in found[-2:]] == [
        "contract: every observation entry counts",
        "contract: every action counts",
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("critic", [Narrow, StartsAtZero, TwinHeadsCritic])
def test_unusual_but_correct_critics_pass_the_check_of_inputs(critic, seed):
    torch.manual_seed(seed)
    assert [each.check for each in contract(critic, PolyakTarget) if not each.passed] == []


# ---- which algorithms a critic is trained through ----------------------------------------------------------------------


def algorithms_of(monkeypatch, target) -> list[str]:
    """The algorithms that ``verify`` trains in its worlds, by name, with one update each."""
    seen = []

    def train(algorithm, draw, updates, tick):
        seen.append(type(algorithm).__name__)
        algorithm.losses(draw())
        tick(updates)
        algorithm.eval()

    for world in (tabular, linear_quadratic, multi_goal_world):
        monkeypatch.setattr(world, "train", train)
    worlds, ticks = dict.fromkeys(command.WORLDS, 1), []
    critic = partial(TwinCritic, network=partial(MLP, hidden_dims=(8,)))
    list(command.check(command.Candidate("twin", critic, target), worlds, ticks.append))
    assert sum(ticks) == len(worlds)
    return seen


def test_verify_trains_both_sacs_and_all_three_finite_action_algorithms(monkeypatch):
    expected = ["SoftQLearning", "DiscreteSAC", "DiscreteValueSAC", "SoftQLearning", "SAC", "ValueSAC"]
    assert algorithms_of(monkeypatch, PolyakTarget) == [*expected, "ContinuousSoftQLearning"]


@pytest.mark.parametrize("target", [JointPass, JointPolyakTarget])
def test_checks_of_sac_with_v_are_skipped_for_a_target_that_cannot_follow_v(monkeypatch, target):
    expected = ["SoftQLearning", "DiscreteSAC", "SoftQLearning", "SAC", "ContinuousSoftQLearning"]
    assert algorithms_of(monkeypatch, target) == expected


def test_a_table_has_a_row_for_every_check(capsys, monkeypatch):
    def no_training(algorithm, draw, updates, tick):
        tick(updates)
        algorithm.eval()

    monkeypatch.setattr(tabular, "train", no_training)
    monkeypatch.setattr(Measurement, "passed", True)
    monkeypatch.setattr(command, "QUICK", dict.fromkeys(command.QUICK, 100))
    main(["verify", "--quick", "--critic", "lightning_maxent.TwinCritic", *SMALL.split()])
    shown = capsys.readouterr()
    head, *rows = shown.out.splitlines()
    assert head.startswith("critic ")  # and nothing of a progress bar between the rows
    assert all(row.startswith("TwinCritic ") for row in rows)
    assert "\r" not in shown.out + shown.err
    assert len(rows) == 10
    assert all(row.endswith("ok") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "No critic was given"),
        ("--critic nosuch.Thing", "The critic nosuch.Thing cannot be imported"),
        ("--config critic/redqq", "try critic/redq"),
    ],
)
def test_invalid_arguments_of_verify_are_refused_in_one_sentence(capsys, arguments, sentence):
    with pytest.raises(SystemExit):
        main(["verify", *arguments.split()])
    assert sentence in capsys.readouterr().err


def test_a_measurement_of_nan_does_not_pass():
    assert not Measurement("check", float("nan"), 0.0, 1.0, "").passed


def test_critic_all_checks_every_built_in_critic_with_small_networks():
    """The width of the networks and the number of quantiles change the running time, but not the result."""
    parser = command._parser()
    candidates = {each.name: each for each in command._candidates(parser, parser.parse_args(["--critic", "all"]))}
    assert candidates.keys() == {path.stem for path in (BUILT_IN_CONFIGS / "critic").glob("*.yaml")}
    for candidate in candidates.values():
        critic = candidate.critic(3, 2)
        widths = {size for parameter in critic.parameters() for size in parameter.shape}
        assert command.WIDTH in widths
        assert max(size for parameter in critic.parameters() for size in parameter.shape) <= 4 * command.WIDTH
    assert candidates["bro"].critic(3, 2)(torch.zeros(1, 3), torch.zeros(1, 2)).shape[-1] == command.QUANTILES


class TrueCritic(AbstractCritic):
    """The exact Q of the multi-goal world; there is nothing to learn."""

    def __init__(self, obs_dim: int, action_dim: int):
        super().__init__()
        self.solution = solve_multi_goal(MultiGoal(), ALPHA, SCALE, DISCOUNT, spacing=0.1)
        self.shift = torch.nn.Parameter(torch.zeros(1))

    def forward(self, obs, action):
        q = self.solution.q_value(obs.detach().double().numpy(), action.detach().double().numpy())
        shift = self.shift + action.sum(-1)
        return (torch.as_tensor(q).float() + shift - shift.detach()).unsqueeze(0)  # Q, and some gradient

    def value(self, prediction):
        return prediction.mean(0)


def test_the_exact_q_of_the_multi_goal_world_gives_its_exact_v():
    """The error of 256 particles is only an eighth of the tolerance, so an error that ``verify`` reports is real."""
    error, _ = multi_goal(TrueCritic, partial(PolyakTarget, rate=0.02), 1, lambda updates: None)
    assert error.error < 0.01


def test_an_untrained_critic_fails_in_the_multi_goal_world():
    error, _ = multi_goal(TwinCritic, partial(PolyakTarget, rate=0.02), 1, lambda updates: None)
    assert not error.passed


@pytest.mark.slow
def test_a_correct_critic_passes_in_every_world(capsys):
    status, found = verify(capsys, f"--critic lightning_maxent.TwinCritic {SMALL}")
    assert status == 0
    assert len(found) == 23
    assert "multi-goal: rarest of four directions" in [each["check"] for each in found]
