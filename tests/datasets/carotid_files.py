"""Generated regions of the carotid wall, written in the plain layout."""

from pathlib import Path

import numpy as np
from PIL import Image

from medtune_jax.phantoms.ultrasound import generate


def write_subjects(directory: Path, subjects: int, rois: int, seed: int) -> Path:
    """SUBJECT/NAME.png with NAME.LI.csv, NAME.MA.csv, and calibration.csv; returns the directory."""
    scales = ["image,mm_per_pixel"]
    for index in range(subjects):
        folder = directory / f"subject{index:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, roi in enumerate(generate(index, rois, seed)):
            image = folder / f"roi{number}.png"
            Image.fromarray(roi.image).save(image)
            for which, rows in (("LI", roi.li), ("MA", roi.ma)):
                points = np.stack([np.arange(len(rows)), rows], axis=1)
                path = image.with_suffix(f".{which}.csv")
                np.savetxt(path, points, "%.4f", ",", header="x,y", comments="")
            scales.append(f"{folder.name}/{image.name},{roi.mm_per_pixel:.6f}")
    (directory / "calibration.csv").write_text("\n".join(scales) + "\n")
    return directory
