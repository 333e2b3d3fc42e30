"""Every algorithm's built-in configuration, made small for a world of one step, and runs of it."""

import copy
import inspect
from abc import ABC
from pathlib import Path
from typing import Any

import yaml
from cli_helpers import metrics, saved, without_speed
from helpers import same

from lightning_maxent import AbstractAlgorithm, exports
from lightning_maxent.algorithms.continuous import ContinuousAlgorithm
from lightning_maxent.algorithms.finite import FiniteAlgorithm
from lightning_maxent.algorithms.on_policy import OnPolicyAlgorithm
from lightning_maxent.cli.command import main
from lightning_maxent.cli.configurations import BUILT_IN_CONFIGS

ALGORITHMS = {
    name: part
    for name, part in vars(exports).items()
    if inspect.isclass(part) and issubclass(part, AbstractAlgorithm) and ABC not in part.__bases__
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


# Worlds that get episodes of 15 steps, so that a checkpoint at 40 steps is in the middle of one.
LONG = {"box": "lightning_maxent/LinearQuadratic-v0", "joint": "lightning_maxent/AliasedGrid-v0"}


def write(name: str, kind: str, long: bool = False) -> str:
    """Write the algorithm's configuration, made small for a world of one step or of long episodes; its path."""
    config = shrunk(copy.deepcopy(CONFIGURATIONS[name]))
    config["data"].setdefault("init_args", {})
    on_policy = "RolloutDataModule" in config["data"]["class_path"]
    config["data"]["init_args"] |= DATA | ({"steps_per_round": 20} if on_policy else REPLAY)
    config["data"]["init_args"] |= {"env_id": "probe_envs:probe/Once-v0", "env_kwargs": {"choices": KINDS[kind]}}
    if long and kind in LONG:
        config["data"]["init_args"] |= {"env_id": LONG[kind], "env_kwargs": {"max_episode_steps": 15}}
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
    (run,) = Path("runs").glob("*/*/a")
    return run


def ends_as(whole: Path) -> list[dict[str, float]]:
    """Fail unless the only run ends like the uninterrupted one; returns the rows of the uninterrupted run."""
    (run,) = Path("runs").glob("*/*/a")
    state, cut, rows = saved(whole), saved(run), without_speed(metrics(whole))
    assert without_speed(metrics(run)) == rows
    (data,) = [key for key in state if key.endswith("DataModule")]
    for key in ("state_dict", "optimizer_states", "gradient_steps", "global_step", data):
        same(state[key], cut[key], key)
    return rows


def cut_ends_as_whole(name: str, kind: str, *device: str) -> list[dict[str, float]]:
    """Fail unless a resumed run ends like an uninterrupted one; returns the rows of the uninterrupted run."""
    whole = fit(write(name, kind, long=True), 80, *device).rename("whole")
    fit(write(name, kind, long=True), 40, *device)
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=80"])
    return ends_as(whole)
