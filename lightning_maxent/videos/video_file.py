"""Writes pictures to a video file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lightning_maxent.errors import ForeignError, MaxEntError, described
from lightning_maxent.files import check_target

FORMATS = ("mp4", "gif")


class VideoFile:
    """A video that is written picture by picture, so that an mp4 does not need memory; a gif needs it until its end.

    The file has its name only when it is complete.  If an error ends the video, no file is left.

    Args:
        path: the file; its suffix is ``.mp4`` or ``.gif``.
        fps: pictures per second, at least 1; those of a gif are at most 50.

    Raises:
        MaxEntError: for another suffix, if ``path`` is no file, or if imageio is not installed, which the extra ``video``
            installs.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self._fps = path, fps
        self._part = path.with_name(f".{os.getpid()}-{path.name}")  # with the same suffix, which says the format
        self._writer: Any = None
        check_video_format(path)
        check_target(path)

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                with contextlib.suppress(Exception) if error else self._errors():
                    self._writer.close()
                    if error is None:
                        self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Append a picture; all have the same size.

        Raises:
            ForeignError: if the file cannot be written.
        """
        with self._errors():
            if self._writer is None:
                self._writer = self._opened()
            self._writer.append_data(_with_even_sides(picture))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            raise ForeignError(f"The video {self.path} cannot be written: {described(error)}.") from error

    def _opened(self) -> Any:
        import imageio

        if self.path.suffix == ".gif":
            return imageio.get_writer(self._part, duration=1000 / min(self._fps, 50), loop=0)
        return imageio.get_writer(self._part, fps=self._fps, macro_block_size=1, ffmpeg_log_level="error")


def check_video_format(path: Path) -> None:
    """Raise ``MaxEntError`` if the suffix is not that of a video, or what writes videos is not installed."""
    if path.suffix.removeprefix(".") not in FORMATS:
        raise MaxEntError(f"{path} is not the name of a video: choose one of the suffixes .{' and .'.join(FORMATS)}.")
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise MaxEntError("Videos need the package imageio with ffmpeg: pip install 'imageio[ffmpeg]'.") from error


def _with_even_sides(picture: np.ndarray) -> np.ndarray:
    """The picture with a black row or column more where a side is odd, because players expect even sides."""
    height, width, _ = picture.shape
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)))
