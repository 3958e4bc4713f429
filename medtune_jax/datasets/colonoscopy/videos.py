"""Frames out of video files, and videos of pictures, through PyAV."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.paths import beside

VIDEO_SUFFIXES = (".mp4", ".avi", ".wmv", ".mov", ".mkv", ".mpg", ".mpeg", ".webm", ".m4v")
CODEC = "h264"


def frames(path: Path, every: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, uint8 RGB [H, W, 3]) of all frames of a video, or of the first in every interval.

    every: the interval in seconds (the study takes one frame every 5 s for frame quality). Raises
    UserError when the file is no readable video or yields no frame.
    """
    due, seen = 0.0, False
    with _video(path) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            seconds = _time(frame, stream, number)
            seen = True
            if every is None or seconds >= due - 1e-6:
                due += every or 0.0
                yield seconds, frame.to_ndarray(format="rgb24")
    if not seen:
        raise UserError(f"{path}: the video holds no frame; replace the file.")


def sample_times(path: Path, every: float) -> list[float]:
    """The times 0, every, 2 every, ... (seconds) that lie within a video."""
    if every <= 0:
        raise UserError(f"the interval between frames must be positive, not {every} seconds.")
    with _video(path) as (container, stream):
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration = container.duration / 1e6  # microseconds, FFmpeg's AV_TIME_BASE
        else:
            shown = [_time(f, stream, n) for n, f in enumerate(container.decode(stream))]
            duration = shown[-1] if shown else 0.0
    return (np.arange(max(1, int(np.ceil(duration / every - 1e-6)))) * every).tolist()


def times(path: Path) -> list[float]:
    """The times of all frames of a video (seconds)."""
    with _video(path) as (container, stream):
        return [_time(f, stream, n) for n, f in enumerate(container.decode(stream))]


def frame_at(path: Path, seconds: float) -> np.ndarray:
    """The frame shown at a time: uint8 RGB [H, W, 3]. Seeks: the cost is one key interval."""
    return next(frames_at(path, [seconds]))


def frames_at(path: Path, times: Sequence[float]) -> Iterator[np.ndarray]:
    """The frames shown at ascending times, as `frame_at`: it seeks the first and decodes on from there."""
    with _video(path) as (container, stream):
        start = (stream.start_time or 0) * stream.time_base
        container.seek(int((start + times[0]) / stream.time_base), stream=stream, backward=True)
        coming, last, reached = enumerate(container.decode(stream)), None, -1.0
        for seconds in times:
            while last is None or reached < seconds - 1e-3:
                number, frame = next(coming, (0, None))
                if frame is None:
                    break
                last, reached = frame, _time(frame, stream, number)
            if last is None:
                raise UserError(
                    f"{path}: no frame at {seconds:g} s; the video is shorter or broken there."
                )
            yield last.to_ndarray(format="rgb24")


def write(path: Path, pictures: Iterable[np.ndarray], rate: float) -> None:
    """An H.264 video in MP4 of uint8 RGB pictures [H, W, 3], `rate` per second, of the first one's size.

    An odd last row or column is cut off: the colours of two pixels are kept as one. Nobody ever sees half of the file.
    Raises OSError where the disk refuses it, and UserError where they cannot be encoded.
    """
    import av

    try:
        with beside(path) as scratch, av.open(str(scratch), "w", format="mp4") as container:
            _encode(container, pictures, rate)
            container.close()
            scratch.replace(path)
    except OSError:  # PyAV's own may be one, too: a full disk, a folder that may not be written to
        raise
    except (av.FFmpegError, ValueError) as error:  # no encoder in this PyAV, or it gave up
        raise UserError(
            f"{path}: {CODEC} cannot be written here ({error}); leave videos out, as with --overlays=none."
        ) from error


def _encode(container, pictures: Iterable[np.ndarray], rate: float) -> None:
    import av

    stream = container.add_stream(CODEC, rate=Fraction(rate).limit_denominator(1000))
    stream.pix_fmt, height = "yuv420p", 0
    for picture in pictures:
        if not height:
            height, width = (side - side % 2 for side in picture.shape[:2])
            stream.height, stream.width = height, width
        frame = av.VideoFrame.from_ndarray(picture[:height, :width].copy(), format="rgb24")
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _time(frame, stream, number: int) -> float:
    """Seconds from the start of the stream; by frame number where there are no time stamps."""
    if frame.pts is None:
        return float(number / (stream.average_rate or 25))
    return float((frame.pts - (stream.start_time or 0)) * frame.time_base)


@contextmanager
def _video(path: Path):
    import av  # only here: folders of frames do without

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path}: the file has no video stream; give a video file.")
            yield container, container.streams.video[0]
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path}: not a readable video ({error}); replace the file.") from None
