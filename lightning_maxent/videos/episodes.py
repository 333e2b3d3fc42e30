"""Plays a trained policy, and records its episodes."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import UInt8

from lightning_maxent.errors import MaxEntError, check_positive, errors_of
from lightning_maxent.trained_policy import TrainedPolicy, random_state_kept
from lightning_maxent.videos.estimates_panel import EstimatesPanel
from lightning_maxent.videos.video_file import VideoFile

MOST_STEPS = 10_000  # of an episode, if the environment has no time limit of its own
STEPS_PER_PANEL = 4  # drawing the curves takes longer than most steps
FPS = 30  # of an environment that does not say its own


def has_display() -> bool:
    """Whether a window can be opened, as far as the environment variables tell."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def render_without_display() -> None:
    """Where there is no display, let MuJoCo render with EGL and pygame without a window, unless the variables are set."""
    if not has_display():
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")  # pygame would turn SIGTERM into an event that nobody reads


class Played(NamedTuple):
    """An episode that was played."""

    seed: int
    episode_return: float
    length: int


class Recorded(NamedTuple):
    """A video and its episodes, from left to right."""

    path: Path
    episodes: list[Played]


class Step(NamedTuple):
    """A moment of an episode: the picture before an action, or of the last state."""

    picture: Any
    episode_return: float
    length: int


def play(
    policy: TrainedPolicy,
    env: gym.Env,
    seed: int,
    deterministic: bool = True,
    panel: Callable[[int], EstimatesPanel] | None = None,
) -> Iterator[Step]:
    """Play one episode, step by step.

    Args:
        policy: chooses the actions.
        env: from ``policy.make_env``.
        seed: the seed of the episode.
        deterministic: whether actions are deterministic, in place of samples of the policy.
        panel: builds, from the width of a picture, what draws the estimates of the algorithm below it; None for
            pictures without it.

    Raises:
        MaxEntError: if the environment raises an error, or an action is not finite.
    """
    camera = _Camera(policy, env, panel)
    total, length, ended = 0.0, 0, False
    obs, _ = _of_environment(policy, env.reset, seed=seed)
    while not ended:
        if panel is None:
            action = policy(obs, deterministic)
        else:
            action, estimated = policy.act_and_estimate(obs, deterministic)
            camera.estimates.append(estimated)
        yield Step(camera.picture(), total, length)
        obs, reward, terminated, truncated, _ = _of_environment(policy, env.step, action)
        total, length = total + float(reward), length + 1
        ended = terminated or truncated or length == MOST_STEPS
    yield Step(camera.picture(), total, length)


class _Camera:
    """Takes pictures of an environment, with curves of the estimates so far below them if there is a panel."""

    def __init__(self, policy: TrainedPolicy, env: gym.Env, panel: Callable[[int], EstimatesPanel] | None):
        self._policy, self._env, self._build = policy, env, panel
        self._panel: EstimatesPanel | None = None
        self._curves: np.ndarray | None = None
        self.estimates: list[dict[str, float]] = []

    def picture(self) -> Any:
        rendered = _of_environment(self._policy, self._env.render)
        if self._build is None:
            return rendered
        rendered = check_picture(self._policy, rendered)
        self._panel = self._panel or self._build(rendered.shape[1])
        if self._curves is None or len(self.estimates) % STEPS_PER_PANEL == 0:
            self._curves = self._panel.draw(self.estimates)
        return _joined(self._policy, [rendered, self._curves], axis=0)


def _of_environment(policy: TrainedPolicy, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The answer of the environment; an error becomes one sentence."""
    with errors_of(f"The {call.__name__} of {policy.env_id}"):
        return call(*args, **kwargs)


def record_episodes(
    policy: TrainedPolicy,
    path: str | Path,
    seeds: Sequence[int] = (0,),
    deterministic: bool | Sequence[bool] = True,
    estimates: bool = False,
    fps: float | None = None,
    each_step: Callable[[], object] = lambda: None,
) -> Recorded:
    """Record episodes of a trained policy side by side in one video.

    Torch's random state is the same afterwards.  Where there is no display, this sets MUJOCO_GL and SDL_VIDEODRIVER if
    they are not set, so that MuJoCo and pygame render without one.  Sampled actions are those of ``torch.manual_seed(seeds[0])``.

    Args:
        policy: chooses the actions; see ``load_policy``.
        path: the video, a file ``*.mp4`` or ``*.gif``; a file of this name is replaced.
        seeds: one seed for each episode.
        deterministic: whether actions are deterministic, in place of samples of the policy; one for all episodes, or
            one for each.
        estimates: whether to draw curves of V, Q and entropy below the pictures.
        fps: pictures per second; None for those of the environment.
        each_step: called after every picture, to show progress.

    Returns:
        The path, and seed, return and length of each episode.

    Raises:
        MaxEntError: if the environment gives no pictures, the video cannot be written, or an action is not finite.
    """
    render_without_display()
    path, kinds = Path(path), [deterministic] * len(seeds) if isinstance(deterministic, bool) else list(deterministic)
    check_positive(episodes=len(seeds))
    if len(kinds) != len(seeds):
        raise MaxEntError(f"There are {len(seeds)} seeds, but {len(kinds)} values of deterministic: give one for each.")
    panel = EstimatesPanel if estimates else None
    with random_state_kept(policy.model.device), ExitStack() as stack:
        torch.manual_seed(seeds[0])
        envs: list[gym.Env] = []
        for _ in seeds:
            envs.append(policy.make_env("rgb_array"))
            stack.callback(envs[-1].close)
        video = stack.enter_context(VideoFile(path, float(fps or envs[0].metadata.get("render_fps") or FPS)))
        last: list[Step] = []
        played = (play(policy, env, seed, kind, panel) for env, seed, kind in zip(envs, seeds, kinds))
        for steps in zip_longest(*played):
            last = [step or before for step, before in zip_longest(steps, last)]
            video.add(_joined(policy, [check_picture(policy, step.picture) for step in last], axis=1))
            each_step()
    return Recorded(path, [Played(seed, step.episode_return, step.length) for seed, step in zip(seeds, last)])


def check_picture(policy: TrainedPolicy, picture: Any) -> UInt8[np.ndarray, "height width 3"]:
    """A picture of the environment, checked.

    Raises:
        MaxEntError: if it is not a picture.
    """
    if (
        not isinstance(picture, np.ndarray)
        or picture.ndim != 3
        or picture.shape[-1] != 3
        or picture.dtype != np.uint8
        or not picture.size
    ):
        given = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise MaxEntError(
            f"{policy.env_id} rendered {given}, but the render mode rgb_array must give an array of uint8 of shape "
            f"(height, width, 3)."
        )
    return picture


def _joined(policy: TrainedPolicy, pictures: Sequence[np.ndarray], axis: int) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures below each other (axis 0) or side by side (axis 1)."""
    try:
        return np.concatenate(pictures, axis)
    except ValueError as error:
        raise MaxEntError(
            f"{policy.env_id} rendered pictures of different sizes, which cannot be in one video."
        ) from error
