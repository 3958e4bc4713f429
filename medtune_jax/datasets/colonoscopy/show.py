"""A look at colonoscopy data: frames with their lesions outlined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from medtune_jax.datasets.colonoscopy import layouts, plain
from medtune_jax.datasets.colonoscopy.files import FileFrames, FrameFile, on_ground
from medtune_jax.datasets.colonoscopy.videos import VIDEO_SUFFIXES
from medtune_jax.datasets.sheet import contact_sheet
from medtune_jax.folders import entries


def show(directory: Path) -> Image.Image | None:
    """A contact sheet of images/ with masks/, or of videos in the plain layout, split or not; else None."""
    if (directory / "images").is_dir() and (directory / "masks").is_dir():
        return _sheet(layouts.paired(directory))
    files = [
        replace(file, video=f"{part.name}/{file.video}") if part != directory else file
        for part in (directory, directory / "train", directory / "test")
        if part.is_dir() and _is_plain(part)
        for file in plain.read(part).files
    ]
    return _sheet(files) if files else None


def _sheet(files: list[FrameFile]) -> Image.Image:
    """Masks as they are: of inverted ones a person sees that."""
    return contact_sheet(FileFrames(on_ground(files, "black")))


def _is_plain(directory: Path) -> bool:
    """A folder of frames a video looks like a folder of images a class but for these."""
    return (
        (directory / "quality.csv").is_file()
        or any(directory.glob("*/masks"))
        or any(path.suffix.lower() in VIDEO_SUFFIXES for path in entries(directory))
    )
