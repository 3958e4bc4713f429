"""The case that all pictures come as: a frame of a video, and what is known of it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.progress import say


@dataclass(frozen=True)
class Frame:
    """One frame. Frames of one video never cross a split.

    image: uint8 RGB [H, W, 3]. mask: bool [H, W], True on lesions; None: unknown (an all-False mask
    says "no lesion"). quality: 1 informative, 0 not, None unknown. label: the data set's own class.
    """

    video: str
    name: str
    image: np.ndarray
    mask: np.ndarray | None = None
    quality: int | None = None
    label: str | None = None

    @property
    def title(self) -> str:
        """VIDEO/FRAME; the frame's own name where it is its own video."""
        return self.name if self.video == self.name else f"{self.video}/{self.name}"


class Frames(Sequence[Frame]):
    """Frames that are read when asked for."""

    @property
    def videos(self) -> list[str]:
        """The video of each frame, without decoding any."""
        raise NotImplementedError

    @property
    def quality(self) -> list[int | None]:
        """The quality of each frame (see `Frame`), without decoding any."""
        raise NotImplementedError

    @property
    def groups_known(self) -> bool:
        """False where every frame is a video of its own: the data do not say which belong together.

        A split may then put one patient on both sides; results must say so.
        """
        return len(set(self.videos)) < len(self)


def check_disjoint(train: Iterable[str], test: Iterable[str], what: str = "video") -> None:
    """Raises UserError when a video (or whatever a split must keep whole) is in both splits."""
    both = sorted(set(train) & set(test))
    if both:
        raise UserError(
            f"{what} {both[0]!r} is in the training and in the test split ({len(both)} such); "
            f"every {what} must be in one split only."
        )


def united(
    images: Sequence[np.ndarray], videos: Sequence[str], who: str = "videos share frames"
) -> np.ndarray:
    """str [N]: the video of each frame, or one name for all videos that share a picture, which is said. who: in the
    words of what else a split keeps whole.
    """
    groups, sharing = _united(images, videos)
    if sharing:
        say(f"data: {sharing:,} {who} of the same pixels, and stay on one side")
    return groups


def groups_of(images: Sequence[np.ndarray], videos: Sequence[str]) -> np.ndarray:
    """As `united`, of which it is said already."""
    return _united(images, videos)[0]


def _united(images: Sequence[np.ndarray], videos: Sequence[str]) -> tuple[np.ndarray, int]:
    """The names of `united`, and how many videos share a picture.

    Pictures are the same where all their pixels are; those of one value everywhere are none.
    """
    first: dict[bytes, str] = {}
    of: dict[str, str] = {video: video for video in videos}
    sharing: set[str] = set()
    for image, video in zip(images, videos, strict=True):
        if not image.size or image.min() == image.max():
            continue
        key = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        other = first.setdefault(key, video)
        if of[other] != of[video]:
            one, gone = sorted((of[other], of[video]))
            of = {name: one if group == gone else group for name, group in of.items()}
            sharing |= {other, video}
    return np.array([of[video] for video in videos]), len(sharing)


def check_copies(images: Sequence[np.ndarray], videos: Sequence[str], test: np.ndarray) -> None:
    """Raises UserError where a given split has one picture on both sides."""
    groups = groups_of(images, videos)
    both = sorted(set(groups[test]) & set(groups[~test]))
    if both:
        here = sorted(
            {video for video, group in zip(videos, groups, strict=True) if group == both[0]}
        )
        raise UserError(
            f"videos {', '.join(here[:3])} have frames of the same pixels, and are on both sides of the split: move "
            "them to one side, or remove the copies."
        )


def check_classes(labels: Iterable[object], expected: Sequence[object], where: str) -> None:
    """Raises UserError when one of the expected classes has no example."""
    present = set(labels)
    for value in expected:
        if value not in present:
            raise UserError(
                f"{where}: class {value!r} has no example; every class needs at least one."
            )
