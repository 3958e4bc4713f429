"""Frames in files: images and video frames with their masks, read and checked when asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medtune_jax.datasets.colonoscopy import videos
from medtune_jax.datasets.frames import Frame, Frames
from medtune_jax.errors import UserError
from medtune_jax.images import eight_bit
from medtune_jax.masks import read_lesions


@dataclass(frozen=True)
class FrameFile:
    """Where a frame and what is known of it are kept.

    seconds: for an image that is a video file, the time of the frame. positive: True if the frame
    is declared to show a lesion, False if declared not to, None if undeclared. no_lesion: the
    frame was looked at and has no mask file because it shows no lesion. ground: of the mask, as of `read_lesions`.
    """

    video: str
    name: str
    image: Path
    seconds: float | None = None
    mask: Path | None = None
    no_lesion: bool = False
    positive: bool | None = None
    quality: int | None = None
    label: str | None = None
    ground: str = ""

    @property
    def title(self) -> str:
        """As `Frame.title`."""
        return self.name if self.video == self.name else f"{self.video}/{self.name}"

    def read(self) -> Frame:
        """Decodes and checks the frame. Raises UserError for unreadable or contradictory files."""
        if self.seconds is None:
            return self.frame(np.asarray(eight_bit(self.image)))
        return self.frame(videos.frame_at(self.image, self.seconds))

    def frame(self, image: np.ndarray) -> Frame:
        """The frame, given its decoded image, with its mask read and checked."""
        mask = np.zeros(image.shape[:2], bool) if self.no_lesion else None
        if self.mask is not None:
            mask = read_lesions(self.mask, self.ground)
        frame = Frame(self.video, self.name, image, mask, self.quality, self.label)
        check_frame(frame, self.positive, str(self.mask or self.image))
        return frame


def on_ground(files: Iterable[FrameFile], ground: str) -> list[FrameFile]:
    """Files whose masks have that ground."""
    return [replace(file, ground=ground) for file in files]


class FileFrames(Frames):
    """Frames in files."""

    def __init__(self, files: Sequence[FrameFile]):
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index):  # type: ignore[override]
        if isinstance(index, slice):
            return FileFrames(self.files[index])
        return self.files[index].read()

    @property
    def videos(self) -> list[str]:
        return [file.video for file in self.files]

    @property
    def quality(self) -> list[int | None]:
        return [file.quality for file in self.files]


def check_frame(frame: Frame, positive: bool | None, where: str) -> None:
    """Raises UserError when the mask has another size than the frame or contradicts `positive`."""
    if frame.mask is None:
        return
    if frame.mask.shape != frame.image.shape[:2]:
        raise UserError(
            f"{where}: the mask is {_size(frame.mask)} but its frame is {_size(frame.image)}; "
            "masks must have the size of their frame."
        )
    shown = bool(frame.mask.any())
    if positive not in (None, shown):
        said, seen, other = (
            ("negative", "a", "positive") if shown else ("positive", "no", "negative")
        )
        raise UserError(
            f"{where}: the frame is declared {said} but its mask shows {seen} lesion; "
            f"mend the mask or declare the frame {other}."
        )


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
