"""Small files in each public layout."""

from pathlib import Path

import av
import numpy as np
from PIL import Image


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def disc(height: int = 24, width: int = 32, radius: float = 6.0) -> np.ndarray:
    row, col = np.mgrid[:height, :width]
    return np.hypot(row - height / 2, col - width / 2) < radius


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array.astype(np.uint8) * 255 if array.dtype == bool else array
    Image.fromarray(array).save(path, quality=95)
    return path


def save_video(path: Path, levels: list[int], rate: int = 10, gop: int = 12) -> Path:
    """A video whose k-th frame is a flat gray of levels[k]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 24, "yuv420p", gop
        for level in levels:
            flat = np.full((24, 32, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(flat, format="rgb24")))
        container.mux(stream.encode())
    return path
