"""Records videos while a run trains."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from lightning_maxent.data.data_module import EnvironmentDataModule
from lightning_maxent.errors import MaxEntError, check_positive
from lightning_maxent.loggers.media import log_video
from lightning_maxent.trained_policy import TrainedPolicy
from lightning_maxent.videos.episodes import check_picture, play, record_episodes, render_without_display
from lightning_maxent.videos.video_file import check_video_format


class EpisodeVideos(pl.Callback):
    """Records episodes after evaluations, as ``videos/<environment steps>.mp4`` in the folder of the run and in W&B.

    It opens copies of the environment of its own, and changes neither the training nor its random state.  Before training
    it makes one picture, so that an environment without pictures ends the run at once.  A later error is a warning.

    Args:
        every_n_steps: environment steps between two videos; each is made by the next evaluation.
        episodes: number of episodes, side by side in one video; their initial states are the same in all videos.
        deterministic: whether actions are deterministic, in place of samples of the policy.
        estimates: whether to draw curves of V, Q and entropy below the pictures.

    Raises:
        MaxEntError: for a number less than 1; before training, if the environment gives no pictures or imageio is not
            installed, which the extra ``video`` installs.
    """

    def __init__(
        self, every_n_steps: int = 100_000, episodes: int = 1, deterministic: bool = True, estimates: bool = False
    ):
        check_positive(every_n_steps=every_n_steps, episodes=episodes)
        self.every_n_steps, self.episodes = every_n_steps, episodes
        self.deterministic, self.estimates = deterministic, estimates
        self._last_steps = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        check_pictures(policy_of(trainer, pl_module))

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._last_steps = trainer.global_step

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        steps = trainer.global_step
        is_due = steps // self.every_n_steps > self._last_steps // self.every_n_steps
        if not is_due or not trainer.is_global_zero or trainer.state.fn != TrainerFn.FITTING:
            return
        self._last_steps = steps
        path = Path(trainer.default_root_dir) / "videos" / f"{steps}.mp4"
        try:
            policy = policy_of(trainer, pl_module)
            record_episodes(policy, path, range(self.episodes), self.deterministic, self.estimates)
            log_video(trainer.loggers, "videos/episodes", path, steps)
        except Exception as error:  # any error: a video is not worth the end of a run
            rank_zero_warn(f"The video {path} was not recorded: {error}")


def check_pictures(policy: TrainedPolicy) -> None:
    """Make one picture of the environment.

    Raises:
        MaxEntError: if the environment gives no pictures, or imageio is not installed.
    """
    check_video_format(Path("video.mp4"))
    render_without_display()
    env = policy.make_env("rgb_array")
    try:
        check_picture(policy, next(play(policy, env, seed=0)).picture)
    finally:
        env.close()


def policy_of(trainer: pl.Trainer, algorithm: Any) -> TrainedPolicy:
    """The policy that is being trained.

    Raises:
        MaxEntError: if the data module is not one of this package.
    """
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, EnvironmentDataModule):
        raise MaxEntError("Videos need a run with a data module of this package, such as ReplayDataModule.")
    return TrainedPolicy(algorithm, data)
