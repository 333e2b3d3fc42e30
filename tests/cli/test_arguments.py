"""The messages about an unknown option and about a part that cannot be built."""

import re
from pathlib import Path

import pytest
import yaml
from cli_helpers import refused
from lightning_utilities.core.imports import RequirementCache

import lightning_maxent
from lightning_maxent.cli.arguments import COMMANDS, OPTIONS
from lightning_maxent.cli.command import main
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
PENDULUM = "--data.env_id=Pendulum-v1"


@pytest.mark.parametrize("overlay", sorted(path.stem for path in (BUILT_IN_CONFIGS / "critic").glob("*.yaml")))
def test_a_critic_overlay_over_an_algorithm_without_a_critic_is_refused(capsys, overlay):
    said = refused(capsys, "fit", "ppo", f"critic/{overlay}", PENDULUM)
    sentence = "PPO has no critic, so it cannot take configurations such as critic/redq: leave the critic out"
    (names,) = re.findall(rf"{sentence}, or choose an algorithm with a critic \((.*)\)\.$", said)
    assert {"SAC", "ValueSAC", "DQN", "SoftQLearning"} <= set(names.split(", "))
    assert not {"PPO", "A2C", "REINFORCE", "AbstractAlgorithm"} & set(names.split(", "))
    assert all(hasattr(lightning_maxent, name) for name in names.split(", "))


def test_an_option_of_another_class_is_refused_with_the_class_that_has_it(capsys):
    said = refused(capsys, "fit", "ppo", PENDULUM, "--data.capacity=5")
    assert (
        "RolloutDataModule has no option 'capacity' (ReplayDataModule has it): choose such a class before the option, "
        in said
    )
    said = refused(capsys, "fit", "sac", PENDULUM, "--model.clip_rng=5")
    assert "There is no option 'clip_rng' in the arguments of SAC: check its spelling" in said


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--model.execution=Compiled", "The option 'execution' belongs to the run, not to SAC: give --execution."),
        ("--data.name=a", "The option 'name' belongs to the run, not to ReplayDataModule: give --name."),
        (
            "--execution=null",
            "The option --execution cannot be null: leave it out to have the default, or give a class.",
        ),
        ("--execution.inner=Compiled", "Eager has no option 'inner' (CudaGraph has it): choose such a class before"),
    ],
)
def test_an_option_of_the_run_is_told_from_those_of_its_parts(capsys, option, sentence):
    assert sentence in refused(capsys, "fit", "sac", PENDULUM, option)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["fit", "--no_such", "3"], "There is no option --no_such; --help all lists all of them."),
        (["fit", "--no_such=3"], "There is no option --no_such; --help all lists all of them."),
        (["test", "--modle.critic=3"], "There is no option --modle; did you mean --model"),
        (["fit", "--runs_dr", "x", "--trainer.max_steps=3"], "There is no option --runs_dr; did you mean --runs_dir"),
        (["fit", "--trainer.callbacks+=Timer", "--seed_everything", "-3"], "Say what to fit: "),
        (["fit", "sac", PENDULUM, "--no_such=3"], "There is no option --no_such; --help all lists all of them."),
        (["fit", "sac", PENDULUM, "--trainer.max_stps=3"], "There is no option --trainer.max_stps; did you mean --trainer.max_steps"),
        (["validate", "sac", PENDULUM, "--verbse=3"], "There is no option --verbse; did you mean --verbose"),
    ],
)  # fmt: skip
def test_an_unknown_option_is_refused_with_near_matches(capsys, args, sentence):
    assert sentence in refused(capsys, *args)


@pytest.mark.parametrize(
    ("option", "right"),
    [
        ("lr", "default.init_args.lr"),
        ("init_args.lr", "default.init_args.lr"),
        ("weight_deca", "default.init_args.weight_decay"),
        ("defalt.lr", "default.lr"),
    ],
)
def test_an_option_of_no_optimizer_is_refused_with_the_right_option_which_works(capsys, option, right):
    said = refused(capsys, "fit", "sac", PENDULUM, f"--model.optimizers.{option}=1e-3")
    assert said.endswith(f"There is no option --model.optimizers.{option}; did you mean --model.optimizers.{right}?")
    with pytest.raises(SystemExit) as stop:
        main(["fit", "sac", PENDULUM, f"--model.optimizers.{right}=1e-3", "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["optimizers"]["default"]["init_args"][right.rpartition(".")[2]] == 1e-3


def test_an_unknown_entry_of_optimizers_is_refused_with_the_entries_that_there_are(capsys):
    Path("own.yaml").write_text("model: {init_args: {optimizers: {momenta: 1}}}")
    for given in ("--model.optimizers.momenta=1", "--config=own.yaml"):
        said = refused(capsys, "fit", "sac", PENDULUM, given)
        assert "There is no option --model.optimizers.momenta: optimizers has the entries default, value, cri" in said


def test_an_unknown_option_of_a_part_is_refused_with_its_whole_name(capsys):
    said = refused(capsys, "fit", "sac", PENDULUM, "--model.policy.network.hiden_dims=[2]")
    assert "error: --model.policy.network.hiden_dims: MLP has no option 'hiden_dims'; did you mean 'hidden_di" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_listed_without_pytorch_are_those_of_the_commands(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help", "all"])
    shown = re.findall(r"^ +(?:-\w, )?(--\w+)", capsys.readouterr().out, re.MULTILINE)
    assert {"--model", "--runs_dir", "--ckpt_path"} <= set(shown) <= set(OPTIONS)


def test_a_logger_whose_package_is_missing_is_refused_before_its_missing_folder(capsys, monkeypatch):
    args = ["fit", "sac", PENDULUM, "--trainer.accelerator=cpu", "--trainer.logger=TensorBoardLogger"]
    for name, package in (("_TENSORBOARD_AVAILABLE", "tensorboard"), ("_TENSORBOARDX_AVAILABLE", "tensorboardX")):
        missing = RequirementCache(f"{package}>=10000")
        monkeypatch.setattr(f"lightning_fabric.loggers.tensorboard.{name}", missing)
    said = refused(capsys, *args)
    assert "TensorBoardLogger needs a package that is not installed: pip install tensorboard" in said
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", RequirementCache("torch"))
    assert "TensorBoardLogger cannot be built without save_dir: give it among its init_args." in refused(capsys, *args)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            "fit --trainer.max_steps 300 sac/pendulum",
            "The configuration sac/pendulum comes after options: write configurations first, as in fit sac/pendulum "
            "--trainer.max_steps 300.",
        ),
        (
            "fit --data.batch_size 64 --config sac/pendulum",
            "The option --data.batch_size comes before the configuration sac/pendulum: write configurations first, as "
            "in fit sac/pendulum --data.batch_size 64.",
        ),
        (
            "fit --model.discount=.9 --config=sac/pendulum",
            "The option --model.discount comes before the configuration sac/pendulum: write configurations first, as "
            "in fit sac/pendulum --model.discount=.9.",
        ),
    ],
)
def test_an_option_before_the_configuration_that_it_changes_is_refused_with_the_right_order(capsys, args, sentence):
    assert refused(capsys, *args.split()).endswith(f"error: {sentence}")


def test_a_model_without_data_is_refused_with_what_to_give(capsys, tmp_path):
    file = tmp_path / "model.yaml"
    file.write_text("model: {class_path: DQN, init_args: {critic: TwinHeadsCritic, exploration: PolicyExploration}}")
    assert "No data were given: begin with an algorithm on a task" in refused(capsys, "fit", f"--config={file}")
