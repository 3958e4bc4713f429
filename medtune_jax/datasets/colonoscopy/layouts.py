"""How the public colonoscopy data sets lie on disk once downloaded by hand."""

import re
from pathlib import Path

from medtune_jax.datasets.colonoscopy import videos
from medtune_jax.datasets.colonoscopy.files import FrameFile
from medtune_jax.datasets.colonoscopy.plain import by_stem
from medtune_jax.datasets.tables import columns_of, read_table
from medtune_jax.errors import UserError
from medtune_jax.folders import entries
from medtune_jax.images import images_in

_MASK_PREFIXES = ("", "p")  # CVC-ColonDB and ETIS-Larib name the mask of 7.tif p7.tif


def masked_images(
    root: Path, image_folders: tuple[str, ...], mask_folders: tuple[str, ...], layout: str
) -> list[FrameFile]:
    """Images and masks of equal name in two folders (or one, masks prefixed with p); all positive.

    The folders are the first of the given names that exist in root. A csv file in root that has a
    frame and a sequence column gives the videos; else every frame is its own.
    """
    images = _first_folder(root, image_folders, layout)
    masks = by_stem(images_in(_first_folder(root, mask_folders, layout)))
    sequence = _sequences(root)
    files = []
    for stem, path in sorted(
        by_stem(images_in(images)).items(), key=lambda item: _natural(item[0])
    ):
        mask = next(
            (masks[p + stem] for p in _MASK_PREFIXES if masks.get(p + stem, path) != path), None
        )
        if mask is None and _is_auxiliary(stem):
            continue
        if mask is None:
            raise UserError(f"{path}: no mask {stem!r} in {root}; expected {layout}.")
        files.append(FrameFile(sequence.get(stem, stem), stem, path, mask=mask, positive=True))
    return _not_empty(files, root, layout)


def paired(root: Path) -> list[FrameFile]:
    """images/ with masks/ of equal name, as in Kvasir-SEG."""
    files = masked_images(
        root, ("images",), ("masks",), "images/NAME.jpg with masks/NAME.jpg (or png)"
    )
    used = {file.mask for file in files}
    for mask in images_in(root / "masks"):
        if mask not in used:
            raise UserError(
                f"{mask}: no image {mask.stem!r} in {root / 'images'}; remove the mask or add it."
            )
    return files


def masked_videos(root: Path, layout: str) -> list[FrameFile]:
    """Videos with a folder of mask frames each; masks are matched by their number.

    Two forms: video files VIDEO.wmv with the masks in VIDEO/, masks/VIDEO/ or GT/VIDEO/; or
    extracted frames Frame/VIDEO/*.jpg with the masks in GT/VIDEO/*.png. A video without mask
    folder has unknown truth. Frame numbers count from 1 unless there is a mask number 0.
    """
    _first_folder(root, (".",), layout)
    extracted = root / "Frame"
    if extracted.is_dir():
        folders = [p for p in entries(extracted) if p.is_dir()]
        files = [f for folder in folders for f in _extracted_video(folder, root / "GT")]
    else:
        paths = [p for p in entries(root) if p.suffix.lower() in videos.VIDEO_SUFFIXES]
        files = [f for path in paths for f in _video_file(path)]
    return _not_empty(files, root, layout)


def class_folders(
    root: Path, classes: tuple[str, ...], video: str | None, layout: str
) -> list[FrameFile]:
    """One folder of images a class. video: regular expression of the video id at a name's start."""
    _first_folder(root, classes, layout)
    files = []
    for label in classes:
        folder = _first_folder(root, (label,), layout)
        for path in images_in(folder):
            match = re.match(video, path.stem) if video else None
            if video and not match:
                raise UserError(f"{path}: the name tells no video; expected {layout}.")
            name = match.group() if match else path.stem
            files.append(FrameFile(name, path.stem, path, label=label))
    return _not_empty(files, root, layout)


def _extracted_video(folder: Path, truth: Path) -> list[FrameFile]:
    masks = by_stem(images_in(truth / folder.name)) if (truth / folder.name).is_dir() else None
    return [
        FrameFile(
            folder.name,
            path.stem,
            path,
            mask=(masks or {}).get(path.stem),
            no_lesion=masks is not None and path.stem not in masks,
        )
        for path in images_in(folder)
    ]


def _video_file(path: Path) -> list[FrameFile]:
    parent, name = path.parent, path.stem
    places = (parent / name, parent / "masks" / name, parent / "GT" / name)
    folder = next((place for place in places if place.is_dir()), None)
    masks = {_number(mask): mask for mask in images_in(folder)} if folder else {}
    first = 0 if 0 in masks else 1
    times = [seconds for seconds, _ in videos.frames(path)]
    beyond = [number for number in masks if not first <= number < first + len(times)]
    if beyond:
        raise UserError(
            f"{masks[beyond[0]]}: mask number {beyond[0]}, but {path.name} has {len(times)} frames."
        )
    return [
        FrameFile(
            name,
            f"{number:06d}",
            path,
            seconds=seconds,
            mask=masks.get(number),
            no_lesion=folder is not None and number not in masks,
        )
        for number, seconds in enumerate(times, first)
    ]


def _sequences(root: Path) -> dict[str, str]:
    """{frame: sequence} from the first csv in root that has both columns; {} without one."""
    for table in (path for path in entries(root) if path.suffix.lower() == ".csv"):
        names = columns_of(table)
        frame = next((n for n in names if "frame" in n.lower()), None)
        sequence = next((n for n in names if re.search("sequence|video", n.lower())), None)
        if frame and sequence and frame != sequence:
            rows = read_table(table, (frame, sequence))
            return {Path(row[frame]).stem: f"sequence_{row[sequence]}" for _, row in rows}
    return {}


def _first_folder(root: Path, names: tuple[str, ...], layout: str) -> Path:
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(f"{root / names[0]}: no such folder; expected {layout}.")
    return folder


def _not_empty(files: list[FrameFile], root: Path, layout: str) -> list[FrameFile]:
    if not files:
        raise UserError(f"{root}: no frames found; expected {layout}.")
    return files


def _is_auxiliary(stem: str) -> bool:
    """Masks and contours that CVC-ColonDB keeps beside the frames: p7, s7, c7."""
    return re.fullmatch(r"[psc]\d+", stem) is not None


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.stem)
    if not digits:
        raise UserError(f"{path}: a mask's name must end in the number of its frame.")
    return int(digits[-1])


def _natural(name: str) -> tuple:
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)
    )
