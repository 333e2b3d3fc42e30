"""A table of the episodes of each evaluation, in W&B and TensorBoard."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn

from lightning_maxent.errors import MaxEntError
from lightning_maxent.loggers.media import log_table, warn_unless_shown
from lightning_maxent.transition import Episode
from lightning_maxent.videos.episode_videos import check_pictures, policy_of
from lightning_maxent.videos.episodes import record_episodes

COLUMNS = ("env_steps", "actions", "seed", "return", "length", "video")


class EpisodeTable(pl.Callback):
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
        self.videos = videos
        self._episodes: list[Episode] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.videos:
            check_pictures(policy_of(trainer, pl_module))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        warn_unless_shown(trainer.loggers, "EpisodeTable")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._episodes = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Episode,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._episodes.append(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not trainer.is_global_zero:
            return
        rows, to_film = [], self.videos
        for episode in self._episodes:
            video = None
            if to_film and episode.deterministic and episode.seed is not None:
                video, to_film = self._filmed(trainer, pl_module, episode.seed), to_film - 1
            actions = "deterministic" if episode.deterministic else "sampled"
            outcome = (float(episode.reward.sum()), len(episode.reward))
            rows.append((trainer.global_step, actions, episode.seed, *outcome, video))
        self._episodes = []
        log_table(trainer.loggers, "eval/episodes", COLUMNS, rows, trainer.global_step)

    @staticmethod
    def _filmed(trainer: pl.Trainer, pl_module: Any, seed: int) -> Path | None:
        path = Path(trainer.default_root_dir) / "videos" / f"{trainer.global_step}-seed{seed}.mp4"
        try:
            return record_episodes(policy_of(trainer, pl_module), path, [seed]).path
        except Exception as error:  # any error: a video is not worth the end of a run
            rank_zero_warn(f"The video {path} was not recorded: {error}")
            return None
