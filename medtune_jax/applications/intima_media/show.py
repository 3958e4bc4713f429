"""A look at regions of the carotid wall, with their experts' contours."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from medtune_jax.applications.intima_media.overlay import overlay
from medtune_jax.datasets.carotid.files import read_cubs, read_plain
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.datasets.sheet import captioned
from medtune_jax.folders import files_below

_SHOWN, _ACROSS = 12, 3


def show(directory: Path) -> Image.Image | None:
    """The first regions of a folder with an expert's contours, LI yellow and MA blue.

    The folder is a plain layout or CUBS of one expert (see `datasets.carotid`); None for any other.
    """
    names = [path.name for path in files_below(directory)]
    if any(name.endswith("-LI.txt") for name in names):
        rois = read_cubs(directory)
    elif any(name.endswith("LI.csv") for name in names):
        rois = read_plain(directory)
    else:
        return None
    shown = rois[:_SHOWN]
    pictures = [overlay(roi.image, roi.li, roi.ma) for roi in shown]
    return captioned(pictures, [_caption(roi) for roi in shown], _ACROSS)


def _caption(roi: Roi) -> tuple[str, str]:
    scale = "uncalibrated" if roi.mm_per_pixel is None else f"{roi.mm_per_pixel:.4f} mm per pixel"
    return f"{roi.name} of {roi.subject}", scale
