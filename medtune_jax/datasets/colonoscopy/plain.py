"""The user's own colonoscopy data: one folder a video.

    root/
      VIDEO/FRAME.png           frames, any image format
      VIDEO/masks/FRAME.png     lesion masks; a frame that has none in this folder has no lesion
      VIDEO.mp4                 or a video file: a frame every n seconds, named "0s", "5s", ...
      quality.csv               video,frame,quality[,lesion]

Without a masks folder the truth is unknown. quality is 1 (informative) or 0; an empty frame cell
speaks of the whole video; lesion (1 or 0, optional) declares what the mask must show. If root holds
the folders train and test, each is laid out this way (`parts`).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from medtune_jax.datasets.colonoscopy import videos
from medtune_jax.datasets.colonoscopy.files import FileFrames, FrameFile
from medtune_jax.datasets.split_names import TEST, TRAIN, VAL, split_of_folder
from medtune_jax.datasets.tables import read_table
from medtune_jax.errors import UserError
from medtune_jax.folders import entries
from medtune_jax.images import SUFFIXES, images_in
from medtune_jax.progress import say
from medtune_jax.words import count

LAYOUT = (
    "VIDEO/FRAME.png, VIDEO/masks/FRAME.png, video files VIDEO.mp4, and quality.csv with the "
    "columns video,frame,quality"
)


def read(
    root: str | Path, seconds_between_frames: float | None = 5.0, bad: list[str] | None = None
) -> FileFrames:
    """The frames of a folder laid out as above, in order of video and name; none is decoded yet.

    seconds_between_frames: of video files; None: all frames. bad: a list that takes what is wrong with videos that
    cannot be read; None: it is raised.

    Raises UserError for a folder that is missing or holds no frame, a mask without its frame, a
    video that is both a folder and a file, and a quality.csv that is malformed or speaks of
    unknown frames.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected {LAYOUT}.")
    files: list[FrameFile] = []
    for entry in entries(root):
        if entry.is_dir():
            files += folder_frames(entry)
        elif entry.suffix.lower() in videos.VIDEO_SUFFIXES:
            try:
                files += video_frames(entry, seconds_between_frames)
            except UserError as error:
                if bad is None:
                    raise
                bad.append(str(error))
    if not files and not bad:
        raise UserError(f"{root}: no frames found; expected {LAYOUT}.")
    table = next((path for path in entries(root) if path.name.lower() == "quality.csv"), None)
    return FileFrames(declared(files, table) if table else files)


def parts(root: Path, read: Callable[[Path], FileFrames]) -> dict[str, FileFrames]:
    """{"train": ..., "test": ...} of a folder that holds these two by any name of theirs, else {"all": ...}.

    read: how a folder is read. Other folders beside them are passed over, said.
    """
    inside = [path for path in entries(root) if path.is_dir()] if root.is_dir() else []
    folders: dict[str, list[Path]] = {}
    for path in inside:
        folders.setdefault(split_of_folder(path.name), []).append(path)
    sides = folders.keys() - {""}
    if len(sides) < 2 or TRAIN not in sides:
        return {"all": read(root)}
    if other := folders.get("", []):
        names = ", ".join(path.name for path in other[:3])
        say(
            f"data: passed over {count(len(other), 'folders')} beside those of the splits ({names})"
        )
    # As of image folders: val joins training, and is the test set where there is no other.
    joins = TRAIN if TEST in folders else TEST
    if VAL in folders:
        to = (
            "joins the training set" if joins == TRAIN else "is the test set, for there is no other"
        )
        say(f"data: the given validation set ({', '.join(p.name for p in folders[VAL])}) {to}")
        folders.setdefault(joins, []).extend(folders.pop(VAL))
    return {
        side: FileFrames([file for folder in folders[side] for file in read(folder).files])
        for side in (TRAIN, TEST)
    }


def by_stem(paths: list[Path]) -> dict[str, Path]:
    """{name without suffix: path}; raises UserError when two files differ by their suffix only."""
    table: dict[str, Path] = {}
    for path in paths:
        if path.stem in table:
            raise UserError(f"{path}: {table[path.stem].name} has the same name; keep one of them.")
        table[path.stem] = path
    return table


def folder_frames(folder: Path) -> list[FrameFile]:
    """The images of a folder, one video, with its masks/ where there are any."""
    frames = by_stem(images_in(folder))
    mask_folder = folder / "masks"
    masks = by_stem(images_in(mask_folder)) if mask_folder.is_dir() else {}
    for name in sorted(set(masks) - set(frames)):
        raise UserError(f"{masks[name]}: no frame {name!r} in {folder}; remove the mask or add it.")
    return [
        FrameFile(
            folder.name,
            name,
            path,
            mask=masks.get(name),
            no_lesion=mask_folder.is_dir() and name not in masks,
        )
        for name, path in frames.items()
    ]


def video_frames(path: Path, every: float | None) -> list[FrameFile]:
    """A frame of a video file every so many seconds, or (None) all of them."""
    if path.with_suffix("").is_dir():
        raise UserError(f"{path}: there is also a folder {path.stem!r}; keep one of the two.")
    return [
        FrameFile(path.stem, f"{seconds:g}s", path, seconds=seconds)
        for seconds in (videos.times(path) if every is None else videos.sample_times(path, every))
    ]


def declared(files: list[FrameFile], table: Path) -> list[FrameFile]:
    """The files with what quality.csv declares of them."""
    of_video: dict[str, list[int]] = {}
    of_frame: dict[tuple[str, str], int] = {}
    for index, file in enumerate(files):
        of_video.setdefault(file.video, []).append(index)
        of_frame[file.video, file.name] = index
    declared = list(files)
    said: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}
    for line, row in read_table(table, ("video", "frame", "quality"), ("lesion",)):
        where, video, frame = f"{table}, line {line}", row["video"], row["frame"]
        stem = Path(frame).stem if frame.lower().endswith(SUFFIXES) else frame
        before, same = said.setdefault((video, stem), (line, row))
        if same != row:
            raise UserError(
                f"{table}, lines {before} and {line} contradict each other on frame {frame!r} of video {video!r}: keep "
                "the right one."
            )
        chosen = [of_frame.get((video, stem), -1)] if frame else of_video.get(video, [-1])
        if -1 in chosen:
            raise UserError(f"{where}: no frame {frame!r} of video {video!r} in {table.parent}.")
        quality, lesion = (_flag(row[column], column, where) for column in ("quality", "lesion"))
        positive = None if lesion is None else bool(lesion)
        for index in chosen:
            declared[index] = replace(declared[index], quality=quality, positive=positive)
    return declared


def _flag(text: str, column: str, where: str) -> int | None:
    if text not in ("", "0", "1"):
        raise UserError(f"{where}: {column} is {text!r}; it must be 1, 0 or empty.")
    return int(text) if text else None
