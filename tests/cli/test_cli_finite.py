"""The command line with finite actions: runs of seconds, from the built-in configurations."""

from pathlib import Path

import pytest
import torch
from cli_helpers import SMALL, metrics, refused

from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.cli.command import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
FOLDERS = {"soft_q": "soft_q_learning", "discrete_sac": "discrete_sac"}
ANNEALED = [
    "--model.temperature=lightning_maxent.temperature.AnnealedTemperature",
    "--model.temperature.init_args.alpha=lightning_maxent.schedules.LinearSchedule",
    "--model.temperature.init_args.alpha.init_args.start=1.0",
    "--model.temperature.init_args.alpha.init_args.end=0.0",
    "--model.temperature.init_args.alpha.init_args.duration=100",
]


def small(algorithm: str) -> list[str]:
    kept = [option for option in SMALL if "env_id" not in option]
    return [option for option in kept if algorithm == "discrete_sac" or "model.policy" not in option]


def fit(algorithm: str, *args: str, env_id: str = "lightning_maxent/RandomMDP-v0", steps: int = 100) -> Path:
    options = [*small(algorithm), f"--data.env_id={env_id}", f"--trainer.max_steps={steps}", "--name=a"]
    main(["fit", f"--config={algorithm}/cartpole", *options, *args])
    return Path("runs") / FOLDERS[algorithm] / env_id.rpartition(":")[2].replace("/", "-") / "a"


@pytest.mark.parametrize("algorithm", FOLDERS)
def test_a_run_with_finite_actions_resumes_from_its_last_checkpoint(algorithm):
    run = fit(algorithm, *ANNEALED, steps=70)
    before = AtomicCheckpointIO().load_checkpoint(run / "checkpoints" / "last.ckpt")
    alphas = [row["temperature"] for row in metrics(run) if "temperature" in row]
    assert alphas[-2:] == pytest.approx([1 - 0.495, 1 - 0.645], abs=0.011)  # the means over steps 41 to 60, and to 70
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=71"])
    after = AtomicCheckpointIO().load_checkpoint(run / "checkpoints" / "last.ckpt")
    assert after["gradient_steps"] == before["gradient_steps"] + 1
    assert int(after["state_dict"]["temperature.alpha.env_steps"]) == 71  # the schedule's clock went on
    old, new = (each["ReplayDataModule"]["replay"].all() for each in (before, after))
    for name, rows in old.items():
        assert torch.equal(new[name][:70], rows), name
    assert (old["action"].sum(-1) == 1).all()  # one-hot, and so stored


@pytest.mark.parametrize("algorithm", FOLDERS)
def test_actions_of_many_factors_are_played_factor_by_factor(algorithm):
    space = "--data.env_kwargs={length: 5, choices: [3, 2, 4]}"
    run = fit(algorithm, space, "--data.max_joint_actions=1", env_id="probe_envs:probe/Factors-v0")
    joint = fit(algorithm, space, "--name=b", env_id="probe_envs:probe/Factors-v0").with_name("b")
    for folder, size in ((run, 9), (joint, 24)):
        state = AtomicCheckpointIO().load_checkpoint(folder / "checkpoints" / "last.ckpt")["ReplayDataModule"]
        assert state["replay"].all()["action"].shape[1] == size


@pytest.mark.parametrize("algorithm", FOLDERS)
@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--data.env_id=Pendulum-v1"], "needs finite actions (Discrete or MultiDiscrete), but this"),
        (["--data.env_id=Pendulum-v1"], "use SAC or ValueSAC"),
        (["--model.temperature.init_args.alpha=-0.1"], "alpha must be finite and not negative"),
        (
            [
                "--model.temperature=lightning_maxent.temperature.LearnedTemperature",
                "--model.temperature.init_args.target_entropy=0.7",
            ],
            "target_entropy 0.7 cannot be reached: a policy over these actions has at most 0.693 nats",
        ),
        (
            ["--data.env_id=probe_envs:probe/Factors-v0", "--data.max_joint_actions=1", *["--model.critic=TwinCritic"]],
            "The Q of TwinCritic is not a sum over the 2 factors of the action, of one number each: use "
            "TwinHeadsCritic, or raise data.max_joint_actions",
        ),
    ],
)
def test_invalid_settings_of_finite_action_algorithms_are_refused_in_one_sentence(capsys, algorithm, args, sentence):
    options = [
        option for option in small(algorithm) if not any("critic" in arg for arg in args) or "critic" not in option
    ]
    args = [arg.replace("=TwinCritic", "=lightning_maxent.critics.twin.TwinCritic") for arg in args]
    assert sentence in refused(capsys, "fit", f"--config={algorithm}/cartpole", *options, *args)


def test_a_schedule_outside_the_range_of_its_part_is_refused(capsys):
    exploration = [
        "--model.exploration=lightning_maxent.exploration.EpsilonGreedy",
        "--model.exploration.init_args.epsilon=lightning_maxent.schedules.ConstantSchedule",
        "--model.exploration.init_args.epsilon.init_args.constant=1.5",
    ]
    assert "epsilon must lie in [0, 1]" in refused(capsys, "fit", "--config=soft_q/cartpole", *exploration)
