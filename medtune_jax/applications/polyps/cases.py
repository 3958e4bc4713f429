"""The frames of a polyp study, and which of their videos are the test set.

They come from the user's own videos (one folder per video, with or without train/ and test/), from
images and masks in two folders, from a data set that `medtune data prepare` made, or are generated
(phantoms). Videos never cross the split; where the data fix no split, it is drawn by video.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from skimage.measure import label as connected_components

from medtune_jax.applications.splits import test_split
from medtune_jax.datasets import Frame, Frames
from medtune_jax.datasets.colonoscopy import FileFrames, FrameFile, layouts, on_ground, plain
from medtune_jax.datasets.colonoscopy.videos import VIDEO_SUFFIXES
from medtune_jax.datasets.frames import check_copies, check_disjoint, united
from medtune_jax.errors import UserError
from medtune_jax.folders import entries
from medtune_jax.phantoms.colonoscopy.layouts import kept_videos
from medtune_jax.progress import reported

PHANTOM = "phantom"
_FILMED = "VIDEO.mp4 with the masks of its frames in masks/VIDEO/NUMBER.png"


@dataclass(frozen=True)
class Cases:
    """frames: [F], in the order of their videos, each with its mask. test: bool [F].

    groups_known: False where every frame is its own video, for the data do not tell patients.
    """

    frames: list[Frame]
    test: np.ndarray
    groups_known: bool

    @cached_property
    def videos(self) -> np.ndarray:
        return np.array([frame.video for frame in self.frames])

    @cached_property
    def names(self) -> np.ndarray:
        return np.array([frame.title for frame in self.frames])

    def fingerprint(self) -> str:
        """sha256 of pixels, masks, names and split."""
        digest = hashlib.sha256(self.test.tobytes())
        for frame in self.frames:
            digest.update(f"{frame.video}/{frame.name} {frame.image.shape}".encode())
            digest.update(np.ascontiguousarray(frame.image).data)
            digest.update(np.packbits(mask_of(frame)).data)
        return digest.hexdigest()


def mask_of(frame: Frame) -> np.ndarray:
    """The lesion mask bool [H, W]. Raises UserError where the truth of the frame is unknown."""
    if frame.mask is None:
        raise UserError(
            f"video {frame.video!r}, frame {frame.name!r} has no lesion mask: add it as "
            "VIDEO/masks/FRAME.png (an empty masks folder says that the video shows no lesion)."
        )
    return frame.mask


def lesions(mask: np.ndarray, minimum_area: int = 20) -> tuple[np.ndarray, int]:
    """Numbers the lesions of a bool mask [H, W]: int [H, W], -1 outside, and how many there are.

    Touching pixels (8-neighbourhood) are one lesion; specks below minimum_area pixels, the noise of
    JPEG masks, are none.
    """
    components = connected_components(mask, connectivity=2)
    area = np.bincount(components.ravel())
    keep = area >= minimum_area
    keep[0] = False
    number = np.where(keep, np.cumsum(keep) - 1, -1)
    return number[components], int(keep.sum())


def read_cases(data: ConfigDict) -> Cases:
    """Reads the frames that `config.data` names and fixes the test set.

    Frames longer than data.longest_side pixels are shrunk to it, masks with them. data.most_frames
    (0: all) takes that many, evenly from the whole set. Raises UserError for unknown or
    contradictory truth, unreadable files, a video in both splits, or a split without a lesion.
    """
    parts = _parts(data)
    if len(parts) > 1:
        check_disjoint(parts["train"].videos, parts["test"].videos)
    frames, fixed = [], []
    for split, part in parts.items():
        chosen = _evenly(len(part), data.most_frames, sum(map(len, parts.values())))
        frames += _read(part, chosen, data.longest_side)
        fixed += [split == "test"] * len(chosen)
    groups_known = all(part.groups_known for part in parts.values())
    test = np.array(fixed, bool) if len(parts) > 1 else _drawn_split(frames, data)
    cases = Cases(frames, test, groups_known)
    if len(parts) > 1:
        check_copies([frame.image for frame in frames], cases.videos.tolist(), test)
    for name, side in (("training", ~test), ("test", test)):
        if not any(mask_of(f).any() for f, here in zip(frames, side, strict=True) if here):
            raise UserError(
                f"the {name} set ({side.sum()} frames) shows no lesion: add {name} videos with "
                "lesions or check the masks."
            )
    return cases


def _parts(data: ConfigDict) -> dict[str, Frames]:
    """{"train": ..., "test": ...} where the data fix the split, else {"all": ...}."""
    if data.tfds:
        from medtune_jax.datasets import store  # imports TFDS, which takes seconds

        return store.load_parts(data.tfds, data.dir)
    kind, _, place = data.dir.partition(":")
    if not data.dir or kind == PHANTOM:
        positives = (data.phantom.videos + 1) // 2
        videos = kept_videos(data.phantom, positives, place=Path(place) if place else None)
        return {"all": plain.read(videos)}

    def read(root: Path) -> FileFrames:
        return FileFrames(on_ground(folder(root), data.mask_background))

    return dict(plain.parts(Path(data.dir), read))


def folder(
    root: Path, seconds: float | None = 5.0, bad: list[str] | None = None
) -> Sequence[FrameFile]:
    """Frames with masks: two folders of images, video files beside their masks, or one folder per video.

    seconds, bad: of video files without masks, as `plain.read`.
    """
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return layouts.paired(root)
    films = root.is_dir() and any(p.suffix.lower() in VIDEO_SUFFIXES for p in entries(root))
    if films and (bad is None or (root / "masks").is_dir()):
        return layouts.masked_videos(root, _FILMED)
    return plain.read(root, seconds, bad).files


def _evenly(count: int, most: int, total: int) -> np.ndarray:
    """Which of `count` frames to take, so that `most` of all `total` are taken (0: all)."""
    wanted = count if not most or most >= total else max(1, round(most * count / total))
    return np.unique(np.linspace(0, count - 1, wanted).astype(int))


def _read(frames: Frames, chosen: np.ndarray, longest_side: int) -> list[Frame]:
    def one(index: int) -> Frame:
        frame = frames[int(index)]
        mask_of(frame)  # a study needs the truth of every frame
        return shrunk(frame, longest_side)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(reported(pool.map(one, chosen), len(chosen), "reading frames"))


def shrunk(frame: Frame, longest_side: int) -> Frame:
    """The frame at no more than `longest_side` pixels: patches are small, and all frames are held in memory."""
    height, width = frame.image.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return frame
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(frame.image).resize(size, Image.Resampling.BOX)
    if frame.mask is None:
        return replace(frame, image=np.asarray(image))
    small = Image.fromarray(frame.mask).resize(size, Image.Resampling.NEAREST)
    return replace(frame, image=np.asarray(image), mask=np.asarray(small))


def _drawn_split(frames: Sequence[Frame], data: ConfigDict) -> np.ndarray:
    """A test set of whole videos, with and without lesions in proportion."""
    positive = np.array([mask_of(frame).any() for frame in frames])
    videos = np.array([frame.video for frame in frames])
    if len(np.unique(videos)) < 2:
        raise UserError(
            f"{data.dir} holds one video: a study needs several, some to learn from and some to test on."
        )
    groups = united([frame.image for frame in frames], videos.tolist())
    return test_split(positive, groups, data.test_fraction, data.split_seed)
