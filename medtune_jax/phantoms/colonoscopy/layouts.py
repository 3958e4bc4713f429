"""Write colonoscopy phantoms in the layouts the applications read, once, in parallel."""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from medtune_jax.errors import UserError
from medtune_jax.paths import csv_bytes, user_cache
from medtune_jax.phantoms.colonoscopy.video import INFORMATIVE, video
from medtune_jax.progress import parallel, reported, say

VERSION = 1  # raise when the same parameters give other pictures, so that old copies are made anew
RECORD = "phantom.json"  # written last: a directory that has it is complete
Row = tuple[object, ...]


def write_image_folder(
    directory: str | Path,
    videos: int = 12,
    frames: int = 40,
    size: tuple[int, int] = (160, 192),
    seed: int = 0,
) -> Path:
    """Frame-quality data: images/VIDEO_FRAME.png and labels.csv with columns image,label,patient.

    label: informative or non_informative, half of each video's frames each; patient: the video.
    Returns `directory`; a complete one of the same parameters is returned untouched, an interrupted
    one is made anew. Raises UserError if `directory` holds anything else.
    """
    target = Path(directory)
    parameters = {"kind": "image_folder", "videos": videos, "frames": frames, "size": list(size)}
    tasks = [(f"video{k:02d}", _seed(seed, k), k % 3) for k in range(videos)]
    write = partial(_write_frames, target, frames=frames, size=size)
    table = ("labels.csv", ("image", "label", "patient"))
    return _write_once(target, parameters | {"seed": seed}, write, tasks, table)


def write_videos(
    directory: str | Path,
    positives: int = 20,
    negatives: int = 20,
    frames: int = 473,
    size: tuple[int, int] = (288, 384),
    seed: int = 0,
    defect_rate: float = 0.0,
) -> Path:
    """Polyp data: VIDEO/FRAME.png, VIDEO/masks/FRAME.png (0 or 255) and quality.csv.

    quality.csv has columns video,frame,quality (1 informative, 0 not). Every frame has a mask,
    empty where no polyp is seen; positive videos have one or two polyps that come into view and
    leave it. The defaults make a set of the paper's size (40 videos, 18,920 frames).
    Returns `directory`; a complete one of the same parameters is returned untouched, an interrupted
    one is made anew. Raises UserError if `directory` holds anything else.
    """
    target = Path(directory)
    parameters = {
        "kind": "videos", "positives": positives, "negatives": negatives, "frames": frames,
        "size": list(size), "seed": seed, "defect_rate": defect_rate,
    }  # fmt: skip
    tasks = [(f"positive{k:02d}", _seed(seed, k), 1 + k % 2) for k in range(positives)] + [
        (f"negative{k:02d}", _seed(seed, positives + k), 0) for k in range(negatives)
    ]
    write = partial(_write_video, target, frames=frames, size=size, defect_rate=defect_rate)
    table = ("quality.csv", ("video", "frame", "quality"))
    return _write_once(target, parameters, write, tasks, table)


def kept_videos(
    phantom: Mapping[str, int],
    positives: int,
    defect_rate: float = 0.0,
    place: Path | None = None,
) -> Path:
    """`write_videos` with an application's settings (videos, frames, height, width, seed), `positives` of them.

    In `place`, or in the user's cache under a name made of all that decides the pictures.
    """
    videos, frames, height, width, seed = (
        phantom[name] for name in ("videos", "frames", "height", "width", "seed")
    )
    parts = (videos, positives, frames, height, width, seed, defect_rate, f"v{VERSION}")
    place = place or user_cache() / "phantoms" / "-".join(map(str, ("videos", *parts)))
    if not (place / RECORD).is_file():
        say(f"generating {videos} videos of {frames} frames in {place}")
    negatives = videos - positives
    return write_videos(place, positives, negatives, frames, (height, width), seed, defect_rate)


def _seed(seed: int, k: int) -> int:
    """The seed of video `k`: independent between videos and between sets."""
    return int(np.random.SeedSequence([seed, k]).generate_state(1)[0])


def _write_frames(
    target: Path, task: tuple[str, int, int], frames: int, size: tuple[int, int]
) -> list[Row]:
    name, seed, polyps = task
    folder = target / "images"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for k, frame in enumerate(video(seed, frames, size, polyps, defect_rate=0.5)):
        image = f"images/{name}_{k:03d}.png"
        _save(frame.image, target / image)
        rows.append((image, frame.quality, name))
    return rows


def _write_video(
    target: Path,
    task: tuple[str, int, int],
    frames: int,
    size: tuple[int, int],
    defect_rate: float,
) -> list[Row]:
    name, seed, polyps = task
    masks = target / name / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for k, frame in enumerate(video(seed, frames, size, polyps, defect_rate)):
        file = f"{k:04d}.png"
        _save(frame.image, target / name / file)
        _save(frame.mask.astype(np.uint8) * 255, masks / file)
        rows.append((name, f"{k:04d}", int(frame.quality == INFORMATIVE)))
    return rows


def _save(pixels: np.ndarray, file: Path) -> None:
    Image.fromarray(pixels).save(file, compress_level=1)


def _write_once(
    target: Path,
    parameters: dict[str, object],
    write: Callable[[tuple[str, int, int]], list[Row]],
    tasks: list[tuple[str, int, int]],
    table: tuple[str, tuple[str, ...]],
) -> Path:
    """Run `write` on every task in parallel, then the table, then the record of completeness.

    While the work goes on the record bears another name, so an interrupted directory is known as
    ours and made anew.
    """
    record, begun = target / RECORD, target / f"{RECORD}.begun"
    wanted = json.dumps(parameters | {"version": VERSION}, indent=1)
    if record.exists() and record.read_text() == wanted:
        return target
    if target.exists() and any(target.iterdir()):
        if not begun.exists() or begun.read_text() != wanted:
            raise UserError(
                f"{target} already holds other files (no phantom of these parameters): give an "
                "empty directory or delete it"
            )
        shutil.rmtree(target)
    target.mkdir(parents=True, exist_ok=True)
    begun.write_text(wanted)
    written = parallel(write, [(task,) for task in tasks], batch=1)
    rows = [row for rows in reported(written, len(tasks), "phantoms: videos") for row in rows]
    (target / table[0]).write_bytes(csv_bytes([table[1], *rows]))
    begun.rename(record)
    return target
