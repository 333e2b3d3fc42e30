"""What holds for every algorithm on the command line; a new one is covered by its built-in configuration."""

import importlib
import math
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from cli_helpers import metrics, refused, saved
from documented_columns import undocumented
from every_algorithm import ALGORITHMS, CASES, CONFIGURATIONS, FIRST, cut_ends_as_whole, ends_as, fit, write

from lightning_maxent.cli.command import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_every_algorithm_has_a_built_in_configuration_and_a_folder_of_its_own():
    assert CONFIGURATIONS.keys() == ALGORITHMS.keys()
    for name, config in CONFIGURATIONS.items():
        module, _, class_name = config["model"]["class_path"].rpartition(".")
        assert getattr(importlib.import_module(module), class_name) is ALGORITHMS[name]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_run_writes_the_same_files_and_keeps_the_clock(in_full, name, kind):
    run = fit(write(name, kind), 80)
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "curves.png", "metrics.csv"]
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert {"best.ckpt", "last.ckpt"} <= names <= {"best.ckpt", "last-1.ckpt", "last.ckpt", "last.ckpt.replay"}
    rows, state = metrics(run), saved(run)
    assert [row["env_steps"] for row in rows] == [20, 40, 60, 80]
    assert [row["env_steps"] for row in rows if "eval/return_mean" in row] == [40, 80]
    assert state["global_step"] == 80
    assert rows[-1]["gradient_steps"] == state["gradient_steps"] > 0
    assert undocumented(column for row in rows for column in row) == []
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


@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(name, kind):
    """The checkpoint is in the middle of an episode, but for actions of several factors, whose episodes have one step."""
    cut_ends_as_whole(name, kind)


HALF = [
    "--trainer.plugins+=pytorch_lightning.plugins.MixedPrecision",
    "--trainer.plugins.precision=16-mixed",
    "--trainer.plugins.device=cpu",
    "--trainer.plugins.scaler.class_path=torch.amp.GradScaler",
    "--trainer.plugins.scaler.init_args.device=cpu",
]


@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_every_algorithm_trains_in_float64(name, kind):
    run = fit(write(name, kind), 40, "--trainer.precision=64-true")
    rows, state = metrics(run), saved(run)["state_dict"]
    assert {each.dtype for each in state.values() if each.is_floating_point()} == {torch.float64}
    assert rows[-1]["gradient_steps"] > 0
    assert all(math.isfinite(number) for row in rows for number in row.values())


@pytest.mark.parametrize("name", ["SAC", "DQN", "PPO", "REPPO"])  # the scaler knows no algorithm
def test_replay_and_rollouts_train_in_float16(name):
    rows = metrics(fit(write(name, dict(FIRST)[name]), 40, *HALF))
    assert rows[-1]["gradient_steps"] > 0
    assert all(math.isfinite(number) for row in rows for number in row.values())


class StopsIn(pl.Callback):
    """Stops a run within the evaluation at a time."""

    def __init__(self, env_steps: int):
        self.env_steps = env_steps

    def on_validation_batch_end(self, trainer, *args):
        if trainer.global_step == self.env_steps:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("name", "steps"), [("SAC", 80), ("SAC", 120), ("PPO", 80)])
def test_an_interrupted_evaluation_is_repeated_on_resume(name, steps):
    whole = fit(write(name, "box"), 120).rename("whole")
    stop = [f"--trainer.callbacks+={__name__}.StopsIn", f"--trainer.callbacks.env_steps={steps}"]
    with pytest.raises(SystemExit):
        fit(write(name, "box"), 120, *stop)
    (run,) = Path("runs").glob("*/probe-Once-v0/a")
    assert saved(run)["global_step"] == steps
    main(["fit", "--ckpt_path=last", "--trainer.callbacks=null"])
    ends_as(whole)


def test_noise_with_memory_resumes_in_each_environment():
    cut_ends_as_whole("DDPG", "box", "--data.num_envs=2", "--model.noise=lightning_maxent.noise.OrnsteinUhlenbeckNoise")


@pytest.mark.parametrize(("name", "clock"), [("TD3", "updates"), ("TD3", "env_steps"), ("PPO", "env_steps")])
def test_a_learning_rate_schedule_resumes_at_its_step(name, clock):
    """This includes the policy of TD3, which is updated every second time."""
    schedule = "--model.optimizers.schedule=torch.optim.lr_scheduler.CosineAnnealingLR"
    settings = ["--model.optimizers.schedule.T_max=150", f"--model.optimizers.schedule_clock={clock}"]
    *_, before, last = cut_ends_as_whole(name, "box", schedule, *settings, "--model.optimizers.default.lr=1e-3")
    assert last["lr/policy"] < before["lr/policy"] < 1e-3
    steps = last["env_steps"] if clock == "env_steps" else last["gradient_steps"]
    assert last["lr/policy"] == pytest.approx(1e-3 * (1 + math.cos(math.pi * steps / 150)) / 2)


@pytest.mark.parametrize(("name", "kind"), FIRST)
def test_unknown_and_invalid_options_of_an_algorithm_are_refused_in_one_sentence(name, kind, capsys):
    given = ["fit", f"--config={write(name, kind)}", "--trainer.max_steps=40"]
    assert "did you mean 'discount'" in refused(capsys, *given, "--model.discont=0.9")
    assert "The discount must lie in [0, 1]" in refused(capsys, *given, "--model.discount=1.5")
    foreign = "{choices: [2, 2]}" if kind == "box" else "{choices: null}"
    assert "actions" in refused(capsys, *given, f"--data.env_kwargs={foreign}")
    assert not list(Path().glob("runs/*/*/*"))  # nothing was begun
