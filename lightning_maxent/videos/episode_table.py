"""A table of the episodes of each evaluation, in W&B and TensorBoard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn

from lightning_maxent.callbacks.episode_logger import AbstractEpisodeLogger
from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.media import log_table
from lightning_maxent.transition import Episode
from lightning_maxent.videos.episode_videos import check_pictures, policy_of
from lightning_maxent.videos.episodes import record_episodes

COLUMNS = ("env_steps", "actions", "seed", "return", "length", "video")


class EpisodeTable(AbstractEpisodeLogger):
    """Logs a table of the episodes of each evaluation as ``eval/episodes``: seed, return, length, and videos of some.

    The seed is that of the reset before the episode.  Further episodes in the same copy of the environment have none;
    there are no such episodes if ``data.eval_envs`` is at least ``data.eval_episodes``.  ``lightning-maxent play --seed``
    repeats an episode with deterministic actions.  W&B and TensorBoard show the table, and W&B the videos in it.

    Args:
        videos: number of episodes with deterministic actions and a seed that are played once more for a video, which is
            ``videos/<environment steps>-seed<seed>.mp4`` in the folder of the run.

    Raises:
        MaxEntError: for a negative number; before training, if there are to be videos but the environment gives no
            pictures or imageio is not installed, which the extra ``video`` installs.
    """

    def __init__(self, videos: int = 0):
        if videos < 0:
            raise MaxEntError(f"videos must be at least 0, but is {videos}.")
        super().__init__()
        self.videos = videos

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.videos:
            check_pictures(policy_of(trainer, pl_module))

    def log_episodes(self, trainer: pl.Trainer, pl_module: Any, episodes: Sequence[Episode]) -> None:
        rows, to_film = [], self.videos
        for episode in episodes:
            video = None
            if to_film and episode.deterministic and episode.seed is not None:
                video, to_film = self._filmed(trainer, pl_module, episode.seed), to_film - 1
            actions = "deterministic" if episode.deterministic else "sampled"
            outcome = (float(episode.reward.sum()), len(episode.reward))
            rows.append((trainer.global_step, actions, episode.seed, *outcome, video))
        log_table(trainer.loggers, "eval/episodes", COLUMNS, rows, trainer.global_step)

    @staticmethod
    def _filmed(trainer: pl.Trainer, pl_module: Any, seed: int) -> Path | None:
        path = Path(trainer.default_root_dir) / "videos" / f"{trainer.global_step}-seed{seed}.mp4"
        try:
            return record_episodes(policy_of(trainer, pl_module), path, [seed]).path
        except Exception as error:  # any error: a video is not worth the end of a run
            rank_zero_warn(f"The video {path} was not recorded: {error}")
            return None
