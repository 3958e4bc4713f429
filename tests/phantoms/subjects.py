"""Phantom subjects on disk, in the layout of the carotid reader."""

from pathlib import Path

from skimage.io import imsave

from medtune_jax.paths import csv_bytes
from medtune_jax.phantoms.ultrasound import generate


def write_subjects(directory: Path, subjects: int, rois: int = 3, seed: int = 0) -> Path:
    """DIR/SUBJECT/NAME.png, NAME.LI.csv and NAME.MA.csv (x, y in pixels), and DIR/calibration.csv."""
    calibration = []
    for index in range(subjects):
        folder = directory / f"subject{index:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, roi in enumerate(generate(index, rois, seed)):
            image = folder / f"roi{number}.png"
            imsave(image, roi.image, check_contrast=False)
            for interface, rows in (("LI", roi.li), ("MA", roi.ma)):
                points = ((x, f"{y:.4f}") for x, y in enumerate(rows))
                image.with_suffix(f".{interface}.csv").write_bytes(csv_bytes([("x", "y"), *points]))
            calibration.append((f"{folder.name}/{image.name}", f"{roi.mm_per_pixel:.6f}"))
    table = csv_bytes([("image", "mm_per_pixel"), *calibration])
    (directory / "calibration.csv").write_bytes(table)
    return directory
