"""Videos of episodes."""

import warnings
from functools import partial
from typing import Any

import gymnasium as gym

from lightning_maxent.data.wrapping import COPY_NAME
from lightning_maxent.errors import check_positive


class RecordVideo(gym.wrappers.RecordVideo):
    """Gymnasium's ``RecordVideo`` with the name of the copy in the name of every file, as in ``video-eval-3-episode-8.mp4``.

    An episode that is cut off, such as one of a copy that waits for the others at the end of an evaluation, has a short
    video.  It needs the package moviepy and an environment with ``render_mode: rgb_array`` among its ``env_kwargs``.

    Args:
        env: the environment.
        video_folder: the folder of the videos; a later run with the same folder replaces videos of the same name.
        every_episodes: every how many episodes of a copy one is recorded, from its first on; null for episodes 0, 1, 8,
            27, … 1,000, 2,000, …
        video_length: number of frames of a video; 0 for whole episodes.
        name_prefix: beginning of the names of the files, before the name of the copy.
        fps: frames per second; null for those of the environment.

    Raises:
        MaxEntError: if ``every_episodes`` is less than 1.
        ValueError: if the environment has no ``render_mode`` that gives pictures.
        DependencyNotInstalled: without moviepy.
    """

    def __init__(
        self,
        env: gym.Env,
        video_folder: str,
        every_episodes: int | None = None,
        video_length: int = 0,
        name_prefix: str = "video",
        fps: int | None = None,
    ):
        if every_episodes is not None:
            check_positive(every_episodes=every_episodes)
        copy_name = f"-{env.get_wrapper_attr(COPY_NAME)}" if env.has_wrapper_attr(COPY_NAME) else ""
        given: dict[str, Any] = {"video_length": video_length, "fps": fps}
        if every_episodes is not None:
            given["episode_trigger"] = partial(_is_due, every_episodes)
        with warnings.catch_warnings():  # another copy may have made the folder
            warnings.filterwarnings("ignore", ".*Overwriting existing videos")
            super().__init__(env, video_folder, name_prefix=f"{name_prefix}{copy_name}", **given)


def _is_due(every: int, episode: int) -> bool:
    return episode % every == 0
