"""The command line on policy: runs of seconds, from the built-in configurations."""

import sys
from pathlib import Path

import pytest
from test_cli import metrics, refused

from lightning_maxent.arguments import BUILT_IN_CONFIGS
from lightning_maxent.callbacks.checkpoint import AtomicCheckpointIO
from lightning_maxent.cli import main

SMALL = [
    "--data.num_envs=2",
    "--data.steps_per_round=20",
    "--data.eval_interval=40",
    "--data.eval_episodes=2",
    "--checkpoint.every_n_steps=40",
    "--training_log.every_n_steps=20",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
LEARNT = {"value": "value", "q": "critic"}
CONTINUOUS, FACTORS = "probe_envs:probe/Counting-v0", "probe_envs:probe/Factors-v0"
CONFIGS = {
    f"{algorithm}/{path.stem}": CONTINUOUS if path.stem not in ("cartpole", "frozen_lake") else FACTORS
    for algorithm in ("a2c", "ppo", "reinforce", "reppo")
    for path in sorted((BUILT_IN_CONFIGS / algorithm).glob("*.yaml"))
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-maxent"])
    monkeypatch.setenv("WANDB_MODE", "disabled")


def small(config: str) -> list[str]:
    size = "width=8" if config.startswith("reppo") else "hidden_dims=[8]"
    passes = ["--model.minibatches=2"] if "ppo" in config else []
    return [*SMALL, f"--model.policy.init_args.network.init_args.{size}", *passes]


def fit(config: str, *args: str, steps: int = 80) -> Path:
    options = [*small(config), f"--data.env_id={CONFIGS[config]}", f"--trainer.max_steps={steps}", "--name=a"]
    main(["fit", f"--config={config}", *options, *args])
    return Path("runs") / config.partition("/")[0] / CONFIGS[config].rpartition(":")[2].replace("/", "-") / "a"


@pytest.mark.parametrize("config", CONFIGS)
def test_a_run_on_policy_leaves_what_every_run_leaves(config):
    run = fit(config)
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "curves.png", "metrics.csv"]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    rows = metrics(run)
    assert [row["env_steps"] for row in rows] == [20, 40, 60, 80]
    for name in (
        "loss/policy",
        "entropy",
        "temperature",
        "eval/return_mean",
        "eval/soft_return_mean",
        "train/return_mean",
    ):
        assert name in rows[-1], name
    for name in ("value", "q"):
        assert (f"eval/{name}_bias_mean" in rows[-1]) == (f"loss/{LEARNT[name]}" in rows[-1])
    assert ("loss/value" in rows[-1]) == config.startswith(("a2c", "ppo"))


@pytest.mark.parametrize("config", ["a2c/cartpole", "ppo/half_cheetah", "reinforce/cartpole", "reppo/pendulum"])
def test_a_run_on_policy_goes_on_from_its_last_checkpoint(config):
    run = fit(config)
    before = AtomicCheckpointIO().load_checkpoint(run / "checkpoints" / "last.ckpt")
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=120"])
    after = AtomicCheckpointIO().load_checkpoint(run / "checkpoints" / "last.ckpt")
    assert (before["global_step"], after["global_step"]) == (80, 120)
    assert after["RolloutDataModule"]["env_steps"] == 120
    assert after["gradient_steps"] * 4 == before["gradient_steps"] * 6  # as many in every round
    main(["test", f"--ckpt_path={run}/checkpoints/best.ckpt"])


@pytest.mark.parametrize(
    ("config", "args", "sentence"),
    [
        ("ppo/cartpole", ["--data.env_id=Pendulum-v1"], "Categorical gives finite actions"),
        ("ppo/pendulum", ["--data.env_id=CartPole-v1"], "Gaussian gives continuous actions"),
        (
            "ppo/cartpole",
            ["--data=lightning_maxent.data.replay.ReplayDataModule", "--data.batch_size=8", "--data.warmup_steps=8"],
            "of the class RolloutDataModule",
        ),
        ("a2c/cartpole", ["--model.trace_decay=2"], "trace_decay, lambda, must lie in [0, 1]"),
        ("a2c/cartpole", ["--model.trace_decy=1"], "trace_decy"),
        ("reinforce/cartpole", ["--data.steps_per_round=2", "--data.eval_interval=2"], "No episode ended"),
    ],
)
def test_what_cannot_be_learnt_on_policy_ends_in_one_sentence(capsys, config, args, sentence):
    given = [option for option in small(config) if not any(arg.split("=")[0] == option.split("=")[0] for arg in args)]
    assert sentence in refused(capsys, "fit", f"--config={config}", *given, *args)


def test_off_policy_algorithms_refuse_rollouts(capsys):
    rollouts = ["--data=lightning_maxent.data.rollout.RolloutDataModule", *SMALL[:4], *SMALL[5:]]
    assert "of the class ReplayDataModule" in refused(capsys, "fit", "--config=sac/pendulum", *rollouts)
