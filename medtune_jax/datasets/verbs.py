"""medtune data: list the public sets, prepare a downloaded one, look at any folder of data.

`show` asks in turn who knows a folder. An application has its say by a module `show.py` in its
folder with a function `show(directory: Path) -> PIL.Image.Image | matplotlib Figure | None`, None
for a folder of another kind.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from medtune_jax.datasets import layouts, plain
from medtune_jax.datasets.catalog import every_builder, find_builder
from medtune_jax.datasets.frames import FileFrames
from medtune_jax.datasets.sheet import contact_sheet
from medtune_jax.datasets.videos import VIDEO_SUFFIXES
from medtune_jax.errors import UserError

USAGE = "list | prepare NAME --dir RAW --output DIR | show NAME_OR_DIR --output sheet.png"
Show = Callable[[Path], Any]


def data_verb(arguments: Sequence[str], directory: str, output: str) -> str:
    """What `medtune data` prints. Raises UserError for anything but the three forms of USAGE."""
    action, names = (arguments[0] if arguments else ""), list(arguments[1:])
    if action == "list" and not names:
        return listing()
    if action == "prepare" and len(names) == 1:
        return _prepare(names[0], directory, output)
    if action == "show" and len(names) == 1:
        return _show(names[0], directory, output)
    raise UserError(f"medtune data takes {USAGE} (got {' '.join(arguments) or 'nothing'})")


def listing() -> str:
    """The public data sets that can be prepared: what they are, their layout and their terms."""
    return "\n".join(
        f"{name}\n    {builder.__doc__}\n    folder: {builder.layout}\n    terms:  {builder.licence}"
        f"\n    from:   {builder.homepage}"
        for name, builder in every_builder().items()
    )


def _prepare(name: str, directory: str, output: str) -> str:
    from medtune_jax.datasets import store

    find_builder(name)
    if not directory or not output:
        raise UserError(
            f"to prepare {name}, give its downloaded folder and where to put it: "
            "--dir RAW --output DIR"
        )
    try:
        with redirect_stdout(io.StringIO()):  # TFDS announces a download there; nothing is fetched
            prepared_in = store.prepare(name, directory, output)
        return f"prepared: {prepared_in}"
    except OSError as error:
        raise UserError(f"cannot prepare {name} in {output}: {error}.") from error


def _show(name: str, directory: str, output: str) -> str:
    path = Path(output)
    if path.suffix.lower() != ".png":
        raise UserError(f"--output is '{output}': name a PNG file, as in --output sheet.png")
    picture = picture_of(_folder(name, directory))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save = picture.save if hasattr(picture, "save") else partial(picture.savefig, dpi=150)
        save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from error
    return f"sheet: {path}"


def _folder(name: str, directory: str) -> Path:
    """NAME_OR_DIR of `medtune data show`: a folder, or a set prepared under --dir."""
    if Path(name).is_dir():
        return Path(name)
    if directory:
        from medtune_jax.datasets import store

        return store.find_prepared(name, directory)
    raise UserError(
        f"there is no folder {name}; for a prepared data set, say where it is: "
        f"medtune data show {Path(name).name} --dir DIR"
    )


def picture_of(directory: Path) -> Any:
    """A PIL image or matplotlib figure of what a folder holds. Raises UserError if nobody knows it."""
    for show in SHOWS:
        picture = show(directory)
        if picture is not None:
            return picture
    raise UserError(
        f"{directory}: this is no data set that medtune knows: give a prepared set, videos "
        f"({plain.LAYOUT}), images/ with masks/, labels.csv, or one folder of images a class."
    )


def prepared(directory: Path) -> Any:
    """A folder that TFDS prepared, with or without the version."""
    found = [*directory.glob("*/dataset_info.json"), *directory.glob("dataset_info.json")]
    if not found:
        return None
    from medtune_jax.datasets import store

    return contact_sheet(store.open_prepared(max(found).parent))


def colonoscopy(directory: Path) -> Any:
    """Frames with masks in two folders, or videos in the plain layout, split or not."""
    if (directory / "images").is_dir() and (directory / "masks").is_dir():
        layout = "images/ID.jpg with masks/ID.jpg"
        return contact_sheet(
            FileFrames(layouts.masked_images(directory, ("images",), ("masks",), layout))
        )
    frames = [
        replace(file, video=f"{part.name}/{file.video}") if part != directory else file
        for part in _plain_parts(directory)
        for file in plain.read(part).files
    ]
    return contact_sheet(FileFrames(frames)) if frames else None


def _plain_parts(directory: Path) -> list[Path]:
    sides = [directory / "train", directory / "test"]
    return [part for part in (directory, *sides) if part.is_dir() and _is_plain(part)]


def _is_plain(directory: Path) -> bool:
    """A folder of frames a video looks like a folder of images a class but for these."""
    return (
        (directory / "quality.csv").is_file()
        or any(directory.glob("*/masks"))
        or any(path.suffix.lower() in VIDEO_SUFFIXES for path in directory.iterdir())
    )


def angiograms(directory: Path) -> Any:
    """Volumes of patients, with their emboli and candidates."""
    from medtune_jax.applications.embolism.show import show
    from medtune_jax.datasets.volumes.cases import holds_cases

    return show(directory) if holds_cases(directory) else None


def ultrasound(directory: Path) -> Any:
    """Regions of the carotid wall, with their contours."""
    if not any(any(directory.rglob(name)) for name in ("*LI.csv", "*-LI.txt")):
        return None
    from medtune_jax.applications.intima_media.overlay import show

    return show(directory)


def labelled_images(directory: Path) -> Any:
    """labels.csv, or a folder of images a class."""
    from medtune_jax.applications.image_folder.show import show

    return show(directory)


# image_folder is last: to it, any folder with folders of images is a data set.
SHOWS: tuple[Show, ...] = (
    angiograms,
    ultrasound,
    prepared,
    colonoscopy,
    labelled_images,
)
