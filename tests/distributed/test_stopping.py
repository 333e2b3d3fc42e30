"""Runs of two processes that stop: checkpoints with a part for each, resumes, signals, errors."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import SMALL, metrics, saved, without_speed
from helpers import same
from ranks import Processes, in_processes

from lightning_maxent import MaxEntError
from lightning_maxent.checkpoint_files import AtomicCheckpointIO
from lightning_maxent.cli.command import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
NOISE = "--model.noise=lightning_maxent.OrnsteinUhlenbeckNoise"
DDPG = [*(each for each in SMALL if "env_id" not in each), NOISE, "--data.learning_starts=40", "--data.eval_envs=0"]
DDPG += ["--data.env_id=probe_envs:worlds/Talkative-v0", "--data.env_kwargs={kind: list, length: 7}"]
DDPG += ["--data.reward_scaling=lightning_maxent.ReturnScaledRewards", "--checkpoint.every_n_steps=40"]
RUNS = Path("runs/ddpg/worlds-Talkative-v0")


def fit(*args: str) -> None:
    main(["fit", "--config=ddpg/pendulum", *DDPG, *args])


def resume(name: str, *args: str) -> None:
    main(["fit", f"--ckpt_path={RUNS / name / 'checkpoints' / 'last.ckpt'}", *args])


def with_and_without_a_stop(rank: int) -> None:
    fit("--name=whole", "--trainer.max_steps=120", "--trainer.devices=2")
    fit("--name=a", "--trainer.max_steps=80", "--trainer.devices=2")
    resume("a", "--trainer.max_steps=120")


def part(name: str) -> dict[str, Any]:
    """What process 1 saved."""
    rests = (RUNS / name / "checkpoints").glob("last.ckpt.replay/process-1/rest-*.ckpt")
    file = max(rests, key=os.path.getmtime)  # the other one is of last-1.ckpt
    return torch.load(file, weights_only=True)


def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one():
    in_processes(2, with_and_without_a_stop)
    left, right = saved(RUNS / "whole"), saved(RUNS / "a")
    (of_second,) = left["ReplayDataModule"]["further"]
    assert len(of_second["replay"].all()["obs"]) == len(left["ReplayDataModule"]["replay"].all()["obs"]) == 60
    uniform = [each["replay"].all()["action"][:20] for each in (left["ReplayDataModule"], of_second)]
    assert not torch.isin(*uniform).any()
    for key in ("state_dict", "optimizer_states", "gradient_steps", "global_step", "ReplayDataModule", "own_buffers"):
        same(left[key], right[key], key)
    (own,) = part("a")["own_buffers"].values()
    same(part("whole")["own_buffers"], part("a")["own_buffers"])
    assert not torch.equal(own, *left["own_buffers"].values())
    evaluations = [
        [row for row in without_speed(metrics(RUNS / name)) if "eval/return_mean" in row] for name in ("whole", "a")
    ]
    assert evaluations[0] == evaluations[1]
    assert [row["env_steps"] for row in evaluations[0]] == [40, 80, 120]


def test_another_number_of_processes_shares_the_buffers_out_again(caplog):
    in_processes(2, lambda rank: fit("--name=a", "--trainer.max_steps=80", "--trainer.devices=2"))
    before = saved(RUNS / "a")["ReplayDataModule"]
    actions = [each["replay"].all()["action"] for each in (before, *before["further"])]
    with caplog.at_level("INFO"):
        resume("a", "--trainer.max_steps=82", "--trainer.devices=1")
    assert "was saved by 2 processes, and the run goes on with 1: it takes over the data of all 2." in caplog.text
    one = saved(RUNS / "a")["ReplayDataModule"]
    assert "further" not in one
    interleaved = torch.stack(actions, 1).flatten(0, 1)  # from the oldest to the newest
    assert torch.equal(one["replay"].all()["action"][:80], interleaved)
    assert len(one["replay"].all()["action"]) == 82
    in_processes(2, lambda rank: resume("a", "--trainer.max_steps=84", "--trainer.devices=2"))
    assert (
        "was saved by 1 process, and the run goes on with 2: some processes start with copies"
        in Path("rank-0.log").read_text()
    )
    two = saved(RUNS / "a")["ReplayDataModule"]
    first, second = (each["replay"].all()["action"] for each in (two, *two["further"]))
    assert torch.equal(first[:82], second[:82])
    assert not torch.equal(first[82:], second[82:])
    assert len(first) == len(second) == 83
    for file in RUNS.glob("a/checkpoints/last.ckpt.replay/process-1/rest-*.ckpt"):
        file.unlink()
    with pytest.raises(MaxEntError, match=r"rest-\w+\.ckpt, the part of process 1 of .*last\.ckpt, is missing"):
        AtomicCheckpointIO().load_checkpoint(RUNS / "a" / "checkpoints" / "last.ckpt")


# ---- signals and errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rank", "number", "status"), [(1, signal.SIGTERM, 143), (0, signal.SIGINT, 130)])
def test_a_signal_to_one_process_stops_all_after_the_same_round(rank, number, status):
    run = Processes(2, lambda rank: fit("--name=a", "--trainer.max_steps=1000000", "--trainer.devices=2"))
    run.wait_for(RUNS / "a" / "checkpoints" / "last.ckpt")
    run.signal(rank, number)
    first, second = run.wait()
    assert (first.status, second.status) == (status, 0), first.printed + second.printed
    assert "To resume: lightning-maxent fit --ckpt_path" in first.printed
    assert "Traceback" not in first.printed + second.printed
    checkpoint = saved(RUNS / "a")
    steps = checkpoint["global_step"]
    data = checkpoint["ReplayDataModule"]
    assert steps == data["env_steps"] == data["further"][0]["env_steps"]
    assert len(data["replay"].all()["obs"]) == len(data["further"][0]["replay"].all()["obs"]) == min(500, steps // 2)
    assert checkpoint["gradient_steps"] == steps // 2 - 20


def breaks(broken: int, rank: int) -> None:
    world = [
        "--data.env_id=probe_envs:probe/Counting-v0",
        f"--data.env_kwargs={{breaks: {35 if rank == broken else -1}}}",
    ]
    fit("--name=a", "--trainer.max_steps=1000", "--trainer.devices=2", "--data.eval_envs=2", *world)


@pytest.mark.parametrize("broken", [0, 1])
def test_an_error_in_one_process_ends_all_with_this_one_error(broken):
    ended = Processes(2, partial(breaks, broken)).wait()
    assert [each.status for each in ended] == [1, 1]
    printed = ended[0].printed + ended[1].printed
    (error,) = [line for line in printed.splitlines() if "error: " in line]
    assert "the world broke" in error
    assert not any(word in printed for word in ("Traceback", "Exception", "warn", "socket")), printed
    (last,) = Path("runs").rglob("last.ckpt")  # that of the last save before the error
    checkpoint = saved(last.parents[1])
    assert checkpoint["global_step"] == checkpoint["ReplayDataModule"]["further"][0]["env_steps"] == 40


def test_a_process_that_is_killed_ends_the_others_with_one_sentence():
    run = Processes(2, lambda rank: fit("--name=a", "--trainer.max_steps=1000000", "--trainer.devices=2"))
    run.wait_for(RUNS / "a" / "checkpoints" / "last.ckpt")
    run.signal(1, signal.SIGKILL)
    first, second = run.wait()
    assert second.status == -signal.SIGKILL
    assert first.status == 1
    assert "error: Another process of this run ended without a message" in first.printed
    assert "Traceback" not in first.printed
