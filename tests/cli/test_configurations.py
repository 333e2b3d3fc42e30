"""Built-in configurations compose: a method on a task, with overlays on top; no setting is repeated."""

import importlib
import inspect
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

import lightning_maxent
from lightning_maxent.actions import FiniteActions
from lightning_maxent.algorithms.continuous import ContinuousAlgorithm
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import main, run
from lightning_maxent.cli.configurations import (
    BUILT_IN_CONFIGS,
    KINDS_OF_ACTIONS,
    find_configs,
    listing,
    methods,
    pairs,
    stems,
)
from lightning_maxent.errors import MaxEntError

FINITE = ("soft_q", "discrete_sac", "discrete_value_sac", "dqn")
EITHER = ("ppo", "a2c", "reinforce")
FINITE_TASKS = ("acrobot", "cartpole", "frozen_lake", "lunar_lander")
ON_POLICY = ("ppo", "a2c", "reinforce", "reppo")


def fits(method: str, task: str) -> bool:
    return method in EITHER or (method in FINITE) == (task in FINITE_TASKS)


def resolved(capsys, *args: str) -> dict[str, Any]:
    """The whole configuration, as ``--print_config`` shows it."""
    with pytest.raises(SystemExit):
        main(["fit", *args, "--print_config"])
    return yaml.safe_load(capsys.readouterr().out.split("\n# ")[0])


def short(files: list[str]) -> list[str]:
    return [str(Path(file).relative_to(BUILT_IN_CONFIGS).with_suffix("")) for file in files]


def leaves(part: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(part, dict):
        return {path: part}
    found = [leaves(value, f"{path}.{key}" if path else key) for key, value in part.items()]
    return {name: value for each in found for name, value in each.items()}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("sac", ["algorithm/sac"]),
        ("task/hopper", ["task/hopper"]),
        ("critic/redq", ["critic/redq"]),
        ("sac/hopper", ["algorithm/sac", "task/hopper"]),
        ("sac/half_cheetah", ["algorithm/sac", "task/half_cheetah", "pair/sac/half_cheetah"]),
        ("redq", ["algorithm/sac", "critic/redq", "recipe/redq"]),
        ("redq/hopper", ["algorithm/sac", "critic/redq", "recipe/redq", "task/hopper", "pair/redq/hopper"]),
        ("simba/humanoid.yaml", ["algorithm/sac", "critic/simba", "recipe/simba", "task/humanoid"]),
    ],
)
def test_a_name_stands_for_files_of_which_the_later_win(name, files):
    assert short(find_configs(name)) == files


@pytest.mark.parametrize(
    ("name", "near"),
    [("sacc", "sac"), ("sac/half_cheeta", "sac/half_cheetah"), ("nothing/at_all", "see lightning-maxent list")],
)
def test_an_unknown_configuration_is_refused_with_near_matches(name, near):
    with pytest.raises(
        MaxEntError, match=rf"^There is no configuration '{name}', neither a file nor built in; try .*{near}"
    ):
        find_configs(name)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("sac/walker2d", "fit sac --data.env_id Walker2d-v5"),
        ("sac/Walker2d-v4", "fit sac --data.env_id Walker2d-v4"),
        ("redq/inverted_double_pendulum", "fit redq --data.env_id InvertedDoublePendulum-v5"),
        ("task/walker2d", "fit sac --data.env_id Walker2d-v5"),
        ("sac/linear_quadratic", "fit sac --data.env_id lightning_maxent/LinearQuadratic-v0"),
        ("dqn/a_game", "fit dqn --data.env_id CartPole-v1"),
        ("bro/my_robot", "fit bro --data.env_id HalfCheetah-v5"),
    ],
)
def test_an_unknown_task_is_refused_with_a_command_that_trains_on_any_environment(name, advice, capsys):
    with pytest.raises(
        MaxEntError, match=r"^There is no task '.*' among acrobot, .*, pendulum: to train on"
    ) as refusal:
        find_configs(name)
    assert str(refusal.value).endswith(f", as in {advice}.")
    _, *arguments = advice.split()
    assert resolved(capsys, *arguments)["data"]["init_args"]["env_id"] == arguments[-1]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("soft_q/walker2d", "soft_q is not for Walker2d-v5, which has continuous actions; to train on any other "),
        ("td3/taxi", "td3 is not for Taxi-v4, which has finite actions; to train on any other "),
        ("redq/taxi", "redq is not for Taxi-v4, which has finite actions; to train on any other "),
    ],
)
def test_an_unknown_task_with_other_actions_is_refused_with_an_algorithm_for_these_actions(name, advice):
    with pytest.raises(MaxEntError) as refusal:
        find_configs(name)
    fitting = "fit sac --data.env_id Walker2d-v5." if "walker" in name else "fit soft_q --data.env_id Taxi-v4."
    assert advice in str(refusal.value)
    assert str(refusal.value).endswith(f", as in {fitting}")


def test_the_kinds_of_actions_are_those_of_the_algorithms():
    for algorithm in stems("algorithm"):
        path = yaml.safe_load((BUILT_IN_CONFIGS / "algorithm" / f"{algorithm}.yaml").read_text())["model"]["class_path"]
        learner = getattr(lightning_maxent, path.rpartition(".")[2])
        kinds = {ContinuousAlgorithm: "continuous", FiniteAlgorithm: "finite"}
        (kind,) = [name for base, name in kinds.items() if issubclass(learner, base)] or [None]
        assert KINDS_OF_ACTIONS.get(algorithm) == kind, algorithm


@pytest.mark.parametrize("part", ["model", "data", "trainer"])
def test_a_file_with_nothing_under_a_key_is_refused(part, tmp_path):
    (tmp_path / "empty.yaml").write_text(f"{part}: null\n")
    with pytest.raises(MaxEntError, match=rf"empty.yaml has the key {part}, but nothing under it: write options under"):
        find_configs(str(tmp_path / "empty.yaml"))


def test_every_pair_is_one_of_a_method_and_a_task_that_fit_each_other():
    for pair in pairs():
        method, task = pair.split("/")
        assert method in methods()
        assert task in stems("task")
        assert fits(method, task)


def test_the_parts_of_a_run_may_be_named_one_by_one(capsys):
    whole = resolved(capsys, "sac/half_cheetah", "critic/redq")
    parts = resolved(
        capsys, "--config=sac", "--config=task/half_cheetah", "--config=pair/sac/half_cheetah", "--config=critic/redq"
    )
    assert whole == parts
    assert whole["data"]["init_args"]["env_id"] == "HalfCheetah-v5"
    assert whole["data"]["init_args"]["learning_starts"] == 10_000
    assert whole["model"]["init_args"]["critic"]["class_path"].endswith("EnsembleCritic")


def test_a_new_environment_needs_no_file(capsys):
    config = resolved(capsys, "sac", "--data.env_id=Walker2d-v5")
    assert config["data"]["init_args"]["env_id"] == "Walker2d-v5"
    assert config["trainer"]["max_steps"] == 1_000_000


@pytest.mark.parametrize("task", stems("task"))
def test_a_task_sets_only_options_that_every_method_has(task):
    content = yaml.safe_load((BUILT_IN_CONFIGS / "task" / f"{task}.yaml").read_text())
    of_any_data = {"data.init_args.env_id", "data.init_args.eval_episodes"}
    assert "data.init_args.env_id" in leaves(content)
    assert leaves(content).keys() <= of_any_data | {"trainer.max_steps", "checkpoint.every_n_steps"}


@pytest.mark.parametrize("method", methods())
def test_every_method_has_a_complete_configuration_on_a_task(method, capsys):
    task, env_id = ("acrobot", "Acrobot-v1") if method in FINITE else ("humanoid", "Humanoid-v5")
    config = resolved(capsys, method, f"task/{task}")
    assert config["data"]["init_args"]["env_id"] == env_id
    assert config["data"]["init_args"]["eval_interval"] % config["data"]["init_args"]["steps_per_round"] == 0
    assert ("Rollout" in config["data"]["class_path"]) == (method in ON_POLICY)


@pytest.mark.usefixtures("shapes_unchecked", "runs_without_curves")
@pytest.mark.parametrize("task", ["pendulum", "cartpole"])
@pytest.mark.parametrize("method", EITHER)
def test_the_policy_of_an_on_policy_algorithm_follows_from_the_actions(method, task, tmp_path):
    quiet = (
        "logger=false",
        "enable_progress_bar=false",
        "enable_model_summary=false",
        "accelerator=cpu",
        "max_steps=80",
    )
    args = [*(f"--trainer.{option}" for option in quiet), "--data.steps_per_round=400", "--data.eval_interval=400"]
    small = ["--data.eval_episodes=1", "--data.num_envs=2", f"--runs_dir={tmp_path}"]
    passes = ["--model.epochs=1", "--model.minibatches=1"] if method == "ppo" else []
    model = run(resolve_arguments(["fit", method, f"task/{task}", *args, *small, *passes])).model
    finite = isinstance(model.policy.__dict__.get("actions"), FiniteActions)
    assert type(model.policy).__name__ == ("Categorical" if finite else "Gaussian")
    assert finite == (task == "cartpole")


@pytest.mark.parametrize("method", ["sac", "ppo"])
@pytest.mark.parametrize("kind", ["logger", "trainer"])
def test_overlays_set_their_options_over_any_method(method, kind, capsys):
    suffix = "_on_policy" if method in ON_POLICY else ""
    for overlay in stems(kind):
        if kind == "logger" or overlay.endswith("_on_policy") == bool(suffix):
            overlaid = leaves(yaml.safe_load((BUILT_IN_CONFIGS / kind / f"{overlay}.yaml").read_text()))
            config = leaves(resolved(capsys, f"{method}/pendulum", f"{kind}/{overlay}"))
            for option, value in overlaid.items():
                assert str(config[option]).rpartition(".")[2] == str(value).rpartition(".")[2]


@pytest.mark.parametrize("overlay", ["trainer/debug", "trainer/gpu_bf16"])
def test_an_overlay_for_the_other_kind_of_data_is_refused_with_the_name_of_the_right_one(overlay, tmp_path):
    variant = f"{overlay}_on_policy"
    own = tmp_path / "my.yaml"
    own.write_text("data: RolloutDataModule")
    for names, wrong, correct, data in (
        (["ppo/pendulum"], overlay, variant, "RolloutDataModule"),
        (["--config", "reinforce", "--config=task/cartpole"], f"--config={overlay}", variant, "RolloutDataModule"),
        (["sac/pendulum"], variant, overlay, "ReplayDataModule"),
        (["sac/pendulum", str(own)], f"{overlay}.yaml", variant, "RolloutDataModule"),
    ):
        said = f"{wrong.removeprefix('--config=')} is not for the data of this algorithm, a {data}: give {correct} instead."
        with pytest.raises(MaxEntError) as refusal:
            resolve_arguments(["fit", *names, wrong])
        assert str(refusal.value) == said
        (file,) = find_configs(correct)
        assert resolve_arguments(["fit", *names, f"--config={correct}"])[-1] == f"--config={file}"


def defaults(class_path: str) -> dict[str, Any]:
    module, _, name = class_path.rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name).__init__)
    return {each.name: each.default for each in signature.parameters.values()}


def restated(part: Any) -> list[str]:
    """Plain values of a configuration that are equal to the defaults of the code."""
    if not isinstance(part, dict):
        return []
    found = [each for value in part.values() for each in restated(value)]
    if "class_path" in part and part["class_path"].startswith("lightning_maxent."):
        of_code = defaults(part["class_path"])
        given = part.get("init_args", {})
        found += [name for name, value in given.items() if not isinstance(value, dict) and of_code.get(name) == value]
    return found


@pytest.mark.parametrize("kind", ["algorithm", "task"])
def test_configurations_do_not_restate_defaults_of_the_code(kind):
    for name in stems(kind):
        assert restated(yaml.safe_load((BUILT_IN_CONFIGS / kind / f"{name}.yaml").read_text())) == [], name


def test_pairs_do_not_restate_their_method_or_task():
    for pair in pairs():
        *below, own = (leaves(yaml.safe_load(Path(file).read_text())) for file in find_configs(pair))
        said = dict(itertools.chain(*(layer.items() for layer in below)))
        assert [option for option, value in own.items() if said.get(option) == value] == [], pair


def test_the_listing_names_everything_with_its_title():
    text = listing()
    for kind in ("algorithm", "recipe", "task", "critic", "trainer", "logger", "compare", "sweep"):
        for name in stems(kind):
            line = next(line for line in text.splitlines() if line.startswith(f"  {name} "))
            assert len(line.split(maxsplit=1)[1]) > 10


def test_the_command_list_prints_the_listing(capsys):
    main(["list"])
    assert capsys.readouterr().out == listing() + "\n"
