"""Image files of the usual kinds, as a viewer shows them, with one sentence for those that cannot be read.

One reader for the whole product. A picture comes upright (EXIF), at its full depth, dark where it is dark (TIFF may
store white as the low values), and alone: a file of several pages is refused, since nobody can say which was meant.
What is transparent is laid on white, as a page shows it; the colours that a file hides there are never seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from medtune_jax.errors import UserError
from medtune_jax.folders import entries

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".j2k", ".jpx"
)  # fmt: skip
DICOM_SUFFIXES = (".dcm", ".dicom")
_PREAMBLE = 128
_FIRST_GROUPS = (b"\x08\x00", b"\x00\x08", b"\x02\x00")  # of a file without preamble
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_GRAY = 0
_MIN_IS_WHITE = 0
_OF_KNOWN_COLOUR = (_MIN_IS_WHITE, 1, 2)  # TIFF's photometrics of gray and RGB
_SEPARATE_PLANES = 2
_ASSOCIATED, _UNASSOCIATED = (
    1,
    2,
)  # TIFF's extra samples that are alpha; others mean what only their writer knows
_ORIENTATION = 274
_INFINITE = 1e30
_COLOURED, _SHARE = (
    16,
    0.2,
)  # of 255: how far channels lie apart in a coloured pixel; of a picture's pixels
_OF_8_BITS = ("1", "L", "LA", "RGB", "RGBA")  # Pillow's modes
_WITH_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_WITH_ALPHA = ((2,), (4,))  # channels of an array
_PAGED = ("TIFF", "GIF", "WEBP", "PNG")  # a phone's JPEG may hold a preview behind its picture


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix or, whatever its name, by its content. False where there is no file."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(_PREAMBLE + 4)
    return head[_PREAMBLE:] == b"DICM" or (not path.suffix and head[:2] in _FIRST_GROUPS)


def opened(path: Path) -> Image.Image:
    """The decoded image, upright, otherwise as Pillow gives it (deep colour with 8 bits, see `values`).

    Raises UserError when it is missing, no image that Pillow knows, or of several pages.
    """
    try:
        with Image.open(path) as image:
            if image.format in _PAGED and image.format != "TIFF":
                _require_one(path, getattr(image, "n_frames", 1))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: not a readable image ({reason(error)}); replace the file."
        ) from error


def values(path: Path) -> np.ndarray:
    """A picture's values [H, W] or [H, W, channels] at full depth: bool, uint8, uint16, int32 or float.

    Palettes are colours; white is high; the last of 2 or 4 channels is alpha, opaque at its type's highest value
    (floats at 1). Raises UserError as `opened`.
    """
    return np.asarray(_at_full_depth(path))


def _at_full_depth(path: Path) -> np.ndarray | Image.Image:
    """`values`, as an image where Pillow keeps the depth."""
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    with path.open("rb") as stream:
        head = stream.read(26)
    deep = _deep_tiff(path) if head[:4] in _TIFF else _deep_png(path, head)
    if deep is not None:
        return deep
    image = opened(path)
    if image.mode in ("La", "RGBa"):  # colours that were multiplied by alpha
        return image.convert(image.mode.upper())
    if image.mode in ("LA", "RGBA"):
        return image
    if image.mode[0] in "IF":
        return _deep_with_alpha(image)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in _OF_8_BITS else image.convert("RGB")


def _deep_with_alpha(image: Image.Image) -> np.ndarray:
    """Deep gray; with alpha where the file says that one of its values is transparent."""
    array = np.asarray(image)
    hidden = image.info.get("transparency")
    if not isinstance(hidden, int):
        return array
    alpha = np.where(array == hidden, 0, np.iinfo(array.dtype).max)
    return np.stack([array, alpha.astype(array.dtype)], -1)


def rgb(path: Path) -> Image.Image:
    """A picture as 8-bit RGB, on white where it is transparent.

    Gray is repeated; more than 8 bits are `stretched`, all channels alike, by the pixels that are seen. Raises
    UserError as `opened`, and for a picture that is transparent everywhere.
    """
    found = _at_full_depth(path)
    if isinstance(found, Image.Image):
        return _on_white(found, path)
    if found.dtype in (np.bool_, np.uint8):
        return _on_white(Image.fromarray(found), path)
    try:
        return as_rgb(_stretched_on_white(found, path))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def has_alpha(path: Path) -> bool:
    """Whether a picture can be transparent, by its header alone: alpha, or a transparent value or colour."""
    try:
        with Image.open(path) as image:
            return image.has_transparency_data or image.mode in _WITH_ALPHA_MODES
    except OSError:  # a depth that only tifffile knows
        return _tiff_has_alpha(path)


def _tiff_has_alpha(path: Path) -> bool:
    import tifffile  # takes a moment, which a folder of PNG should not wait for

    try:
        with tifffile.TiffFile(path) as file:
            return bool({_ASSOCIATED, _UNASSOCIATED} & {*file.pages.first.extrasamples})
    except (
        OSError,
        ValueError,
        tifffile.TiffFileError,
    ):  # no TIFF either: the reader of its pixels tells of it
        return False


def eight_bit(path: Path) -> Image.Image:
    """As `rgb`; UserError for more than 8 bits a channel, whose brightness would depend on the single file."""
    array = values(path)
    if array.dtype not in (np.bool_, np.uint8):
        raise UserError(f"{path} has more than 8 bits a channel: save it with 8 bits.")
    return _on_white(Image.fromarray(array), path)


def _on_white(image: Image.Image, path: Path) -> Image.Image:
    """An image of 8 bits a channel as RGB."""
    if image.mode not in ("LA", "RGBA"):
        return image if image.mode == "RGB" else image.convert("RGB")
    _require_seen(float(np.asarray(image.getchannel("A")).max()), path)
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image.convert("RGBA")).convert("RGB")


def _stretched_on_white(array: np.ndarray, path: Path) -> np.ndarray:
    """uint8 [H, W] or [H, W, 1 or 3] of a deep picture (`values`): hidden colours take no part in its range."""
    if array.shape[2:] not in _WITH_ALPHA:
        return stretched(array)
    opaque = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1.0
    alpha = np.clip(np.nan_to_num(array[..., -1:] / opaque), 0, 1)
    _require_seen(float(alpha.max()), path)
    seen = stretched(np.where(alpha > 0, array[..., :-1], np.nan))
    return np.rint(seen * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _require_seen(highest_alpha: float, path: Path) -> None:
    if not highest_alpha:
        raise UserError(f"{path}: is transparent everywhere: save it without transparency.")


def stretched(array: np.ndarray) -> np.ndarray:
    """uint8: the darkest finite value becomes 0, the brightest 255; NaN is dark, infinity the nearer end.

    What is beyond 1e30, as programs mark pixels without a value, is infinite. Raises ValueError where no value is
    finite.
    """
    array = np.asarray(array, np.float64)
    finite = array[np.abs(array) < _INFINITE]  # NaN is not
    if not finite.size:
        raise ValueError("no pixel has a finite value; write the file again.")
    low, high = finite.min(), finite.max()
    shown = np.nan_to_num(np.clip(array, low, high), nan=low)
    return np.rint((shown - low) * (255 / ((high - low) or 1.0))).astype(np.uint8)


def as_rgb(array: np.ndarray) -> Image.Image:
    """A uint8 array [H, W], [H, W, 1] or [H, W, 3] as an RGB image."""
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array).convert("RGB")


def in_colour(picture: np.ndarray) -> bool:
    """Whether uint8 [H, W, 3] is in colour: a fifth of its pixels is.

    Coloured letters or marks on a gray picture do not make it so, nor does what JPEG leaves.
    """
    thin = picture[::2, ::2]
    return bool((thin.max(axis=-1) - thin.min(axis=-1) >= _COLOURED).mean() >= _SHARE)


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name, without debris (`folders`)."""
    return [p for p in entries(folder) if p.suffix.lower() in SUFFIXES and not p.is_dir()]


def reason(error: BaseException) -> str:
    """All that an exception says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _require_one(path: Path, pages: int) -> None:
    if pages > 1:
        raise UserError(f"{path}: holds {pages} pages: save each as a file of its own.")


def _deep_png(path: Path, head: bytes) -> np.ndarray | None:
    """Colour of 16 bits a channel, which Pillow would cut to 8; None for any other file. head: its first 26 bytes."""
    if head[:8] != _PNG or head[24:25] != b"\x10" or head[25] == _PNG_GRAY:
        return None
    try:
        return _by_itk(path)
    except RuntimeError as error:
        raise UserError(
            f"{path}: 16 bits with transparency cannot be read ({reason(error)}); save it without transparency."
        ) from error


def _deep_tiff(path: Path) -> np.ndarray | None:
    """A TIFF of more than 8 bits a sample, white high; None for 8 bits, which Pillow reads in every compression."""
    import tifffile  # takes a moment, which a folder of PNG should not wait for

    try:
        with tifffile.TiffFile(path) as file:
            pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
            pages = [page for page in pages if not page.is_reduced and not page.is_mask]
            page = pages[0]
    except (
        Exception
    ):  # of as many kinds as there are ways to damage a TIFF: Pillow has the last word
        return None
    _require_one(path, len(pages))
    if page.bitspersample in (1, 2, 4, 8) and np.dtype(page.dtype or "u1").kind in "ub":
        return None
    try:
        array = _tiff_values(path)
    except Exception as error:
        if page.samplesperpixel == 1 and page.bitspersample <= 16 and page.photometric:
            return None  # gray that Pillow keeps at its depth, such as 12 bits in 1.5 bytes
        raise UserError(
            f"{path}: not a readable image ({reason(error)}); replace the file."
        ) from error
    if array.ndim not in (2, 3) or array.dtype.kind == "c":
        raise UserError(f"{path}: holds {array.shape} {array.dtype} values: save single pictures.")
    extras = [int(extra) for extra in page.extrasamples]
    unknown = sum(extra not in (_ASSOCIATED, _UNASSOCIATED) for extra in extras)
    if page.photometric not in _OF_KNOWN_COLOUR or unknown > 1:
        raise UserError(
            f"{path}: holds {page.samplesperpixel} channels of more than 8 bits whose colours are not known: "
            "save it as gray or RGB."
        )
    colour, alpha = _colour_and_alpha(array, extras)
    if colour.dtype.kind == "u" and colour.dtype.itemsize > 2:
        colour = colour.astype(np.float64)
    if page.photometric == _MIN_IS_WHITE:
        colour = -colour if colour.dtype.kind == "f" else np.invert(colour)
    shown = colour if alpha is None else np.concatenate([colour, alpha.astype(colour.dtype)], -1)
    return _upright(shown, int(page.tags.valueof(_ORIENTATION, 1)))


def _colour_and_alpha(array: np.ndarray, extras: list[int]) -> tuple[np.ndarray, np.ndarray | None]:
    """What the samples of a TIFF's pixels are. extras: what the last of them mean; others than alpha are dropped.

    Colours that were multiplied by alpha are divided by it.
    """
    if array.ndim == 2:
        return array, None
    first = array.shape[2] - len(extras)
    kinds = [(i, kind) for i, kind in enumerate(extras) if kind in (_ASSOCIATED, _UNASSOCIATED)]
    colour = array[..., :first]
    if not kinds:
        return colour, None
    place, kind = kinds[0]
    alpha = array[..., first + place, None]
    if kind == _UNASSOCIATED and array.dtype.itemsize <= 2:
        return colour, alpha
    share = alpha / (np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1.0)
    if kind == _ASSOCIATED:
        colour = np.divide(colour, share, out=np.zeros(colour.shape), where=share > 0)
    return colour.astype(np.float64), share


def _tiff_values(path: Path) -> np.ndarray:
    """The values of the first page, channels last."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        try:
            array = page.asarray()
        except ValueError:  # a compression for which tifffile wants another package
            array = _by_itk(path)
            if 8 * array.dtype.itemsize < page.bitspersample:
                raise ValueError(
                    f"compression {int(page.compression)} of {page.bitspersample} bits"
                ) from None
            return array
    planes = page.planarconfig == _SEPARATE_PLANES and array.ndim == 3
    return np.moveaxis(array, 0, -1) if planes else array


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """An array turned as Exif's orientation 1 to 8 says."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _by_itk(path: Path) -> np.ndarray:
    import SimpleITK

    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
