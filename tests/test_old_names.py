import importlib
import re
from pathlib import Path

import pytest
import yaml
from cli_helpers import SMALL, fit, refused

from lightning_maxent import MaxEntError, exports
from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.cli.command import main
from lightning_maxent.cli.configurations import find_configs
from lightning_maxent.critics import quantile
from lightning_maxent.data import scaling
from lightning_maxent.old_names import (
    CLASSES,
    CONFIGURATIONS,
    OPTIONS,
    moved_class,
    renamed_class,
    renamed_maker,
    renamed_option,
)
from lightning_maxent.optimizers import Optimizers
from lightning_maxent.policies import squashed_gaussian

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_new_names_exist_and_old_names_do_not():
    here = [exports, quantile, scaling, squashed_gaussian]
    for old, new in CLASSES.items():
        assert any(hasattr(module, new) for module in here), new
        assert not any(hasattr(module, old) for module in here), old
    for old, new in CONFIGURATIONS.items():
        assert find_configs(new.removesuffix("/")), new
        with pytest.raises(MaxEntError, match=r"^There is no configuration|is now"):
            find_configs(old.removesuffix("/"))
    for new in OPTIONS.values():
        if new.startswith("optimizers."):
            assert new.removeprefix("optimizers.") in Optimizers.__dataclass_fields__


def test_a_renamed_option_is_found_with_and_without_nested_keys():
    assert renamed_option("critic_optimizer") == "critic_optimizer is now optimizers.critic."
    assert (
        renamed_option("model.init_args.policy_optimizer.init_args.lr") == "policy_optimizer is now optimizers.policy."
    )
    assert renamed_option("caution") == "caution is now pessimism."
    assert renamed_option("optimizers.critic.lr") is None
    assert renamed_option("value", "SAC") == "SAC with a value network is now ValueSAC: choose that class."
    assert renamed_option("value", "PPO") is None


@pytest.mark.parametrize(
    ("old", "present"),
    [
        ("training_log.TrainingLog", "metrics.training_log.TrainingLog"),
        ("callbacks.training_log.TrainingLog", "metrics.training_log.TrainingLog"),
        ("data.environment.EnvironmentDataModule", "data.data_module.EnvironmentDataModule"),
        ("data.copies.EnvCopies", "data.env_copies.EnvCopies"),
        ("lightning_cli.MaxEntCLI", "cli.lightning_cli.MaxEntCLI"),
        ("metric_means.MetricMeans", "metrics.means.MetricMeans"),
        ("critics.building.TwinCritic", "critics.twin.TwinCritic"),
        ("policies.by_actions.GaussianOrCategorical", "policies.gaussian_or_categorical.GaussianOrCategorical"),
    ],
)
def test_a_class_whose_module_was_renamed_is_found(old, present):
    module, _, name = old.rpartition(".")
    sentence = f"The class {name} is not in lightning_maxent.{module}: write lightning_maxent.{present}."
    assert moved_class(f"lightning_maxent.{old}") == sentence
    module, _, name = f"lightning_maxent.{present}".rpartition(".")
    assert hasattr(importlib.import_module(module), name)


def test_a_class_that_no_module_has_is_not_found():
    assert moved_class("lightning_maxent.training_log.TrainingLogs") is None
    assert moved_class("my_package.TrainingLog") is None


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("--trainer.callbacks+=", "training_log.TrainingLog"),
        ("--data.observation_scaling=", "scaling.StandardizedObservations"),
        ("--model.critic=", "critics.building.TwinCritic"),
        ("--data=", "data.environment.ReplayDataModule"),
        ("--model=", "algorithms.off_policy.SAC"),
    ],
)
def test_an_old_path_of_a_class_ends_in_one_sentence_with_the_new_path(option, path, capsys):
    name = path.rpartition(".")[2]
    error = refused(capsys, "fit", "sac/pendulum", *SMALL, f"{option}lightning_maxent.{path}")
    assert f"The class {name} is not in lightning_maxent.{path.rpartition('.')[0]}: write lightning_maxent." in error
    assert error.endswith(f".{name}.")


def test_a_foreign_class_with_an_old_name_is_not_refused():
    assert renamed_class("lightning_maxent.policies.squashed_gaussian.Smooth") == "Smooth is now TanhLogStd."
    assert renamed_class("Smooth") == "Smooth is now TanhLogStd."
    assert renamed_class("my_package.Smooth") is None
    assert renamed_class("lightning_maxent.SAC") is None


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("target_critic_sac/hopper", "sac/hopper"),
        ("sac_discrete/acrobot.yaml", "discrete_sac/acrobot"),
        ("sac_discrete/cartpole_with_value", "discrete_value_sac/cartpole"),
        ("sac/half_cheetah_redq", "redq/half_cheetah"),
    ],
)
def test_an_old_configuration_is_refused_with_its_new_name_which_exists(name, present):
    with pytest.raises(MaxEntError, match=f"^The configuration {re.escape(name)} is now {present}.$"):
        find_configs(name)
    assert find_configs(present)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--model.critic_optimizer.init_args.lr=0.1"], "critic_optimizer is now optimizers.critic."),
        (["--data.warmup_steps=10"], "--data.warmup_steps: warmup_steps is now learning_starts."),
        (["--model=TargetCriticSAC"], "TargetCriticSAC is now SAC."),
        (["--model=lightning_maxent.TargetCriticSAC"], "TargetCriticSAC is now SAC."),
        (["--data.observation_scaling=StandardisedObservations"], "StandardisedObservations is now StandardizedO"),
        (["--config=old.yaml"], "critic_optimizer is now optimizers.critic."),
        (["--config=older.yaml"], "SAC with a value network is now ValueSAC: choose that class."),
    ],
)
def test_an_old_name_on_the_command_line_or_in_a_file_is_refused_with_the_new_name(given, sentence, capsys):
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.001}}
    for name, option in (("old", {"critic_optimizer": adam}), ("older", {"value": "lightning_maxent.StateValue"})):
        model = {"class_path": "lightning_maxent.SAC", "init_args": option}
        Path(f"{name}.yaml").write_text(yaml.safe_dump({"model": model}))
    assert f"error: {sentence}" in refused(capsys, "fit", "sac/pendulum", *SMALL, *given)


def test_options_without_their_class_missing_arguments_and_nested_nulls_are_explained(capsys):
    error = refused(capsys, "fit", "sac/pendulum", *SMALL, "--model.optimizers.critic.lr=0.1")
    assert (
        "'lr' belongs to an optimizer whose class is not given: give the class first, as in "
        "--model.optimizers.critic=Fus" in error
    )
    error = refused(
        capsys, "fit", "sac/pendulum", *SMALL, "--model.optimizers.schedule=torch.optim.lr_scheduler.StepLR"
    )
    assert error.endswith("StepLR cannot be built without step_size: give it among its init_args.")
    error = refused(capsys, "fit", "sac/pendulum", *SMALL, "--model.optimizers.schedule=null")
    assert error.endswith("to null, give optimizers as a whole: --model.optimizers='{schedule: null}'.")


def test_a_checkpoint_of_a_renamed_algorithm_is_refused_with_the_new_name():
    assert renamed_maker("SAC", ["critic.weight", "policy.weight"]) is None
    assert renamed_maker("PPO", ["value.weight"]) is None
    assert renamed_maker(None, ["value.weight"]) is None
    assert "made by SAC with a value network, which is now ValueSAC: start" in str(
        renamed_maker("SAC", ["value.weight", "target_value.weight"])
    )


@pytest.mark.parametrize(("was", "now"), [("TargetCriticSAC", "sac"), ("SAC", "value_sac")])
def test_the_weights_of_an_old_checkpoint_can_start_a_new_run_as_advised(was, now, capsys):
    path = fit(algorithm=now, steps=40) / "checkpoints" / "last.ckpt"
    io = AtomicCheckpointIO()
    io.save_checkpoint(io.load_checkpoint(path) | {"algorithm": was}, path)
    error = refused(capsys, "fit", f"--ckpt_path={path}", "--trainer.max_steps=60")
    assert f"made by {was}" in error
    assert "from its weights with the callback WarmStart" in error
    warm = ["--trainer.callbacks+=lightning_maxent.callbacks.warm_start.WarmStart", f"--trainer.callbacks.path={path}"]
    main(["fit", f"{now}/pendulum", *SMALL, "--trainer.max_steps=40", "--name=b", *warm])
