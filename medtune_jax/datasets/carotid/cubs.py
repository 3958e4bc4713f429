"""TFDS builder of CUBS, carotid ultrasound with intima-media contours, and the reader of what it made.

Images are kept whole; a region is cut when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from medtune_jax.datasets.carotid.files import cubs_experts, cubs_images
from medtune_jax.datasets.carotid.roi import Roi, crop_around
from medtune_jax.datasets.manual import ManualDataset, png, text
from medtune_jax.errors import UserError


class Cubs(ManualDataset, skip_registration=True):  # type: ignore[call-arg]
    """CUBS: 2,176 carotid ultrasound images of 1,088 subjects with LI and MA by several experts."""

    layout = (
        "IMAGES/clin_NNNN_L.tiff, a folder an expert with ID-LI.txt and ID-MA.txt, CF/ID_CF.txt"
    )
    licence = "see the page of the data set; cite the publication"
    homepage = "https://biolab.polito.it/recent-publications/carotid-ultrasound-boundary-study-cubs-an-open-multicenter-analysis-of-computerized-intima-media-thickness-measurement-systems-and-their-clinical-impact/"
    citation = (
        "Meiburger et al., Carotid Ultrasound Boundary Study (CUBS), Ultrasound Med. Biol. 47 "
        "(2021) 2442-2455."
    )

    def features(self) -> dict[str, Any]:
        """li, ma: a row a column of the image in pixels, NaN where untraced. mm_per_pixel: NaN if unknown."""
        rows = tfds.features.Tensor(shape=(None,), dtype=np.float32)
        return {
            "image": tfds.features.Image(shape=(None, None, 1)),
            "li": rows,
            "ma": rows,
            "mm_per_pixel": tfds.features.Scalar(dtype=np.float32),
            "subject": tfds.features.Text(),
            "name": tfds.features.Text(),
            "expert": tfds.features.Text(),
        }

    def scan(self, root: Path) -> dict[str, list[tuple[Path, str]]]:
        experts = [(root, folder.name) for folder in cubs_experts(root)]
        if not experts:
            raise UserError(f"{root} holds no profiles (ID-LI.txt); expected {self.layout}.")
        return {"train": experts}

    def records(self, items: list[tuple[Path, str]]) -> Iterator[dict[str, Any]]:
        """One record an expert and image."""
        for root, expert in items:
            for roi in cubs_images(root, expert):
                yield {"expert": expert, **_record(roi)}


def read_prepared(data_dir: Path | str, expert: str | None = None, margin: int = 24) -> list[Roi]:
    """The regions of a prepared CUBS, as `read_cubs` gives them from the downloaded folder.

    Raises UserError when it is not prepared there, or several experts leave a choice.
    """
    try:
        builder = tfds.core.read_only_builder.builder_from_files("cubs", data_dir=str(data_dir))
    except tfds.core.DatasetNotFoundError:
        raise UserError(
            f"{data_dir}: CUBS is not prepared there; prepare it first (medtune data prepare cubs "
            "--dir FOLDER --output DIR)."
        ) from None
    records = list(builder.as_data_source("train"))
    experts = sorted({text(record["expert"]) for record in records})
    chosen = [name for name in experts if expert is None or name == expert]
    if len(chosen) != 1:
        raise UserError(f"{data_dir}: CUBS has the experts {', '.join(experts)}; name one of them.")
    return [
        crop_around(_roi(record), margin)
        for record in records
        if text(record["expert"]) == chosen[0]
    ]


def _record(roi: Roi) -> dict[str, Any]:
    return {
        "image": png(roi.image),
        "li": roi.li.astype(np.float32),
        "ma": roi.ma.astype(np.float32),
        "mm_per_pixel": np.float32(np.nan if roi.mm_per_pixel is None else roi.mm_per_pixel),
        "subject": roi.subject,
        "name": roi.name,
    }


def _roi(record: dict[str, Any]) -> Roi:
    scale = float(record["mm_per_pixel"])
    return Roi(
        np.asarray(record["image"])[..., 0],
        np.asarray(record["li"], float),
        np.asarray(record["ma"], float),
        None if np.isnan(scale) else scale,
        text(record["subject"]),
        text(record["name"]),
    )
