"""TFDS builders of the public colonoscopy data sets, for folders downloaded by hand.

One base class serves frames with lesion masks, one labelled images; a data set is a subclass that
says where its files lie, under what terms, and whom to cite.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import ExifTags, Image

from medtune_jax.datasets.colonoscopy import layouts, videos
from medtune_jax.datasets.colonoscopy.files import FrameFile, on_ground
from medtune_jax.datasets.frames import Frame, check_classes
from medtune_jax.datasets.manual import ManualDataset
from medtune_jax.pictures import png

_IMAGES = ("images", "Original", "original", "CVC-ColonDB", "ETIS-LaribPolypDB", ".")
_MASKS = ("masks", "Ground Truth", "GroundTruth", "GT", ".")
_KEPT_AS_THEY_ARE = (".png", ".jpg", ".jpeg")


class _FrameSet(ManualDataset, skip_registration=True):  # type: ignore[call-arg]
    """What both kinds of data set share: records of an image, its video and its name."""

    def features(self) -> dict[str, Any]:
        return {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "video": tfds.features.Text(),
            "name": tfds.features.Text(),
        }

    def records(self, items: list[FrameFile]) -> Iterator[dict[str, Any]]:
        # These sets are known to mark lesions on black, also those that fill a frame.
        for file, frame in _decoded(on_ground(items, "black")):
            source = {"image": _encoded(file, frame), "video": frame.video, "name": frame.name}
            yield source | self.truth(frame)

    def truth(self, frame: Frame) -> dict[str, Any]:
        """What a record holds beside image, video and name."""
        raise NotImplementedError


class MaskedFrames(_FrameSet, skip_registration=True):  # type: ignore[call-arg]
    """Frames with lesion masks. masked: False where the truth of a frame is unknown."""

    def features(self) -> dict[str, Any]:
        return super().features() | {
            "mask": tfds.features.Image(shape=(None, None, 1)),
            "masked": tfds.features.Scalar(dtype=np.bool_),
        }

    def truth(self, frame: Frame) -> dict[str, Any]:
        mask = np.zeros(frame.image.shape[:2], bool) if frame.mask is None else frame.mask
        return {
            "mask": io.BytesIO(png(mask.astype(np.uint8) * 255)),
            "masked": frame.mask is not None,
        }

    def scan(self, root: Path) -> dict[str, list[FrameFile]]:
        return {"train": layouts.masked_images(root, _IMAGES, _MASKS, self.layout)}


class LabelledImages(_FrameSet, skip_registration=True):  # type: ignore[call-arg]
    """Images of named classes."""

    classes: ClassVar[tuple[str, ...]]
    folders: ClassVar[tuple[str, ...]]
    video_pattern: ClassVar[str | None] = None

    def features(self) -> dict[str, Any]:
        return super().features() | {"label": tfds.features.ClassLabel(names=list(self.classes))}

    def truth(self, frame: Frame) -> dict[str, Any]:
        return {"label": frame.label}

    def scan(self, root: Path) -> dict[str, list[FrameFile]]:
        base = next((root / f for f in self.folders if (root / f).is_dir()), root)
        files = layouts.class_folders(base, self.classes, self.video_pattern, self.layout)
        check_classes((file.label for file in files), self.classes, str(base))
        return {"train": files}


class CvcClinicdb(MaskedFrames):
    """CVC-ClinicDB: 612 colonoscopy frames (384 x 288) with polyp masks, from 29 sequences."""

    layout = (
        "Original/N.tif (or png), Ground Truth/N.tif, and, if known, a csv with frame and sequence"
    )
    licence = "research use; cite the publication"
    homepage = "https://polyp.grand-challenge.org/CVCClinicDB/"
    citation = "Bernal et al., WM-DOVA maps, Comput. Med. Imaging Graph. 43 (2015) 99-111."


class CvcColondb(MaskedFrames):
    """CVC-ColonDB: 300 (in some copies 380) frames with polyp masks, from 15 sequences."""

    layout = "images/N.png with masks/N.png, or N.bmp with pN.bmp in one folder"
    licence = "research use; cite the publication"
    homepage = "http://mv.cvc.uab.es/projects/colon-qa/cvccolondb"
    citation = (
        "Bernal, Sanchez, Vilarino, polyp appearance model, Pattern Recognit. 45 (2012) 3166-3182."
    )


class EtisLarib(MaskedFrames):
    """ETIS-Larib: 196 colonoscopy frames (1225 x 966) with polyp masks."""

    layout = "ETIS-LaribPolypDB/N.tif with Ground Truth/pN.tif, or images/N.png with masks/N.png"
    licence = "research use; cite the publication"
    homepage = "https://polyp.grand-challenge.org/EtisLarib/"
    citation = "Silva et al., embedded detection of polyps, Int. J. CARS 9 (2014) 283-293."


class KvasirSeg(MaskedFrames):
    """Kvasir-SEG: 1,000 polyp images with masks; patients are not told apart."""

    layout = "images/ID.jpg with masks/ID.jpg (or png)"
    licence = "research and educational use; cite the publication"
    homepage = "https://datasets.simula.no/kvasir-seg/"
    citation = (
        "Jha et al., Kvasir-SEG: a segmented polyp dataset, MultiMedia Modeling (2020) 451-462."
    )


class AsuMayo(MaskedFrames):
    """ASU-Mayo Clinic polyp database: 20 training and 18-20 test colonoscopy videos."""

    layout = (
        "train/ and test/, each with VIDEO.wmv and masks/VIDEO/N.png, or Frame/VIDEO/ and GT/VIDEO/"
    )
    licence = "on request from its owners; cite the publication"
    homepage = "https://polyp.grand-challenge.org/AsuMayo/"
    citation = "Tajbakhsh, Gurudu, Liang, IEEE Trans. Med. Imaging 35 (2016) 630-644."

    def scan(self, root: Path) -> dict[str, list[FrameFile]]:
        names = ("train", "Train", "test", "Test")
        folders = {name.lower(): root / name for name in names if (root / name).is_dir()}
        if not folders:
            return {"train": layouts.masked_videos(root, self.layout)}
        # The videos of both splits are numbered from 1: the split is part of their identity.
        return {
            split: [
                replace(file, video=f"{split}/{file.video}")
                for file in layouts.masked_videos(path, self.layout)
            ]
            for split, path in folders.items()
        }


class Nerthus(LabelledImages):
    """Nerthus: 5,525 frames of 21 colonoscopy videos with Boston bowel preparation scores 0-3."""

    layout = "nerthus-dataset-frames/SCORE/bowel_V_*.jpg with SCORE 0, 1, 2, 3 and V the video"
    licence = "research and educational use; cite the publication"
    homepage = "https://datasets.simula.no/nerthus/"
    citation = "Pogorelov et al., Nerthus, ACM Multimedia Systems (2017) 170-174."
    classes = ("0", "1", "2", "3")
    informative = ("2", "3")
    folders = ("nerthus-dataset-frames/nerthus-dataset-frames", "nerthus-dataset-frames", ".")
    video_pattern = r"bowel_\d+"


class HyperKvasirQuality(LabelledImages):
    """HyperKvasir: the images on the quality of mucosal views; videos are not told apart."""

    layout = (
        "lower-gi-tract/quality-of-mucosal-views/CLASS/ID.jpg with CLASS bbps-0-1, bbps-2-3, "
        "impacted-stool"
    )
    licence = "CC BY 4.0"
    homepage = "https://datasets.simula.no/hyper-kvasir/"
    citation = "Borgli et al., HyperKvasir, Scientific Data 7 (2020) 283."
    classes = ("bbps-0-1", "bbps-2-3", "impacted-stool")
    informative = ("bbps-2-3",)
    folders = (
        "labeled-images/lower-gi-tract/quality-of-mucosal-views",
        "lower-gi-tract/quality-of-mucosal-views",
        "quality-of-mucosal-views",
        ".",
    )


DATASETS: dict[str, type[ManualDataset]] = {
    builder.name: builder
    for builder in (
        CvcClinicdb, CvcColondb, EtisLarib, KvasirSeg, AsuMayo, Nerthus, HyperKvasirQuality
    )
}  # fmt: skip


def _decoded(files: list[FrameFile]) -> Iterator[tuple[FrameFile, Frame]]:
    """Each file with its frame, checked; a video is decoded once, in order."""
    stream: Iterator[tuple[float, np.ndarray]] = iter(())
    path = None
    for file in files:
        if file.seconds is None:
            yield file, file.read()
            continue
        if file.image != path:
            path, stream = file.image, videos.frames(file.image)
        yield file, file.frame(next(stream)[1])


def _encoded(file: FrameFile, frame: Frame) -> io.BytesIO:
    """The image as PNG, or as the bytes of its file where those are an upright, opaque PNG or JPEG already."""
    return io.BytesIO(file.image.read_bytes() if _can_be_kept(file.image) else png(frame.image))


def _can_be_kept(path: Path) -> bool:
    """Whether a decoder that knows nothing of orientation and transparency shows the picture as we do."""
    if path.suffix.lower() not in _KEPT_AS_THEY_ARE:
        return False
    with Image.open(path) as image:
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return upright and not image.has_transparency_data
