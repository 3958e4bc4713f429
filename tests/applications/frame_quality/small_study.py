"""Small videos of sharp and smeared frames, and a config that reads them."""

import runpy
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from PIL import Image

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def config(folder, **changes):
    made = runpy.run_path(str(CONFIGS / "frame_quality.py"))["get_config"]("small")
    made.data.dir, made.data.crops = str(folder), 3
    made.data.test_crops, made.data.frame_height = 3, 0
    made.sweep.fractions, made.sweep.seeds = "1.0", 1
    made.update_from_flattened_dict(changes)
    return made


def write_frame(path, sharp, seed):
    rng = np.random.default_rng(seed)
    noise = ndi.gaussian_filter(rng.normal(size=(48, 64, 3)), (0.5 if sharp else 4, 0.5, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = 120 + noise * 40 / noise.std()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def write_videos(root, videos, frames=4, seed=0):
    """quality.csv and folders of frames, sharp and smeared in turn."""
    rows = ["video,frame,quality"]
    for v, video in enumerate(videos):
        for k in range(frames):
            write_frame(root / video / f"{k}.png", k % 2 == 0, 100 * seed + 10 * v + k)
            rows.append(f"{video},{k},{1 - k % 2}")
    (root / "quality.csv").write_text("\n".join(rows) + "\n")
    return root
