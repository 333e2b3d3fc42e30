"""Videos during training: when they are made, where they are, and that training does not depend on them."""

import imageio.v3 as iio
import probe_envs
import pytest
import torch
from cli_helpers import SMALL, fit, metrics, refused

from lightning_maxent import EpisodeVideos, MaxEntError

FILMED = ("--data.env_id=probe_envs:worlds/Filmed-v0", "--trainer.logger=false")
VIDEOS = ("--trainer.callbacks+=EpisodeVideos", "--trainer.callbacks.every_n_steps=80")


def trained(folder, monkeypatch, *args: str):
    folder.mkdir()
    monkeypatch.chdir(folder)
    fit(*FILMED, *args, steps=200)
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


def test_numbers_out_of_range_are_refused():
    with pytest.raises(MaxEntError, match="every_n_steps must be at least 1, but is 0"):
        EpisodeVideos(every_n_steps=0)
    with pytest.raises(MaxEntError, match="episodes must be at least 1, but is 0"):
        EpisodeVideos(episodes=0)
