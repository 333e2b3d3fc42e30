"""The commands play and record, run as a user would."""

import os
import signal
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import imageio.v3 as iio
import pytest
from cli_helpers import fit, refused

from lightning_maxent.cli import policy_commands
from lightning_maxent.cli.command import main

FILMED = ("--data.env_id=probe_envs:worlds/Filmed-v0", "--trainer.logger=false")


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(*FILMED, steps=60)
    return tmp_path / "runs" / "value_sac" / "worlds-Filmed-v0" / "a"


def test_record_writes_one_video_per_episode_and_prints_their_returns(run_folder, capsys):
    capsys.readouterr()
    main(["record", "--ckpt_path", "last", "--episodes", "2", "--seed", "7", "--format", "gif", "--out", "clips"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"The newest run: {run_folder}"
    for seed, line in zip((7, 8), printed[1:], strict=True):
        assert line.startswith(f"clips/deterministic-seed{seed}.gif: return -")
        assert line.endswith(f"in 6 steps (seed {seed})")
        assert len(iio.imread(f"clips/deterministic-seed{seed}.gif")) == 7


def test_record_side_by_side_and_from_a_checkpoint_goes_into_the_folder_of_the_run(run_folder, capsys):
    checkpoint = run_folder / "checkpoints" / "last.ckpt"
    main(f"record --ckpt_path {checkpoint} --episodes 3 --side_by_side --sample --format gif --fps 5".split())
    video = run_folder / "videos" / "sample-seed0-to-2.gif"
    assert iio.imread(video).shape[:3] == (7, 4, 18)
    assert iio.immeta(video)["duration"] == 200  # milliseconds


def test_play_without_a_display_records(run_folder, capsys, monkeypatch):
    monkeypatch.setattr(policy_commands, "has_display", lambda: False)
    main(["play", "--ckpt_path", str(run_folder)])
    assert "There is no display, so the episodes are recorded." in capsys.readouterr().out
    assert (run_folder / "videos" / "deterministic-seed0.mp4").is_file()


def test_play_shows_the_episodes_in_a_window(run_folder, capsys, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # pygame draws into memory
    monkeypatch.setattr(policy_commands, "has_display", lambda: True)
    capsys.readouterr()
    main(["play", "--ckpt_path", str(run_folder), "--episodes", "2"])
    assert [line[-8:] for line in capsys.readouterr().out.splitlines()] == ["(seed 0)", "(seed 1)"]
    assert not (run_folder / "videos").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            "play",
            "One of the arguments --policy --ckpt_path is required; see `lightning-maxent play --help`.",
        ),
        ("record --ckpt_path last", "There is no checkpoint"),
        ("record --ckpt_path missing.ckpt", "There is no checkpoint"),
        ("record --ckpt_path last --episodes 0", "episodes must be at least 1, but is 0."),
        ("record --ckpt_path last --seed -1", "--seed must lie in [0, 2**32), but is -1."),
        ("record --ckpt_path last --fps 0", "--fps must lie in [1, 1000], but is 0.0."),
        ("record --ckpt_path last --format avi", "Argument --format: invalid choice: 'avi'"),
        (
            "record --ckpt_path last --episode 3",
            "Unrecognized arguments: --episode 3; see `lightning-maxent record --help`.",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, *arguments.split())


def test_without_imageio_record_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    error = refused(capsys, "record", "--ckpt_path", "last")
    assert error.endswith("Videos need the package imageio with ffmpeg: pip install 'imageio[ffmpeg]'.")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_unfinished_video_and_no_handler(run_folder, monkeypatch, capsys, number, status):
    before, unfinished = signal.getsignal(signal.SIGTERM), run_folder / f"videos/.{os.getpid()}-deterministic-seed0.mp4"

    def each_picture() -> None:
        unfinished.touch()  # ffmpeg writes a short video at its end only
        os.kill(os.getpid(), number)

    bar = nullcontext(SimpleNamespace(update=each_picture))
    monkeypatch.setattr(policy_commands, "progress", lambda *_, **__: bar)
    with pytest.raises(SystemExit) as stop:
        main(["record", "--policy", str(run_folder)])
    assert stop.value.code == status
    assert capsys.readouterr().err.endswith("Interrupted.\n")
    assert list(unfinished.parent.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before
