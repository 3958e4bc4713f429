"""The same study from one set of X-rays in five kinds of files: do the figures agree?

    python scripts/formats.py --data DIR --count 500 --output OUT

DIR: an image folder with labels.csv, of 8-bit gray. Each picture is made half as wide and high by adding blocks of
2 x 2 pixels, so that its 12 bits are real, and written as 12-bit DICOM without a window, 16-bit PNG, 16-bit TIFF,
8-bit PNG from its darkest to its brightest value, and 8-bit PNG cut to the upper 8 of the 12 bits. A study of each kind
is run; printed are the largest and the mean difference of its pixels, as the network gets them, from those of DICOM,
and the AUCs.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from medtune_jax.applications.image_folder.reader import read_image
from medtune_jax.study import default_config, report, sweep


def write_dicom(path: Path, values: np.ndarray) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.stem])
    made = pydicom.Dataset()
    made.file_meta = meta
    made.SOPClassUID, made.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    made.Rows, made.Columns = values.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = values.astype("<u2").tobytes()
    made.save_as(path, enforce_file_format=True)


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    return np.rint((values - low) * (255 / max(high - low, 1))).astype(np.uint8)


Writer = Callable[[Path, np.ndarray], None]
KINDS: dict[str, tuple[str, Writer]] = {
    "12-bit DICOM": ("dcm", write_dicom),
    "16-bit PNG": ("png", lambda path, v: Image.fromarray(v.astype(np.uint16)).save(path)),
    "16-bit TIFF": ("tif", lambda path, v: tifffile.imwrite(path, v.astype(np.uint16))),
    "8-bit PNG, stretched": ("png", lambda path, v: Image.fromarray(stretched(v)).save(path)),
    "8-bit PNG, cut": (
        "png",
        lambda path, v: Image.fromarray((v >> 4).astype(np.uint8)).save(path),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with (options.data / "labels.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    rows = rows[:: max(1, len(rows) // options.count)]
    first: np.ndarray | None = None
    for number, (kind, (suffix, write)) in enumerate(KINDS.items()):
        folder = options.output / f"data{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        lines = ["image,label,patient"]
        for n, row in enumerate(rows):
            write(folder / f"{n:05}.{suffix}", _twelve_bits(options.data / row["image"]))
            lines.append(f"{n:05}.{suffix},{row['label']},{row['patient']}")
        (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        found = _aucs(folder, options.output / f"study{number}")
        read = [read_image(path, _SIZE) for path in sorted(folder.glob(f"*.{suffix}"))]
        pixels = np.stack(read).astype(np.int16)
        first = pixels if first is None else first
        apart = np.abs(pixels - first)
        aucs = ", ".join(f"{name} {auc:.4f}" for name, auc in found.items())
        print(
            f"{kind:22} pixels differ by {apart.max():3} at most, {apart.mean():.3f} in the mean; {aucs}"
        )


_SIZE = 67


def _twelve_bits(path: Path) -> np.ndarray:
    """int [H/2, W/2], 0..4080."""
    values = np.asarray(Image.open(path).convert("L")).astype(int)
    height, width = values.shape[0] // 2, values.shape[1] // 2
    blocks = values[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return 4 * blocks.sum((1, 3))


def _aucs(data: Path, output: Path) -> dict[str, float]:
    """The mean over seeds of each depth's test AUC."""
    config = default_config()
    config.data.dir = str(data)
    config.network, config.image_size = "squeezenet", _SIZE
    config.sweep.depths, config.sweep.fractions, config.sweep.seeds = "conv10,fire9", "1.0", 2
    config.training.epochs = 10
    sweep(config, output, quiet=True)
    report(output)
    found: dict[str, list[float]] = {}
    with (output / "results.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["depth"], []).append(float(row["test"]))
    return {depth: float(np.mean(values)) for depth, values in found.items()}


if __name__ == "__main__":
    main()
