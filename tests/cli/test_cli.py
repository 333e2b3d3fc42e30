"""The command line as users see it: runs of seconds in a small world, and the files that they write."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import wandb_files
import yaml
from cli_helpers import SMALL, TESTS, command, environment, fit, metrics, refused, saved, without_speed
from helpers import same

from lightning_maxent.callbacks.checkpoint import StepCheckpoint
from lightning_maxent.checkpoint_files import AtomicCheckpointIO, read_checkpoint
from lightning_maxent.cli.arguments import last_checkpoint
from lightning_maxent.cli.command import fit_once, main
from lightning_maxent.data import env_copies
from lightning_maxent.errors import MaxEntError

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_a_run_writes_all_its_files_into_one_folder(in_full):
    run = fit()
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "curves.png", "metrics.csv"]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last-1.ckpt", "last.ckpt", "last.ckpt.replay"]
    rows = metrics(run)
    assert [row["env_steps"] for row in rows] == [20, 40, 60, 80, 100]
    for name in ("loss/critic", "loss/value", "loss/policy", "temperature", "entropy", "train/return_mean"):
        assert name in rows[-1], name
    assert "speed/env_steps_per_s" in rows[-1]
    assert "epoch" not in rows[-1]
    assert rows[0]["gradient_steps"] == 0
    assert rows[-1]["gradient_steps"] == 80  # one per environment step after 20 of warm-up
    assert rows[-1]["gradient_steps_per_env_step"] == 0.8
    assert rows[-1]["temperature"] == pytest.approx(0.2)
    assert rows[-1]["train/return_mean"] == 15  # 1 + 2 + 3 + 4 + 5


def test_evaluation_keeps_to_the_clock_of_environment_steps_and_to_its_end():
    rows = metrics(fit("--data.num_envs=2", "--data.steps_per_round=4", "--data.updates_per_round=3", steps=100))
    evaluated = [row for row in rows if "eval/return_mean" in row]
    assert [row["env_steps"] for row in evaluated] == [40, 80, 100]
    for row in evaluated:
        assert row["eval/return_mean"] == 15
        assert row["eval/return_std"] == 0
        assert row["eval/length_mean"] == 5
    assert rows[-1]["gradient_steps"] == 60  # 20 rounds after warm-up, 3 updates each


def test_a_run_shorter_than_the_interval_of_its_log_is_logged_at_its_end():
    (row,) = [row for row in metrics(fit("--training_log.every_n_steps=1000", steps=50)) if "loss/critic" in row]
    assert row["env_steps"] == 50


def test_the_resolved_configuration_reruns_to_the_same_numbers():
    run = fit()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed_everything"] == 0
    assert config["ckpt_path"] is config["name"] is None
    assert "obs_dim" not in config["model"]["init_args"]  # follows from the environment
    main(["fit", "--config", str(run / "config.yaml"), "--name", "again"])
    again = metrics(run.parent / "again")
    assert without_speed(again) == without_speed(metrics(run))


def test_a_learned_temperature_gets_its_own_optimizer():
    run = fit("--model.temperature=lightning_maxent.temperature.LearnedTemperature")
    rows = metrics(run)
    assert rows[-1]["entropy_target"] == -2
    assert rows[-1]["temperature"] != rows[2]["temperature"]
    checkpoint = saved(run)
    assert len(checkpoint["optimizer_states"]) == 4


def test_all_metrics_up_to_a_checkpoint_are_in_the_csv_before_it_is_saved(monkeypatch):
    """So that a run that is killed after that, and resumes, lacks none."""
    save, found = AtomicCheckpointIO.save_checkpoint, {}

    def noted(self, checkpoint, path, storage_options=None) -> None:
        if Path(path).name == "last.ckpt":
            found[checkpoint["global_step"]] = metrics(Path(path).parent.parent)[-1]["env_steps"]
        save(self, checkpoint, path)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", noted)
    fit("--checkpoint.every_n_steps=20", "--training_log.every_n_steps=10", "--data.eval_interval=50")
    assert found == {20: 20, 40: 40, 60: 60, 80: 80, 100: 100}


def changed(run: Path, name: str, change) -> Path:
    """A copy of a run whose last checkpoint was changed."""
    copy = shutil.copytree(run, run.with_name(name))
    path = copy / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    path.unlink()
    torch.save(checkpoint, path)
    return path


def test_a_checkpoint_that_somebody_has_changed_ends_in_one_sentence(capsys):
    run = fit(steps=60)
    data, segments = "ReplayDataModule", lambda checkpoint: checkpoint["ReplayDataModule"]["replay"]["segments"]
    changes = {
        "a file of another kind, not a checkpoint": lambda checkpoint: checkpoint.pop("global_step"),
        "data cannot be restored (KeyError: 'writer'): a part of it is missing": lambda found: found[data].pop(
            "writer"
        ),
        "data cannot be restored (KeyError: 'env_steps')": lambda found: found[data].pop("env_steps"),
        "data cannot be restored (TypeError: ": lambda found: found[data].update(writer="text"),
        "last.ckpt cannot be restored (IndexError: ": lambda found: segments(found).clear(),
        "last.ckpt cannot be restored (TypeError: ": lambda found: segments(found)[0].pop(),
        "data cannot be restored (TypeError: lightning": lambda found: found[data].update(replay="text"),
        "of the replay buffer, is missing": lambda found: segments(found)[0].__setitem__(0, "another.pt"),
    }
    for number, (sentence, change) in enumerate(changes.items()):
        path = changed(run, f"changed{number}", change)
        assert sentence in refused(capsys, "fit", f"--ckpt_path={path}", "--trainer.max_steps=80")
    (run / "metrics.csv").unlink()
    (run / "metrics.csv").mkdir()
    error = refused(capsys, "fit", "--ckpt_path=last", "--name=a", "--trainer.max_steps=80")
    assert "metrics.csv cannot be read (Is a directory): remove it, and resume the run." in error


def test_a_run_whose_folder_is_removed_says_so_and_its_next_checkpoint_can_be_resumed(monkeypatch, recwarn):
    advance = StepCheckpoint.on_train_batch_end

    def removes(self, trainer, *args, **kwargs) -> None:
        if trainer.global_step == 50:
            shutil.rmtree(trainer.default_root_dir)
        advance(self, trainer, *args, **kwargs)

    monkeypatch.setattr(StepCheckpoint, "on_train_batch_end", removes)
    run = fit(steps=100)
    assert [
        str(each.message)
        for each in recwarn
        if "metrics.csv has been removed while the run goes on" in str(each.message)
    ]
    fit("--ckpt_path=last", steps=120)
    assert saved(run)["global_step"] == 120
    assert [row["env_steps"] for row in metrics(run)] == [60, 80, 100, 120]


@pytest.mark.parametrize("algorithm", ["value_sac", "sac"])
def test_a_run_resumes_from_its_last_checkpoint_with_its_whole_state(algorithm):
    run = fit(algorithm=algorithm, steps=70)
    before = saved(run)
    assert before["global_step"] == 70
    stale = (run / "metrics.csv").read_text().replace("\n60,", "\n90,", 1)
    (run / "metrics.csv").write_text(stale)  # a row from beyond the checkpoint
    fit("--ckpt_path=last", algorithm=algorithm, steps=71)
    after = saved(run)
    assert after["global_step"] == 71
    assert after["gradient_steps"] == before["gradient_steps"] + 1  # no burst of owed updates
    old, new = before["ReplayDataModule"], after["ReplayDataModule"]
    assert (old["env_steps"], new["env_steps"]) == (70, 71)
    for name, rows in old["replay"].all().items():
        assert torch.equal(new["replay"].all()[name][:70], rows), name
    for state, later in zip(before["optimizer_states"], after["optimizer_states"], strict=True):
        for parameter, moments in state["state"].items():
            assert later["state"][parameter]["step"] == moments["step"] + 1
    for name, weight in before["state_dict"].items():
        # Adam's step is at most the learning rate (1e-3), a few times over while its moments are young
        assert torch.allclose(after["state_dict"][name], weight, atol=1e-2), name
    steps = [row["env_steps"] for row in metrics(run)]
    assert steps == sorted(set(steps))
    assert 90 not in steps


@pytest.mark.parametrize(("stop", "evaluations"), [(70, [40, 70, 80, 120]), (80, [40, 80, 120])])
def test_evaluations_keep_their_multiples_after_a_resume(stop, evaluations):
    run = fit(steps=stop)
    fit("--ckpt_path=last", steps=120)
    assert [row["env_steps"] for row in metrics(run) if "eval/return_mean" in row] == evaluations


def test_a_resumed_run_does_not_take_a_worse_policy_for_its_best():
    run = fit("--checkpoint.every_n_steps=40", steps=80)
    best = run / "checkpoints" / "best.ckpt"
    callbacks = read_checkpoint(run / "checkpoints" / "last.ckpt")["callbacks"]
    (state,) = [state for state in callbacks.values() if state.get("monitor") == "eval/return_mean"]
    assert state["best_model_score"] == 15  # of the evaluation at the very step of the checkpoint
    before = best.read_bytes()
    moved = run.rename(run.with_name("moved"))
    main(["fit", f"--ckpt_path={moved / 'checkpoints' / 'last.ckpt'}", "--trainer.max_steps=120"])
    assert metrics(moved)[-1]["eval/return_mean"] == 15  # no better
    assert (moved / "checkpoints" / "best.ckpt").read_bytes() == before


def test_a_new_name_starts_a_new_run_from_a_checkpoint():
    run = fit(steps=60)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    main(["fit", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", "--name=b", "--trainer.max_steps=80"])
    assert metrics(run.with_name("b"))[-1]["env_steps"] == 80
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_run_ends_with_its_returns_and_commands_that_work(capsys):
    folder = fit()
    *_, returns, test, watch = capsys.readouterr().out.strip().splitlines()
    evaluated = [row["eval/return_mean"] for row in metrics(folder) if "eval/return_mean" in row]
    assert returns == f"The last evaluation had the return {evaluated[-1]:,.5g}; the best was {max(evaluated):,.5g}."
    assert watch == f"To watch it, if the environment has pictures: lightning-maxent play --ckpt_path {folder}"
    main(test.partition(": lightning-maxent ")[2].split())
    assert "test/return_mean" in capsys.readouterr().out


def test_the_configuration_beside_a_checkpoint_is_used(capsys):
    run = fit(steps=60)
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=80"])
    assert metrics(run)[-1]["env_steps"] == 80
    main(["fit", "--ckpt_path", str(run / "checkpoints" / "last.ckpt"), "--trainer.max_steps=90"])
    assert metrics(run)[-1]["env_steps"] == 90
    assert [path.name for path in run.parent.iterdir()] == ["a"]  # all in the folder of the run
    capsys.readouterr()
    main(["test", "--ckpt_path", str(run / "checkpoints" / "best.ckpt"), "--data.eval_episodes=3"])
    table = capsys.readouterr().out
    assert "test/return_mean" in table
    assert "15.0" in table


def test_test_without_a_checkpoint_says_that_the_policy_is_untrained(capsys):
    main(["test", "--config", "value_sac/pendulum", *SMALL])
    shown = capsys.readouterr().out
    assert "No --ckpt_path was given: this evaluates an untrained policy." in shown
    assert "test/return_mean" in shown


def test_training_does_not_resume_from_a_checkpoint_that_holds_only_weights(capsys):
    run = fit(steps=60)
    error = refused(capsys, "fit", "--ckpt_path", str(run / "checkpoints" / "best.ckpt"), "--trainer.max_steps=80")
    assert "last.ckpt" in error


def test_a_checkpoint_of_another_model_is_refused_in_one_sentence(capsys):
    run = fit(steps=60)
    last, config = run / "checkpoints" / "last.ckpt", (run / "config.yaml").read_text()
    wider = ["--model.critic.init_args.network.init_args.hidden_dims=[17]", f"--ckpt_path={last}"]
    error = refused(capsys, "fit", "--config=value_sac/pendulum", *SMALL, *wider)
    assert "holds another model" in error
    assert "critic.network.0.weight is [2, 4, 16] there and [2, 4, 17] here" in error
    error = refused(capsys, "fit", "--config=sac/pendulum", *SMALL, f"--ckpt_path={last}")
    assert "made by ValueSAC, but this is SAC" in error
    assert (run / "config.yaml").read_text() == config


def test_a_failed_resume_leaves_the_checkpoint_as_it_was(capsys):
    run = fit(steps=60)
    path = run / "checkpoints" / "last.ckpt"
    before = path.read_bytes()
    error = refused(capsys, "fit", "--ckpt_path=last", '--data.env_kwargs={"length": 77}', "--trainer.max_steps=80")
    assert "The checkpoint was made with env_kwargs" in error
    assert path.read_bytes() == before
    AtomicCheckpointIO().load_checkpoint(path)


def test_flags_given_on_resume_win_over_the_optimizers_settings_in_the_checkpoint():
    run = fit(steps=60)
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=80", "--model.optimizers.default.init_args.lr=0.0125"])
    states = saved(run)["optimizer_states"]
    steps = {state["param_groups"][0]["lr"] for state in states}
    assert steps == {0.0125}


def test_a_learning_rate_and_a_schedule_given_on_resume_hold_as_if_they_had_been_given_from_the_start():
    linear = ["--model.optimizers.schedule=torch.optim.lr_scheduler.LinearLR"]
    linear += ["--model.optimizers.schedule.start_factor=1.0", "--model.optimizers.schedule.end_factor=0.0"]
    run = fit(*linear, "--model.optimizers.schedule.total_iters=100", steps=60)
    assert metrics(run)[-1]["lr/critic"] == pytest.approx(1e-3 * (1 - metrics(run)[-1]["gradient_steps"] / 100))
    anew = ["--model.optimizers.default.lr=0.5", "--model.optimizers.schedule.total_iters=200"]
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=80", *anew])
    assert metrics(run)[-1]["lr/critic"] == pytest.approx(0.5 * (1 - metrics(run)[-1]["gradient_steps"] / 200))
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=100", "--model.optimizers={schedule: null}"])
    assert {state["param_groups"][0]["lr"] for state in saved(run)["optimizer_states"]} == {0.5}


def test_a_schedule_of_a_builtin_function_is_saved_and_resumed():
    schedule = ["--model.optimizers.schedule=LambdaLR", "--model.optimizers.schedule.lr_lambda=math.erfc"]
    run = fit(*schedule, "--model.optimizers.schedule_clock=env_steps", "--model.optimizers.default.lr=1.0", steps=30)
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=40", "--model.optimizers.schedule.lr_lambda=math.atan"])
    assert metrics(run)[-1]["lr/critic"] == pytest.approx(math.atan(40))


def test_a_refused_resume_does_not_change_the_run(capsys):
    run = fit(steps=60)
    before = (run / "config.yaml").read_text()
    for flags, sentence in (
        (
            "--model.optimizers.default=torch.optim.AdamW",
            "made with FusedAdam as the optimizer of value, but here it is AdamW",
        ),
        ("--model.optimizers.default.lr=-1", "optimizers.default cannot build the optimizer of value: Invalid"),
        (f"--ckpt_path={run}/checkpoints/best.ckpt", "best.ckpt only holds weights: resume from the last"),
        (
            "--data.env_id=probe_envs:probe/Recounting-v0",
            "but the configuration has probe_envs:probe/Recounting-v0: resume",
        ),
    ):
        assert sentence in refused(capsys, "fit", f"--ckpt_path={run}/checkpoints/last.ckpt", flags)
        assert (run / "config.yaml").read_text() == before, flags
    fit("--ckpt_path=last", steps=61)


@pytest.mark.parametrize(("poison", "what"), [("poison_reward", "nan as reward"), ("poison_obs", "[inf 11.] as obs")])
def test_a_non_finite_reward_or_observation_stops_the_run_with_its_checkpoint_saved(capsys, poison, what):
    kwargs = f'--data.env_kwargs={{"{poison}": 57}}'
    error = refused(
        capsys, "fit", "--config", "value_sac/pendulum", *SMALL, "--trainer.max_steps=100", "--name=a", kwargs
    )
    assert f"gave {what}" in error
    assert "at environment step 57: copy 0" in error
    path = last_checkpoint(Path("runs/value_sac/probe-Counting-v0"), "a")
    assert AtomicCheckpointIO().load_checkpoint(path)["global_step"] == 56
    assert (path.parent.parent / "curves.png").exists()


def test_learning_that_diverges_is_stopped_with_the_guilty_parts_named(capsys):
    error = refused(
        capsys, "fit", "--config=value_sac/pendulum", *SMALL, "--model.optimizers.default.init_args.lr=1e38"
    )
    assert "actions are not finite, and neither are the weights of critic and policy and value" in error
    assert not list(Path("runs").rglob("last.ckpt"))


def test_weights_that_are_not_finite_do_not_replace_a_checkpoint(capsys):
    """This also holds if the averaged policy that plays is still finite."""
    run = fit(algorithm="sac", steps=40)
    before = saved(run)
    worse = ["--model.optimizers.default.init_args.lr=1e38", "--model.policy_delay=1000", "--trainer.max_steps=100"]
    error = refused(capsys, "fit", f"--ckpt_path={run}/checkpoints/last.ckpt", *worse)
    assert (
        "At 60 environment steps the weights of critic and target_critic are not finite, so they are not saved" in error
    )
    after = saved(run)
    assert after["global_step"] == before["global_step"] == 40


def test_an_error_in_an_environment_is_reported_with_step_and_line_after_a_save(capsys):
    breaks = '--data.env_kwargs={"breaks": 57}'
    error = refused(
        capsys, "fit", "--config", "value_sac/pendulum", *SMALL, "--trainer.max_steps=100", "--name=a", breaks
    )
    assert (
        "Counting-v0 at environment step 58: copy 0, in step 3 of its episode, raised ValueError: the world broke ("
        in error
    )
    assert "probe_envs.py, line " in error
    assert (last_checkpoint(Path("runs/value_sac/probe-Counting-v0"), "a")).is_file()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class Mine(object)", "SyntaxError: expected ':'"),
        ("from torch import nnn", "ImportError: cannot import name 'nnn'"),
        ("class Mine(Nope): pass", "NameError: name 'Nope' is not defined"),
        ("import torchh", "ModuleNotFoundError: No module named 'torchh'"),
    ],
)
def test_an_error_in_a_module_of_the_user_is_reported_with_its_line(capsys, monkeypatch, text, sentence):
    name = f"broken_critic_{abs(hash(text))}"
    Path(f"{name}.py").write_text(f"import torch\n{text}\n")
    monkeypatch.syspath_prepend(os.getcwd())
    error = refused(capsys, "fit", "--config=value_sac/pendulum", f"--model.critic={name}.Mine")
    assert f"error: A module of yours raised {sentence}" in error
    assert f"({os.getcwd()}/{name}.py, line 2) (LIGHTNING_MAXENT_TRACEBACK=1" in error


def test_an_error_in_evaluation_is_reported_with_the_way_to_see_the_traceback(capsys, monkeypatch):
    """Training takes 40 steps in one copy before the first evaluation, in which one copy plays 20 episodes of 5 steps."""
    args = ["fit", "--config", "value_sac/pendulum", *SMALL, "--trainer.max_steps=100", "--data.eval_episodes=20"]
    args += ['--data.env_kwargs={"breaks": 41}', "--data.eval_envs=1"]
    error = refused(capsys, *args)
    assert (
        "probe/Counting-v0 in evaluation: copy 0, in step 2 of its episode, raised ValueError: the world broke ("
        in error
    )
    assert error.endswith("(LIGHTNING_MAXENT_TRACEBACK=1 shows the whole traceback).")
    monkeypatch.setenv("LIGHTNING_MAXENT_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        main(args)
    lines = capsys.readouterr().err.strip().splitlines()
    assert "ValueError: the world broke" in lines  # the original, with its traceback
    assert lines[-1] == error.removesuffix(" (LIGHTNING_MAXENT_TRACEBACK=1 shows the whole traceback).") + "."


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("value_sac", "array"), ("value_sac", "mixed"), ("value_sac", "none"), ("value_sac", "list"), ("ppo", "mixed")],
)
def test_environments_with_changing_infos_can_be_trained_and_evaluated(algorithm, kind):
    world = ["--data.env_id=probe_envs:worlds/Talkative-v0", f"--data.env_kwargs={{kind: {kind}}}", "--data.num_envs=2"]
    if algorithm == "value_sac":
        main(
            ["fit", "--config=value_sac/pendulum", *SMALL, *world, "--data.steps_per_round=2", "--trainer.max_steps=80"]
        )
    else:
        args = [*world, "--data.steps_per_round=40", "--data.eval_interval=40", "--data.eval_episodes=3"]
        main(
            [
                "fit",
                "--config=ppo/pendulum",
                "--trainer.accelerator=cpu",
                *args,
                "--model.minibatches=2",
                "--trainer.max_steps=80",
            ]
        )
    (table,) = Path("runs").glob("*/worlds-Talkative-v0/*/metrics.csv")
    assert [row["env_steps"] for row in metrics(table.parent) if "eval/return_mean" in row] == [40, 80]


def test_a_run_resumed_at_an_evaluation_in_its_training_environment_ends_bit_for_bit_as_an_uninterrupted_one():
    """This holds for any episode length, 7 steps here, because an evaluation ends the training episodes just as the cut
    does.
    """
    given = ["--data.env_id=probe_envs:worlds/Talkative-v0", "--data.env_kwargs={kind: list, length: 7}"]
    given += ["--data.eval_envs=0", "--checkpoint.every_n_steps=40"]
    given += ["--data.reward_scaling=lightning_maxent.data.scaling.ReturnScaledRewards"]
    fit(*given, steps=120)
    run = Path("runs/value_sac/worlds-Talkative-v0/a")
    whole = run.rename("whole")
    fit(*given, steps=80)
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=120"])
    left, right = saved(whole), saved(run)
    for key in ("state_dict", "optimizer_states", "gradient_steps", "global_step", "ReplayDataModule"):
        same(left[key], right[key], key)
    evaluations = [[row for row in without_speed(metrics(path)) if "eval/return_mean" in row] for path in (whole, run)]
    assert evaluations[0] == evaluations[1]
    assert [row["env_steps"] for row in evaluations[0]] == [40, 80, 120]
    assert right["ReplayDataModule"]["replay"].all()["obs"][:, 1].tolist()[38:44] == [3, 4, 0, 1, 2, 3]  # cut after 40


def test_training_does_not_resume_with_other_bounds_of_actions(capsys):
    world = ["--data.env_id=probe_envs:worlds/Unbounded-v0", "--data.env_kwargs={low: [0.0], high: [.inf]}"]
    given = ["fit", "--config=value_sac/pendulum", *SMALL, *world, "--trainer.max_steps=60", "--name=a"]
    main([*given, "--data.action_bounds=[-1, 2]"])
    error = refused(capsys, "fit", "--ckpt_path=last", "--data.action_bounds=[-1, 3]", "--trainer.max_steps=80")
    assert "made with action_bounds [-1.0, 2.0], but the configuration has [-1.0, 3.0]: resume" in error
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=80"])


def test_evaluation_episodes_of_an_endless_environment_are_cut_off(monkeypatch):
    monkeypatch.setattr(env_copies, "EVALUATION_STEPS", 30)
    run = fit('--data.env_kwargs={"length": 1000000}', steps=40)
    assert metrics(run)[-1]["eval/length_mean"] == 30


def test_a_critic_in_the_current_folder_is_found(monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    Path("here_at_hand.py").write_text("from lightning_maxent import TwinCritic as Mine\n")
    fit("--model.critic=here_at_hand.Mine", steps=30)


def test_a_run_does_not_write_into_the_folder_of_another(capsys):
    fit(steps=40)
    error = refused(capsys, "fit", "--config", "value_sac/pendulum", *SMALL, "--name=a")
    assert "exists already" in error
    assert "--ckpt_path last" in error


@pytest.mark.filterwarnings("ignore:.*The environment HalfCheetah-v3 is out of date")
@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--data.evn_id=Pendulum-v1"], "ReplayDataModule has no option 'evn_id'; did you mean 'env_id'?"),
        (["--model.critic.init_args.netwrk=1"], "TwinCritic has no option 'netwrk'; did you mean 'network'?"),
        (
            ["--model.critic.init_args.network.init_args.hidden=1"],
            "MLP has no option 'hidden'; did you mean 'hidden_dims'?",
        ),
        (["--config=compare/pendulum"], "is a comparison of several runs: lightning-maxent compare compare/pendulum"),
        (["--ckpt_path=."], "is a folder: give a checkpoint, such as"),
        (["--trainer.max_stps=5"], "no option --trainer.max_stps"),
        (["--model.critic=no_such.Critic"], "class no_such.Critic cannot be found (No module named 'no_such')"),
        (["--model.critic=lightning_maxent.TwinCritc"], "TwinCritc; did you mean lightning_maxent.TwinCritic?"),
        (["--model.critic=lightning_maxent.critics.TwinCritic"], "write lightning_maxent.critics.twin.TwinCritic."),
        (
            ["--model.critic=TwinCritc"],
            "There is no class TwinCritc: give it with its module; did you mean lightning_maxent.Twin",
        ),
        (["--model.optimizers.default.init_args.lr=abc"], "The option 'lr' must be a number, but is 'abc'."),
        (["--model=lightning_maxent.algorithms.SACX"], "did you mean lightning_maxent.SAC?"),
        (["--data=no_such.Data"], "class no_such.Data cannot be found (No module named 'no_such')"),
        (["--seed_everything=-3"], "--seed_everything must lie in [0, 2**32), but is -3"),
        (["--model.policy.init_args.network.init_args.hidden_dims=[0]"], "widths must be at least 1"),
        (
            ["--trainer.max_steps=many"],
            "'trainer.max_steps' was given a value of another kind: Expected a <class 'int'>",
        ),
        (["--model.critic=lightning_maxent.SquashedGaussian"], "a subclass of AbstractCritic is needed"),
        (["--data.num_envs=many"], "option 'num_envs' was given a value of another kind"),
        (["--data.env_id=Pendlum-v1"], "did you mean Pendulum-v1"),
        (
            ["--data.env_id=CartPole-v1"],
            "SAC needs continuous actions (a Box), but this environment has finite actions: use SoftQLearning",
        ),
        (["--data.batch_size=1000", "--data.capacity=100"], "does not fit in a buffer of 100"),
        (["--data.learning_starts=8"], "learning_starts 8 is shorter than a batch of 16"),
        (["--model.temperature.init_args.alpha=-1"], "alpha must be finite and not negative"),
        (["--runs_dir=file/below"], "cannot be written"),
        (["--name=a/b"], "without a slash"),
        (["--name=.."], "without a slash"),
        (["--config=."], "is a folder"),
        (["--config=file"], "must map options to values"),
        (["--config=broken.yaml"], "broken.yaml is not valid YAML"),
        (["--data.env_id=HalfCheetah-v3"], "raised ImportError: The mujoco v2 and v3 based environments"),
        (["--trainer.precision=bf16-true"], "choose 32-true, bf16-mixed, 16-mixed, 64-true"),
        (["--trainer.strategy=nonsense"], "The Trainer cannot be built: You selected an invalid strategy name"),
        (
            ["--data.storage=torchrl.data.ListStorage"],
            "ListStorage cannot be used here: a subclass of LazyTensorStorage",
        ),
        (
            ["critic/redq"],
            "critic/redq belongs to no option: write configurations after the command, as in fit sac/pendulum",
        ),
        (["--model.critic=probe_critics.ColumnCritic"], "ColumnCritic.value must return [batch]"),
        (["--ckpt_path=file"], "file is no checkpoint"),
        (["--ckpt_path=last"], "no checkpoint"),
        (
            ["--config=sac/pendulm"],
            "no configuration 'sac/pendulm', neither a file nor built in; try sac/pendulum",
        ),
    ],
)
def test_a_mistake_ends_in_one_sentence(capsys, args, sentence):
    Path("file").write_text("text")
    Path("broken.yaml").write_text("data: [1, 2")
    small = [arg for arg in SMALL if "model.critic" not in arg]
    assert sentence in refused(capsys, "fit", "--config=value_sac/pendulum", *small, *args)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            [],
            "No command was given: fit, validate, test, play, record, export, share, compare, sweep, verify, list or completion",
        ),
        (["train", "--config", "value_sac/pendulum"], "There is no command 'train': fit"),
        (["fit", "--trainer.max_steps=10"], "Say what to fit: fit sac/pendulum"),
        (
            ["fit", "--config=critic/redq"],
            "comes after a whole configuration, as in fit sac/pendulum critic/redq.",
        ),
    ],
)
def test_an_incomplete_command_is_refused_with_what_is_missing(capsys, args, sentence):
    assert sentence in refused(capsys, *args)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--data.capacity=1_000_000_000_000_000"], "buffer of 1,000,000,000,000,000 transitions cannot be stored"),
        (
            ["--data.storage=torchrl.data.LazyMemmapStorage", "--data.storage.init_args.scratch_dir=file/below"],
            "choose a capacity that fits, or another storage",
        ),
    ],
)
def test_a_run_that_failed_before_writing_leaves_its_name_free(capsys, args, sentence):
    Path("file").write_text("text")
    small = [arg for arg in SMALL if "capacity" not in arg]
    assert sentence in refused(capsys, "fit", "--config=value_sac/pendulum", *small, "--name=a", *args)
    assert not list(Path("runs").glob("*/*/a"))
    fit(steps=40)


def test_compare_refuses_options_that_a_variant_lacks_before_the_first_run(capsys):
    args = ["--variants", "value_sac/pendulum", "ppo/pendulum", "--seeds=0", "--out=out", "--data.capacity=500"]
    error = refused(capsys, "compare", *args)
    assert "'ppo/pendulum' cannot run on " in error
    assert "RolloutDataModule has no option 'capacity'" in error
    assert not Path("out/runs").exists()


def test_an_unknown_wandb_mode_ends_in_one_sentence(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "banana")
    assert "'banana'" in refused(capsys, "fit", "--config=value_sac/pendulum", *SMALL)


def test_an_error_within_a_round_keeps_the_checkpoint_before_the_round():
    small = [arg for arg in SMALL if "model.critic" not in arg]
    args = ["--model.critic=probe_critics.FailingCritic", "--model.critic.init_args.after=45", "--name=a"]
    with pytest.raises(ArithmeticError, match="on purpose"):
        main(["fit", "--config=value_sac/pendulum", *small, *args, "--trainer.max_steps=100"])
    path = last_checkpoint(Path("runs/value_sac/probe-Counting-v0"), "a")
    checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    assert checkpoint["global_step"] == checkpoint["ReplayDataModule"]["env_steps"] == 60
    assert checkpoint["gradient_steps"] == 40


def test_offline_wandb_has_rows_configuration_and_axis_of_the_run(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = fit(steps=80)
    rows = wandb_files.history(run)
    evaluated = [row["env_steps"] for row in rows if "eval/return_mean" in row]
    assert evaluated == [40, 80]
    assert [row["env_steps"] for row in rows if "loss/critic" in row] == [40, 60, 80]
    saved = wandb_files.config(run)
    assert saved["data"]["init_args"]["env_id"] == "probe_envs:probe/Counting-v0"
    assert saved["seed_everything"] == 0


def test_progress_counts_environment_steps_and_shows_the_latest_evaluation(capsys):
    fit("--data.num_envs=2", "--data.steps_per_round=4", "--trainer.enable_progress_bar=true")
    shown = capsys.readouterr().err
    (line,) = [line for line in shown.splitlines() if "env steps" in line]
    assert line.startswith("ValueSAC: 100/100 env steps, ")
    assert " env steps/s, eval/return 15.0 ± 0.0" in line
    assert "\r" not in shown


def test_a_buffer_on_disk_can_be_resumed_and_is_not_shared_by_runs(tmp_path, capsys):
    on_disk = [
        "--data.storage=torchrl.data.LazyMemmapStorage",
        f"--data.storage.init_args.scratch_dir={tmp_path / 'rows'}",
    ]
    run = fit(*on_disk, steps=63)
    assert any((tmp_path / "rows").rglob("*"))
    main(["fit", "--ckpt_path=last", "--trainer.max_steps=100"])
    assert len(saved(run)["ReplayDataModule"]["replay"].all()["obs"]) == 100
    given = ["fit", "--config=value_sac/pendulum", *SMALL, "--name=b", *on_disk]
    assert "buffer of 500 transitions cannot be stored (The file" in refused(capsys, *given)


@pytest.mark.parametrize(
    ("overlay", "sentence"),
    [
        ({"data": {"init_args": {"evn_id": "Pendulum-v1"}}}, "has no option 'evn_id'; did you mean 'env_id'?"),
        ({"trainer": {"max_stps": 5}}, "no option 'trainer.max_stps'"),
        ({"model": {"init_args": {"critc": "lightning_maxent.TwinCritic"}}}, "has no option 'critc'; did you mean"),
    ],
)
def test_a_misspelt_key_in_a_configuration_ends_in_one_sentence(capsys, overlay, sentence):
    Path("overlay.yaml").write_text(yaml.safe_dump(overlay))
    assert sentence in refused(capsys, "fit", "--config=value_sac/pendulum", "--config=overlay.yaml", *SMALL)


def test_bf16_mixed_trains_with_float32_targets():
    rows = metrics(fit("--trainer.precision=bf16-mixed"))
    assert rows[-1]["gradient_steps"] == 80
    assert all(abs(row.get("loss/critic", 0.0)) < 1e6 for row in rows)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_a_whole_round_with_checkpoint_and_curves(tmp_path, capsys, number, status):
    args = ["fit", "--config", "value_sac/pendulum", *SMALL, "--trainer.max_steps=1000000", "--name=a"]
    process = subprocess.Popen(
        command(*args), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    run = tmp_path / "runs/value_sac/probe-Counting-v0/a"
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "is being trained by another process" in refused(capsys, "fit", "--ckpt_path=last", "--data.eval_episodes=1")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in output
    assert "--ckpt_path" in output  # says how to go on
    checkpoint = saved(run)
    assert checkpoint["global_step"] == checkpoint["ReplayDataModule"]["env_steps"]
    assert checkpoint["gradient_steps"] == checkpoint["global_step"] - 20
    assert (run / "curves.png").exists()


def install(target: Path, *sources: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*pip, "--target", target, *sources],
        check=True,
        capture_output=True,
    )


CRITIC = """
import torch
from lightning_maxent import AbstractCritic


class MyCritic(AbstractCritic):
    def __init__(self, obs_dim: int, action_dim: int, width: int = 8):
        super().__init__()
        layers = [torch.nn.Linear(obs_dim + action_dim, width), torch.nn.Tanh(), torch.nn.Linear(width, 1)]
        self.network = torch.nn.Sequential(*layers)

    def forward(self, obs, action):
        return self.network(torch.cat((obs, action), -1)).float().T

    def value(self, prediction):
        return prediction.mean(0)
"""


def test_the_installed_wheel_trains_a_critic_from_another_installed_package_by_one_flag(tmp_path):
    root, source, site = TESTS.parent, tmp_path / "source", tmp_path / "site"
    (source / "my_package").mkdir(parents=True)
    (source / "my_package" / "__init__.py").write_text(CRITIC)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "my-package"\nversion = "0.1"\n'
    )
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", root],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    install(site, source, wheel)
    script = (
        "import lightning_maxent.cli.configurations as configurations, lightning_maxent.cli.command as cli;"
        "print(configurations.BUILT_IN_CONFIGS); cli.main()"
    )
    small = [arg for arg in SMALL if "model.critic" not in arg]
    args = ["fit", "--config", "sac/pendulum", "--model.critic=my_package.MyCritic", *small]
    args += ["--model.critic.init_args.width=5", "--trainer.max_steps=100", "--name=a"]
    done = subprocess.run(
        [sys.executable, "-c", script, *args], env=environment(site), check=True, capture_output=True, text=True
    )
    assert str(site / "lightning_maxent" / "configs") in done.stdout
    run = tmp_path / "runs/sac/probe-Counting-v0/a"
    assert saved(run)["state_dict"]["critic.network.0.weight"].shape == (5, 4)
    losses = [row["loss/critic"] for row in metrics(run) if "loss/critic" in row]
    assert losses
    assert all(loss > 0 for loss in losses)


def test_a_run_can_start_with_the_weights_of_another(capsys):
    standard = "--data.observation_scaling=lightning_maxent.data.scaling.StandardizedObservations"
    first = fit(standard)
    checkpoint = (first / "checkpoints" / "last.ckpt").absolute()
    warm = [
        "--trainer.callbacks+=lightning_maxent.callbacks.warm_start.WarmStart",
        f"--trainer.callbacks.path={checkpoint}",
    ]
    second = fit(standard, "--name=b", *warm, steps=20).with_name("b")  # of which none is an update
    old, new = (saved(run) for run in (first, second))
    for name, weights in old["state_dict"].items():
        assert torch.equal(new["state_dict"][name], weights), name
    counts = [run["ReplayDataModule"]["observation_scaling"]["state"]["count"] for run in (old, new)]
    assert counts[1] == pytest.approx(counts[0] + 20)
    assert (new["global_step"], new["gradient_steps"], len(new["ReplayDataModule"]["replay"].all()["reward"])) == (
        20,
        0,
        20,
    )
    main(["fit", f"--ckpt_path={second}/checkpoints/last.ckpt", "--trainer.max_steps=60"])
    after = AtomicCheckpointIO().load_checkpoint(second / "checkpoints" / "last.ckpt")
    main(["fit", f"--ckpt_path={second}/checkpoints/last.ckpt", "--trainer.max_steps=60"])  # goes on with its own
    again = AtomicCheckpointIO().load_checkpoint(second / "checkpoints" / "last.ckpt")
    assert after["gradient_steps"] == 40
    for name, weights in after["state_dict"].items():
        assert torch.equal(again["state_dict"][name], weights), name
    wide = "--model.policy.init_args.network.init_args.hidden_dims=[8]"
    sentence = refused(capsys, "fit", "--config=value_sac/pendulum", *SMALL, *warm, wide, "--name=c")
    assert "The checkpoint holds another model" in sentence
    assert "made with observation_scaling Standardized" in refused(
        capsys, "fit", "--config=value_sac/pendulum", *SMALL, *warm, "--name=d"
    )


@pytest.mark.parametrize("status", ["finished", "begun"])
def test_fit_once_refuses_a_run_that_was_started_with_other_settings(tmp_path, status):
    run = tmp_path / "value_sac" / "Pendulum-v1" / "a"
    run.mkdir(parents=True)
    (tmp_path / "a.arguments").write_text("--config=value_sac/pendulum")
    (run / status).touch()
    with pytest.raises(MaxEntError, match="was started with other settings"):
        fit_once(["--config=value_sac/pendulum", "--model.discount=0.9"], tmp_path, "a")
    if status == "finished":
        assert fit_once(["--config=value_sac/pendulum"], tmp_path, "a") == run


def recorded(run: Path) -> list[str]:
    return [
        "--trainer.callbacks+=lightning_maxent.callbacks.recorded_data.RecordedData",
        f"--trainer.callbacks.path={(run / 'checkpoints' / 'last.ckpt').absolute()}",
    ]


@pytest.mark.parametrize("envs", [1, 2])
def test_recorded_data_gives_the_transitions_of_another_run_at_the_same_steps(envs):
    """The second run has another algorithm: its buffer and its scaling of rewards depend on the recorded steps only."""
    scaling = "--data.reward_scaling=lightning_maxent.data.scaling.ReturnScaledRewards"
    shared = [f"--data.num_envs={envs}", "--data.steps_per_round=2", scaling]
    first = fit(*shared)
    second = fit(*shared, *recorded(first), "--seed_everything=1", "--name=b", algorithm="td3").with_name("b")
    met, learned = (saved(run)["ReplayDataModule"] for run in (first, second))
    for state in (met, learned):  # a recording does not tell whether its last step ended an episode by truncation
        del state["reward_scaling"]["state"]["returns"]
    for part in ("replay", "reward_scaling"):
        same(met[part], learned[part], part)
    assert saved(second)["gradient_steps"] == saved(first)["gradient_steps"]
    assert {"eval/return_mean", "loss/critic"} <= metrics(second)[-1].keys()


def test_a_resumed_run_continues_its_recorded_data():
    first = fit()
    second = fit(*recorded(first), "--name=b", algorithm="td3", steps=63).with_name("b")  # in the middle of an episode
    main(["fit", f"--ckpt_path={second}/checkpoints/last.ckpt", "--trainer.max_steps=100"])
    same(saved(first)["ReplayDataModule"]["replay"], saved(second)["ReplayDataModule"]["replay"])


def test_unsuitable_recorded_data_are_refused(capsys):
    run = fit()
    shutil.copytree(run, run.with_name("torn"))
    next(run.with_name("torn").rglob("*.pt")).unlink()
    fit("--data.capacity=50", "--name=c")

    def why(run: Path, *further: str) -> str:
        given = ["fit", "--config=td3/pendulum", *SMALL, "--name=b", "--trainer.max_steps=80", *recorded(run), *further]
        return refused(capsys, *given)

    best = f"--trainer.callbacks.path={run.absolute() / 'checkpoints' / 'best.ckpt'}"
    elsewhere = "--data.env_id=probe_envs:probe/Once-v0"
    assert "ends at 100 environment steps: set max_steps" in why(run, "--trainer.max_steps=120")
    assert "was made with env_id probe_envs:probe/Counting-v0, but the configuration has" in why(run, elsewhere)
    assert "was made with env_kwargs {}, but the configuration has" in why(run, '--data.env_kwargs={"length": 7}')
    assert "was made with num_envs 1, but the configuration has 2:" in why(
        run, "--data.num_envs=2", "--data.steps_per_round=2"
    )
    assert "holds no replay buffer: give the last.ckpt" in why(run, best)
    assert "a part of the replay buffer, is missing: copy or move" in why(run.with_name("torn"))
    assert "lacks the first of its 100 transitions: record with" in why(run.with_name("c"))
    assert "ends at 100 environment steps: set max_steps" in why(
        run, "--trainer.max_steps=-1"
    )  # at last, with a folder left


def test_recorded_data_are_refused_for_on_policy_algorithms(capsys):
    run = fit()
    small = [option for option in SMALL if not re.search("capacity|batch_size|learning_starts|critic", option)]
    given = ["fit", "--config=a2c/pendulum", *small, "--data.num_envs=1", "--data.steps_per_round=20", "--name=b"]
    assert "A2C learns from its own rollouts: RecordedData is for" in refused(capsys, *given, *recorded(run))
