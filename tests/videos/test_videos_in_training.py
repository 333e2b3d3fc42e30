"""Videos during training: when they are made, where they are, and that training does not depend on them."""

import imageio.v3 as iio
import probe_envs
import pytest
import torch
from cli_helpers import SMALL, fit, metrics, refused
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_maxent import EpisodeVideos, MaxEntError, load_policy
from lightning_maxent.cli.command import main
from lightning_maxent.videos import episode_table
from lightning_maxent.videos.episodes import play

FILMED = ("--data.env_id=probe_envs:worlds/Filmed-v0",)
VIDEOS = ("--trainer.callbacks+=EpisodeVideos", "--trainer.callbacks.every_n_steps=80")


def trained(folder, monkeypatch, *args: str):
    folder.mkdir()
    monkeypatch.chdir(folder)
    fit(*FILMED, "--trainer.logger=false", *args, steps=200)
    return folder / "runs" / "value_sac" / "worlds-Filmed-v0" / "a"


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # imageio's reader
def test_a_video_follows_each_evaluation_that_is_due_and_training_is_the_same(tmp_path, monkeypatch):
    run = trained(tmp_path / "a", monkeypatch, *VIDEOS, "--trainer.callbacks.deterministic=false")
    assert sorted(path.name for path in (run / "videos").iterdir()) == ["160.mp4", "80.mp4"]
    assert len(iio.imread(run / "videos" / "80.mp4")) == 7
    without = trained(tmp_path / "b", monkeypatch)
    kept = [{key: value for key, value in row.items() if not key.startswith("speed/")} for row in metrics(run)]
    assert kept == [
        {key: value for key, value in row.items() if not key.startswith("speed/")} for row in metrics(without)
    ]
    weights = [torch.load(each / "checkpoints" / "last.ckpt")["state_dict"] for each in (run, without)]
    assert all(torch.equal(left, right) for left, right in zip(weights[0].values(), weights[1].values(), strict=True))


def test_an_environment_without_pictures_ends_the_run_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    error = refused(capsys, "fit", "--config", "value_sac/pendulum", *SMALL, *VIDEOS, "--trainer.logger=false")
    assert "has no render mode rgb_array" in error
    assert not (tmp_path / "runs" / "value_sac" / "probe-Counting-v0").exists() or not list(
        (tmp_path / "runs" / "value_sac" / "probe-Counting-v0").iterdir()
    )


@pytest.mark.filterwarnings("ignore:.*RGB-array rendering should")  # Gymnasium's own checks
def test_an_environment_whose_pictures_are_wrong_ends_the_run_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probe_envs.Filmed, "render", lambda self: None)
    error = refused(capsys, "fit", "--config", "value_sac/pendulum", *SMALL, *FILMED, *VIDEOS)
    assert "rendered NoneType, but the render mode rgb_array must give an array" in error


def test_an_error_in_a_later_video_is_a_warning(tmp_path, monkeypatch):
    steps = []

    def render(self):
        steps.append(self.t)
        if len(steps) > 1:
            raise OSError("the camera is gone")
        return probe_envs.np.zeros((4, 4, 3), probe_envs.np.uint8)

    monkeypatch.setattr(probe_envs.Filmed, "render", render)
    with pytest.warns(UserWarning, match=r"videos/\d+\.mp4 was not recorded: .*the camera is gone"):
        run = trained(tmp_path / "a", monkeypatch, *VIDEOS)
    assert metrics(run)[-1]["env_steps"] == 200


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # imageio's reader
def test_tensorboard_shows_a_video_as_a_moving_image(tmp_path, monkeypatch):
    board = ("--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=board")
    trained(tmp_path / "a", monkeypatch, *VIDEOS, *board)
    shown = EventAccumulator("board/lightning_logs/value_sac/worlds-Filmed-v0/a").Reload().Images("videos/episodes")
    assert [each.step for each in shown] == [80, 160]
    assert (shown[0].width, shown[0].height) == (6, 4)
    assert iio.imread(shown[0].encoded_image_string).shape == (4, 4, 6, 3)  # every second of the 7 pictures


def test_a_row_of_the_table_of_episodes_is_what_its_seed_plays_and_its_video_shows(tmp_path, monkeypatch, capsys):
    tables = []
    monkeypatch.setattr(episode_table, "log_table", lambda *args: tables.append(args))
    table = ("--trainer.callbacks+=EpisodeTable", "--trainer.callbacks.videos=1")
    folder = tmp_path / "a"
    folder.mkdir()
    monkeypatch.chdir(folder)
    main(["fit", "sac/pendulum", *SMALL, "--data.env_id=Pendulum-v1", *table, "--trainer.max_steps=40", "--name=a"])
    ((_, name, columns, rows, step),) = tables
    assert (name, step) == ("eval/episodes", 40)
    rows = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [row["actions"] for row in rows] == ["deterministic"] * 2 + ["sampled"] * 2
    assert [row["length"] for row in rows] == [200] * 4
    assert [row["video"] and row["video"].name for row in rows] == [f"40-seed{rows[0]['seed']}.mp4", None, None, None]
    assert rows[0]["video"].is_file()
    policy = load_policy("runs/sac/Pendulum-v1/a/checkpoints/last.ckpt")
    for row in rows[:2]:
        *_, last = play(policy, policy.make_env("rgb_array"), row["seed"])
        assert last.episode_return == pytest.approx(row["return"], rel=1e-5)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(MaxEntError, match="every_n_steps must be at least 1, but is 0"):
        EpisodeVideos(every_n_steps=0)
    with pytest.raises(MaxEntError, match="episodes must be at least 1, but is 0"):
        EpisodeVideos(episodes=0)
