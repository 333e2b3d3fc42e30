"""A loaded policy acts as in its run, with the environment's own observations and actions."""

import shutil
from functools import cache

import gymnasium as gym
import jaxtyping
import numpy as np
import pytest
import torch
import yaml
from cli_helpers import metrics

from lightning_maxent import (
    Categorical,
    DiscreteSAC,
    MaxEntError,
    ReplayDataModule,
    TrainedPolicy,
    TwinHeadsCritic,
    load_policy,
)
from lightning_maxent.callbacks import curves
from lightning_maxent.cli.arguments import resolve_arguments
from lightning_maxent.cli.command import run
from lightning_maxent.cli.lightning_cli import MaxEntCLI

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.logger=false",
    "--data.eval_episodes=2",
    "--name=a",
]
REPLAY = ["--data.capacity=500", "--data.batch_size=16", "--data.learning_starts=20", "--data.eval_interval=60"]
SCALED = "--data.observation_scaling=lightning_maxent.data.scaling.StandardizedObservations"
RUNS = {
    "sac": ["sac", "--data.env_id=Pendulum-v1", *REPLAY, SCALED, "--trainer.max_steps=120"],
    "dqn": ["dqn", "--data.env_id=CartPole-v1", *REPLAY, "--trainer.max_steps=120"],
    "dqn of rooms": ["dqn", "--data.env_id=probe_envs:probe/Rooms-v0", *REPLAY, SCALED, "--trainer.max_steps=120"],
    "ppo": [
        *("ppo", "--data.env_id=Pendulum-v1", "--data.steps_per_round=64", "--data.eval_interval=128"),
        "--trainer.max_steps=128",
    ],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folders of runs by name; each run is trained once."""
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def run_of(name: str) -> MaxEntCLI:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
            patch.setattr(curves, "draw_curves", lambda metrics, picture: None)
            return run(resolve_arguments(["fit", *RUNS[name], *QUIET, f"--runs_dir={folder}"]))

    return run_of


def stacked(observations: list) -> object:
    """As a Gymnasium vector environment gives observations."""
    first = observations[0]
    if isinstance(first, dict):
        return {key: stacked([each[key] for each in observations]) for key in first}
    if isinstance(first, tuple):
        return tuple(stacked(list(parts)) for parts in zip(*observations))
    return np.stack(observations)


def returns_of(policy: TrainedPolicy, env_id: str, seed: int, episodes: int) -> float:
    """Mean return of episodes played side by side in the environment itself, seeded one after another."""
    envs = [gym.make(env_id) for _ in range(episodes)]
    seen = [env.reset(seed=seed + copy)[0] for copy, env in enumerate(envs)]
    rewards, over = [[] for _ in envs], [False for _ in envs]
    while not all(over):
        actions = policy(stacked(seen), deterministic=True)
        for copy, env in enumerate(envs):
            if not over[copy]:
                assert env.action_space.contains(actions[copy])
                seen[copy], reward, terminated, truncated, _ = env.step(actions[copy])
                rewards[copy].append(reward)
                over[copy] = terminated or truncated
    return float(torch.stack([torch.tensor(each, dtype=torch.float32).sum() for each in rewards]).mean())


@pytest.mark.parametrize("name", list(RUNS))
def test_a_loaded_policy_gives_the_returns_of_the_last_evaluation_of_its_run(trained, name):
    cli = trained(name)
    policy = load_policy(cli.run_dir / "checkpoints" / "last.ckpt")
    evaluated = [row["eval/return_mean"] for row in metrics(cli.run_dir) if "eval/return_mean" in row]
    seed = cli.datamodule._seed("mode")  # of the evaluation at the last step
    assert returns_of(policy, cli.datamodule.env_id, seed, 2) == evaluated[-1]


def test_load_policy_of_a_folder_loads_the_best_checkpoint_or_else_the_last(trained, tmp_path):
    folder = shutil.copytree(trained("sac").run_dir, tmp_path / "run")
    obs = np.array([0.5, -0.8, 3.0], np.float32)
    action = {name: load_policy(folder / "checkpoints" / f"{name}.ckpt")(obs, True) for name in ("best", "last")}
    assert load_policy(folder)(obs, deterministic=True) == action["best"]
    (folder / "checkpoints" / "best.ckpt").unlink()
    assert load_policy(str(folder))(obs, deterministic=True) == action["last"]


@pytest.mark.parametrize("name", ["sac", "dqn of rooms"])
def test_a_single_observation_and_a_batch_give_the_same_actions(trained, name):
    cli = trained(name)
    policy, env = load_policy(cli.run_dir), gym.make(cli.datamodule.env_id)
    seen = [env.reset(seed=seed)[0] for seed in range(4)]
    batched = policy(stacked(seen), deterministic=True)
    for each, expected in zip(seen, batched, strict=True):
        alone = policy(each, deterministic=True)
        assert env.action_space.contains(alone)
        np.testing.assert_allclose(alone, expected, rtol=1e-5)


def by_hand() -> tuple[DiscreteSAC, ReplayDataModule]:
    data = ReplayDataModule("probe_envs:probe/Rooms-v0")
    return DiscreteSAC(data.obs_dim, data.actions, TwinHeadsCritic, Categorical), data


def test_samples_of_a_loaded_policy_follow_its_probabilities():
    torch.manual_seed(1)
    model, data = by_hand()
    seen = gym.make("probe/Rooms-v0").reset(seed=0)[0]
    policy = TrainedPolicy(model, data)
    flat = torch.from_numpy(gym.spaces.flatten(data.observation_space, seen)).float()
    probability = float(model.policy(flat.unsqueeze(0)).detach().exp()[0, 1])
    played = policy(stacked([seen] * 4000))
    assert set(played.tolist()) == {3, 4}
    assert float((played == 4).mean()) == pytest.approx(probability, abs=0.03)


def test_a_trained_policy_does_not_change_the_training_mode_of_its_model():
    model, data = by_hand()
    TrainedPolicy(model.train(), data)(gym.make("probe/Rooms-v0").reset(seed=0)[0])
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("obs", [None, 3.0, np.zeros(3), {"door": 1}, {"room": 2}, "door"])
def test_an_invalid_observation_is_refused_in_one_sentence(obs):
    policy = TrainedPolicy(*by_hand())
    with pytest.raises(MaxEntError, match="neither an observation of the environment nor a batch of them; their"):
        policy(obs)


def test_a_batch_whose_parts_differ_in_length_is_refused():
    policy = TrainedPolicy(*by_hand())
    door = (np.zeros((2, 2), np.int8), np.zeros((2, 1, 2)))
    assert policy({"door": door, "room": np.array([1, 2])}).shape == (2,)
    with pytest.raises(MaxEntError, match="is neither"):
        policy({"door": door, "room": np.array([1, 2, 3])})


def test_load_policy_refuses_invalid_paths_devices_and_arguments_in_one_sentence(trained, tmp_path):
    folder = shutil.copytree(trained("sac").run_dir, tmp_path / "run")
    last = folder / "checkpoints" / "last.ckpt"
    with pytest.raises(MaxEntError, match="There is no checkpoint"):
        load_policy("runs/no_such_run")
    with pytest.raises(MaxEntError, match=r"neither checkpoints/best\.ckpt nor checkpoints/last\.ckpt; give"):
        load_policy(tmp_path)
    with pytest.raises(MaxEntError, match="is no checkpoint"):
        load_policy(folder / "config.yaml")
    with pytest.raises(MaxEntError, match="The device 'moon' cannot be used"):
        load_policy(last, device="moon")
    model, data = by_hand()
    with pytest.raises(MaxEntError, match="was made by SAC, but this is DiscreteSAC"):
        load_policy(last, model=model, data=data)
    with pytest.raises(MaxEntError, match="needs both model and data"):
        load_policy(last, model=model)
    config = (folder / "config.yaml").read_text()
    raw = yaml.safe_load(config)
    raw["data"]["init_args"]["observation_scaling"] = "lightning_maxent.data.scaling.RawObservations"
    for text, said in [
        (
            config.replace("algorithms.sac.SAC", "algorithms.sac.SAK"),
            "did you mean lightning_maxent.algorithms.sac.SAC",
        ),
        ("model: 3\n", "is not the configuration of a run"),
        ("- [", "is not the configuration of a run"),
        (config.replace("Pendulum-v1", "Hopper-v5"), "The checkpoint holds another model"),
        (
            yaml.safe_dump(raw),
            "observation_scaling StandardizedObservations, but the configuration has RawObservations",
        ),
    ]:
        assert text != config
        (folder / "config.yaml").write_text(text)
        with pytest.raises(MaxEntError, match=said):
            load_policy(last)
    (folder / "config.yaml").unlink()
    with pytest.raises(MaxEntError, match="give model and data to load_policy"):
        load_policy(last)
