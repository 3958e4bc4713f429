"""Small polyp studies on frames with shaded balls."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from medtune_jax.applications.polyps.cases import lesions
from medtune_jax.applications.polyps.detector import Candidate
from tests.applications.polyps.blobs import blob_frame

ROOT = Path(__file__).resolve().parents[3]


def polyp_config(directory="", **data):
    """configs/polyps.py:small on a folder, with fields of config.data changed."""
    spec = importlib.util.spec_from_file_location("polyps_config", ROOT / "configs" / "polyps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("small")
    config.data.dir = str(directory)
    config.data.update(data)
    return config


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
    Image.fromarray(pixels).save(path)
    return path


def write_videos(root: Path, videos: int, frames: int = 3, seed: int = 0, size=(96, 120)) -> Path:
    """VIDEO/FRAME.png and VIDEO/masks/FRAME.png; every third video is without lesions."""
    rng = np.random.default_rng(seed)
    for video in range(videos):
        for frame in range(frames):
            image, mask = blob_frame(rng, video % 3 > 0, *size)
            save(root / f"v{video:02d}" / f"{frame}.png", image)
            save(root / f"v{video:02d}" / "masks" / f"{frame}.png", mask)
    return root


def perfect(cases, data):
    """One candidate in each lesion and one in the corner; the last lesion's frame has none at all."""
    last = np.flatnonzero(cases.test & [frame.mask.any() for frame in cases.frames])[-1]
    found = []
    for index, frame in enumerate(cases.frames):
        numbered, count = lesions(frame.mask)
        marks = [Candidate(2.0, 2.0, 20.0, 20.0, 0.25)]
        for number in range(count):
            row, col = np.argwhere(numbered == number).mean(0)
            marks.insert(0, Candidate(row, col, 40.0, 30.0, 0.75))
        found.append([] if index == last else marks)
    return found
