"""A look at any folder of data: who of the applications knows it draws it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from medtune_jax import applications
from medtune_jax.datasets.sheet import contact_sheet
from medtune_jax.errors import UserError


def show(name: str, directory: str, output: str) -> str:
    """Draw a folder, or the set `name` prepared under `directory`, into the PNG file `output`; says where."""
    path = Path(output)
    if path.suffix.lower() != ".png":
        raise UserError(f"--output is '{output}': name a PNG file, as in --output sheet.png")
    picture = picture_of(_folder(name, directory))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from error
    return f"sheet: {path}"


def picture_of(directory: Path) -> Image.Image:
    """What a folder holds. Raises UserError if no application knows it, and for files that cannot be read."""
    prepared = _prepared(directory)
    return prepared if prepared is not None else known_by(directory)[1]


def known_by(directory: Path) -> tuple[str, Image.Image]:
    """The first application that knows a folder, by name, and its picture of it; errors as of `picture_of`."""
    for name in applications.APPLICATIONS:
        picture = applications.get(name).show(directory)
        if picture is not None:
            return name, picture
    raise UserError(
        f"{directory}: this is no data set that medtune knows: give a prepared set, videos "
        "(VIDEO/FRAME.png or VIDEO.mp4), images/ with masks/, volumes of patients, ultrasound with "
        "contours, labels.csv, or one folder of images a class."
    )


def _folder(name: str, directory: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if directory:
        from medtune_jax.datasets import store  # TFDS takes seconds to import

        return Path(store.find_prepared(name, directory).data_dir)
    raise UserError(
        f"there is no folder {name}; for a prepared data set, say where it is: "
        f"medtune data show {Path(name).name} --dir DIR"
    )


def _prepared(directory: Path) -> Image.Image | None:
    """A folder that TFDS prepared, with or without the version."""
    records = [*directory.glob("*/dataset_info.json"), *directory.glob("dataset_info.json")]
    if not records:
        return None
    from medtune_jax.datasets import store

    return contact_sheet(store.open_prepared(max(records).parent))
