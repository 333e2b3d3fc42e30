"""What holds for every algorithm on the command line; a new one is covered by its built-in configuration."""

import copy
import importlib
import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from test_cli import metrics, refused, same, saved

from lightning_maxent import AbstractAlgorithm, exports
from lightning_maxent.algorithms.continuous import ContinuousAlgorithm
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.algorithms.on_policy import OnPolicyAlgorithm
from lightning_maxent.cli import main
from lightning_maxent.configurations import BUILT_IN_CONFIGS

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
ALGORITHMS = {
    name: part
    for name, part in vars(exports).items()
    if inspect.isclass(part) and issubclass(part, AbstractAlgorithm) and not inspect.isabstract(part)
}
KINDS = {"box": None, "joint": [2, 2], "factors": [2, 2]}  # of actions; those of the last as factors
POLICIES = {"box": "Gaussian", "joint": "Categorical", "factors": "Categorical"}  # where either may be
NETWORK = {"class_path": "lightning_maxent.networks.MLP", "init_args": {"hidden_dims": [8]}}
SMALL = {"hidden_dims": [8], "width": 8, "minibatches": 2, "epochs": 2, "count": 4}
SCALED = {
    "observation_scaling": "lightning_maxent.data.scaling.StandardizedObservations",
    "reward_scaling": "lightning_maxent.data.scaling.ReturnScaledRewards",
}
DATA = {"num_envs": 1, "eval_interval": 40, "eval_episodes": 2, "max_joint_actions": 1_000}
REPLAY = {"capacity": 500, "batch_size": 8, "learning_starts": 20, "updates_per_round": 1, "steps_per_round": 2}


def configurations() -> dict[str, dict[str, Any]]:
    """The built-in configuration of each algorithm, by the name of its class."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(BUILT_IN_CONFIGS.glob("algorithm/*.yaml")):
        content = yaml.safe_load(path.read_text())
        found[content["model"]["class_path"].rpartition(".")[2]] = content
    return found


CONFIGURATIONS = configurations()


def takes(name: str, kind: str) -> bool:
    if kind == "box":
        return not issubclass(ALGORITHMS[name], FiniteAlgorithm)
    return not issubclass(ALGORITHMS[name], ContinuousAlgorithm)


CASES = [(name, kind) for name in ALGORITHMS for kind in KINDS if takes(name, kind)]
FIRST = [(name, next(kind for kind in KINDS if takes(name, kind))) for name in ALGORITHMS]


def shrunk(part: Any) -> Any:
    """The same parts, with small networks and few passes."""
    if isinstance(part, list):
        return [shrunk(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {key: SMALL.get(key, shrunk(value)) for key, value in part.items()}


def with_small_network(part: Any) -> dict[str, Any]:
    """The same critic, policy or V, with a network of its own that is small."""
    part = part if isinstance(part, dict) else {"class_path": part}
    return part | {"init_args": {"network": NETWORK} | part.get("init_args", {})}


def write(name: str, kind: str) -> str:
    """Write the algorithm's configuration, made small for a world of one step; its path."""
    config = shrunk(copy.deepcopy(CONFIGURATIONS[name]))
    config["data"].setdefault("init_args", {})
    on_policy = "RolloutDataModule" in config["data"]["class_path"]
    config["data"]["init_args"] |= DATA | ({"steps_per_round": 20} if on_policy else REPLAY)
    config["data"]["init_args"] |= {"env_id": "probe_envs:probe/Once-v0", "env_kwargs": {"choices": KINDS[kind]}}
    parts = config["model"]["init_args"]
    for part in ("critic", "policy", "value"):
        if part in parts:
            parts[part] = with_small_network(parts[part])
    if on_policy:
        config["data"]["init_args"] |= SCALED
    if kind == "factors":
        config["data"]["init_args"]["max_joint_actions"] = 1
        if "critic" in parts:
            parts["critic"] = {"class_path": "lightning_maxent.TwinHeadsCritic", "init_args": {"network": NETWORK}}
    if issubclass(ALGORITHMS[name], OnPolicyAlgorithm):
        parts["policy"] = {"class_path": f"lightning_maxent.{POLICIES[kind]}", "init_args": {"network": NETWORK}}
    if "minibatches" in inspect.signature(ALGORITHMS[name]).parameters:
        parts |= {"minibatches": SMALL["minibatches"], "epochs": SMALL["epochs"]}
    config["trainer"] = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    config["trainer"] |= {"enable_model_summary": False}
    config["checkpoint"] = {"every_n_steps": 40}
    config["training_log"] = {"every_n_steps": 20}
    path = Path(f"{name}.yaml")
    path.write_text(yaml.safe_dump(config))
    return str(path)


def fit(config: str, steps: int, *args: str) -> Path:
    main(["fit", f"--config={config}", f"--trainer.max_steps={steps}", "--name=a", *args])
    (run,) = Path("runs").glob("*/probe-Once-v0/a")
    return run


def without_speed(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.startswith("speed/")} for row in rows]


def test_every_algorithm_has_a_built_in_configuration_and_a_folder_of_its_own():
    assert CONFIGURATIONS.keys() == ALGORITHMS.keys()
    for name, config in CONFIGURATIONS.items():
        module, _, class_name = config["model"]["class_path"].rpartition(".")
        assert getattr(importlib.import_module(module), class_name) is ALGORITHMS[name]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_run_leaves_what_every_run_leaves_and_keeps_the_clock(name, kind):
    run = fit(write(name, kind), 80)
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "curves.png", "metrics.csv"]
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert {"best.ckpt", "last.ckpt"} <= names <= {"best.ckpt", "last.ckpt", "last.ckpt.replay"}
    rows, state = metrics(run), saved(run)
    assert [row["env_steps"] for row in rows] == [20, 40, 60, 80]
    assert [row["env_steps"] for row in rows if "eval/return_mean" in row] == [40, 80]
    assert state["global_step"] == 80
    assert rows[-1]["gradient_steps"] == state["gradient_steps"] > 0
    losses = {column for column in rows[-1] if column.startswith("loss/")}
    assert len(losses) >= len(state["optimizer_states"]) > 0
    for column in ("entropy", "temperature", "train/return_mean", "eval/soft_return_mean", "eval/entropy_mean"):
        if column in ("entropy", "temperature") and "Deterministic" in str(CONFIGURATIONS[name]):
            continue  # there is none
        assert column in rows[-1], column
    biases = {"eval/q_bias_mean", "eval/value_bias_mean"} & rows[-1].keys()
    assert bool(biases) == bool(losses & {"loss/critic", "loss/value"})  # where a return is predicted
    configuration = str(CONFIGURATIONS[name])
    if (
        "LearnedTemperature" not in configuration
        and "ReplayDataModule" in configuration
        and "RawRewards" in configuration
    ):
        alpha = rows[-1].get("temperature", 0.0)
        soft = rows[-1]["eval/sampled_return_mean"] + alpha * rows[-1]["eval/entropy_mean"]  # of one step
        assert rows[-1]["eval/soft_return_mean"] == pytest.approx(soft, abs=1e-4)


def ends_as(whole: Path) -> list[dict[str, float]]:
    """Fail unless the one run there is ends as the whole one; what that one logged."""
    (run,) = Path("runs").glob("*/probe-Once-v0/a")
    state, cut, rows = saved(whole), saved(run), without_speed(metrics(whole))
    assert without_speed(metrics(run)) == rows
    (data,) = [key for key in state if key.endswith("DataModule")]
    for key in ("state_dict", "optimizer_states", "gradient_steps", "global_step", data):
        same(state[key], cut[key], key)
    return rows


def cut_ends_as_whole(name: str, kind: str, *device: str) -> list[dict[str, float]]:
    """Fail unless a run that is cut ends as one that is not; what that one logged."""
    whole = fit(write(name, kind), 120, *device).rename("whole")
    fit(write(name, kind), 80, *device)
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=120"])
    return ends_as(whole)


@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_a_run_that_was_cut_ends_as_one_that_was_not_to_the_last_bit(name, kind):
    """In a world of one step, where a new episode after the cut is what would have come anyway."""
    cut_ends_as_whole(name, kind)


class StopsIn(pl.Callback):
    """Stops a run within the evaluation at a time."""

    def __init__(self, env_steps: int):
        self.env_steps = env_steps

    def on_validation_batch_end(self, trainer, *args):
        if trainer.global_step == self.env_steps:
            raise KeyboardInterrupt


@pytest.mark.parametrize("steps", [80, 120])
@pytest.mark.parametrize("name", ["SAC", "PPO"])
def test_an_evaluation_that_was_cut_short_is_made_up_for(name, steps):
    whole = fit(write(name, "box"), 120).rename("whole")
    stop = [f"--trainer.callbacks+={__name__}.StopsIn", f"--trainer.callbacks.env_steps={steps}"]
    with pytest.raises(SystemExit):
        fit(write(name, "box"), 120, *stop)
    (run,) = Path("runs").glob("*/probe-Once-v0/a")
    assert saved(run)["global_step"] == steps
    main(["fit", "--ckpt_path=last", "--trainer.callbacks=null"])
    ends_as(whole)


def test_noise_that_remembers_goes_on_in_each_environment():
    cut_ends_as_whole("DDPG", "box", "--data.num_envs=2", "--model.noise=lightning_maxent.noise.OrnsteinUhlenbeckNoise")


@pytest.mark.parametrize("clock", ["updates", "env_steps"])
@pytest.mark.parametrize("name", ["TD3", "PPO"])
def test_a_learning_rate_schedule_goes_on_where_it_was(name, clock):
    """Also that of the policy of TD3, which is updated every second time."""
    schedule = "--model.optimizers.schedule=torch.optim.lr_scheduler.CosineAnnealingLR"
    settings = ["--model.optimizers.schedule.T_max=150", f"--model.optimizers.schedule_clock={clock}"]
    *_, before, last = cut_ends_as_whole(name, "box", schedule, *settings, "--model.optimizers.default.lr=1e-3")
    assert last["lr/policy"] < before["lr/policy"] < 1e-3
    steps = last["env_steps"] if clock == "env_steps" else last["gradient_steps"]
    assert last["lr/policy"] == pytest.approx(1e-3 * (1 + math.cos(math.pi * steps / 150)) / 2)


@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_what_an_algorithm_cannot_take_ends_in_one_sentence(name, kind, capsys):
    given = ["fit", f"--config={write(name, kind)}", "--trainer.max_steps=40"]
    assert "did you mean 'discount'" in refused(capsys, *given, "--model.discont=0.9")
    assert "The discount must lie in [0, 1]" in refused(capsys, *given, "--model.discount=1.5")
    foreign = "{choices: [2, 2]}" if kind == "box" else "{choices: null}"
    assert "actions" in refused(capsys, *given, f"--data.env_kwargs={foreign}")
    assert not list(Path().glob("runs/*/*/*"))  # nothing was begun
