"""Masks of lesions: what is background, and what is not, whatever tool wrote the file.

One reader for frames and volumes. Tools write a lesion as 255, 100 or 1, as a colour of a palette, as an opaque patch
on transparent ground, or number several lesions 1, 2, ... In all of these the background is 0 (black, transparent), and
whatever is not background is lesion. A file that is truly gray is none of them: only if its values gather at two ends,
as JPEG's and smoothed masks do, is it cut halfway; otherwise it is refused. So is a mask that looks like
black lesions on white, unless the user says which is the ground.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from medtune_jax.errors import UserError
from medtune_jax.images import values

_FEW = 16  # so many different values are labels, not shades
_NOISE = 32  # a compressed black picture is not black to the last bit, but nearly
_LOSSY = ("JPEG", "MPO", "WEBP")
_HIGHEST = 65535
_MOST_OF_BORDER = (
    0.5  # lesions cover less: at most 0.34 of it in the 1,412 frames of Kvasir-SEG and CVC-ClinicDB
)
_HOLE = 0.001  # of the frame; no lesion of those sets that fills most of a frame has one
GROUNDS = ("", "black", "white")
_SHOWN = 5


def read_lesions(path: Path, ground: str = "") -> np.ndarray:
    """A mask file as bool [H, W], True on lesions. Raises UserError for an unreadable or ambiguous file.

    ground: black, or white where lesions are darker than what surrounds them; empty: black, but refused where a lesion
    then runs along most of the border, or fills most of the frame and surrounds a hole.
    """
    if ground not in GROUNDS:
        raise UserError(f"data.mask_background is '{ground}': give black, white or nothing")
    if ground == "white":
        return _on_white(path)
    found = _on_black(path)
    if not ground and _looks_inverted(found):
        raise UserError(
            f"{path}: its lesion would fill {found.mean():.0%} of the frame and {on_border(found):.0%} of its border: "
            "if lesions are black on white, say so with --config.data.mask_background=white; if they do fill the "
            "frame, with =black."
        )
    return found


def _looks_inverted(mask: np.ndarray) -> bool:
    if on_border(mask) > _MOST_OF_BORDER:
        return True
    if mask.mean() <= 0.5:
        return False
    holes = (
        ndimage.binary_fill_holes(mask) & ~mask
    )  # lesions within the round picture of an endoscope
    return bool(holes.mean() > _HOLE)


def on_border(mask: np.ndarray) -> float:
    """Which share of the outermost pixels or voxels of a bool mask is True."""
    inside = np.zeros_like(mask)
    inside[tuple(slice(1, -1) for _ in mask.shape)] = True
    return float(mask[~inside].mean())


def _on_black(path: Path) -> np.ndarray:
    array = values(path)
    file_format, by_palette = _palette(path)
    if by_palette is not None and _is_palette_of_labels(*by_palette[:2]):
        return _not_background(*by_palette, path)
    found = lesions(_one_channel(array), path, lossy=file_format in _LOSSY)
    if found.all() and _is_coloured(array):
        why = "it has several colours and none is black, so none is background"
        raise _ambiguous(array[..., :3], path, why)
    return found


def _on_white(path: Path) -> np.ndarray:
    """Lesions of any value or colour on the brightest one, as the same on black when all is inverted."""
    array = values(path).astype(np.float64)
    if array.shape[2:] in ((2,), (4,)):  # what is transparent is ground, too
        array = np.where(array[..., -1:] > 0, array[..., :-1], array[..., :-1].max())
    file_format, _ = _palette(path)
    return lesions(_one_channel(array.max() - array), path, lossy=file_format in _LOSSY)


def lesions(gray: np.ndarray, where: Path | str, lossy: bool = False) -> np.ndarray:
    """Gray values or labels [H, W] as bool: True where it is not background.

    lossy: the values passed through a compression that blurs, so even few of them are shades. Raises UserError, with
    the values that were seen, where they are shades that do not gather at two ends, negative, not finite, or hold no 0.
    """
    if gray.dtype == bool:
        return gray
    if not np.isfinite(gray).all() or gray.min() < 0:
        raise _ambiguous(gray, where, "a mask has finite values from 0 upwards")
    seen = np.unique(gray)
    if len(seen) == 1 or (len(seen) == 2 and seen[0] == 0):
        return gray > 0
    if not lossy and _are_labels(gray, seen):
        if seen[0] != 0:
            raise _ambiguous(gray, where, "no pixel is 0, so none is background")
        return gray > 0
    top = float(seen[-1])
    bright, dark = gray >= 0.75 * top, gray <= 0.25 * top
    if top >= _NOISE and (~bright & ~dark).sum() <= min(bright.sum(), dark.sum()):
        return gray >= 0.5 * top
    raise _ambiguous(gray, where, "these are shades of gray, not lesions on black")


def numbered(array: np.ndarray, where: Path | str) -> np.ndarray:
    """Labels of a volume as uint16: the mask's own numbers. UserError unless whole and from 0 to 65535."""
    low, high = array.min(), array.max()
    whole = np.issubdtype(array.dtype, np.integer) or bool((array == np.rint(array)).all())
    if not whole or low < 0 or high > _HIGHEST:
        raise UserError(
            f"The mask {where} holds values from {low:g} to {high:g}: it must hold whole labels, "
            "0 for background and 1, 2, ... for the emboli."
        )
    if on_border(array > 0) > _MOST_OF_BORDER:
        raise UserError(
            f"The mask {where} marks {on_border(array > 0):.0%} of the outermost voxels as emboli: its background must "
            "be 0; is it inverted?"
        )
    return array.astype(np.uint16)


def is_binary(labels: np.ndarray) -> bool:
    """Whether a mask marks lesions without numbering them: one value besides 0."""
    return len(np.unique(labels[labels > 0])) == 1


def connected(mask: np.ndarray, where: Path | str) -> np.ndarray:
    """bool or labels [z, y, x] as uint16: its connected pieces (corners touch) numbered from 1."""
    return numbered(ndimage.label(mask > 0, structure=np.ones((3,) * mask.ndim))[0], where)


def _are_labels(gray: np.ndarray, seen: np.ndarray) -> bool:
    """Whether values number lesions: few of them, or 0, 1, 2, ... without a gap; and not rims or speckles."""
    consecutive = bool((seen == np.arange(len(seen))).all())
    if len(seen) > _FEW and not consecutive:
        return False
    beside = np.zeros(gray.shape, np.uint8)  # how many of its four neighbours a pixel equals
    for a, b in (
        ((slice(1, None),), (slice(-1),)),
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
    ):
        same = gray[a] == gray[b]
        beside[a] += same
        beside[b] += same
    lie_in_patches = [(beside[gray == value] >= 2).mean() >= 0.5 for value in seen if value]
    return bool(np.mean(lie_in_patches) >= 0.5)


def _one_channel(array: np.ndarray) -> np.ndarray:
    """[H, W] of [H, W, channels]: how far a pixel is from black, 0 where it is transparent.

    A picture that is black wherever it is opaque says it by transparency alone.
    """
    if array.ndim == 2:
        return array
    if array.shape[2] in (1, 3):
        return array.max(-1)
    colour, alpha = array[..., :-1].max(-1), array[..., -1]
    if alpha.min() > 0:
        return colour
    return np.where(alpha > 0, colour, 0) if colour[alpha > 0].any() else alpha


def _is_coloured(array: np.ndarray) -> bool:
    """Whether opaque colours differ by more than a compression changes them."""
    return array.shape[2:] in ((3,), (4,)) and bool((np.ptp(array[..., :3], (0, 1)) > _NOISE).any())


def _palette(path: Path) -> tuple[str | None, tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
    """The file's format, and if it has a palette: indices [H, W], those in use [n], their colours [n, 4]."""
    try:
        with Image.open(path) as image:
            if image.mode != "P":
                return image.format, None
            upright = ImageOps.exif_transpose(image)
            index = np.asarray(upright)
            used, first = np.unique(index, return_index=True)
            return image.format, (
                index,
                used,
                np.asarray(upright.convert("RGBA")).reshape(-1, 4)[first],
            )
    except OSError:  # deep files that Pillow does not know
        return None, None


def _is_palette_of_labels(index: np.ndarray, used: np.ndarray) -> bool:
    return len(used) <= _FEW or _are_labels(index, used)


def _not_background(
    index: np.ndarray, used: np.ndarray, colours: np.ndarray, where: Path
) -> np.ndarray:
    """Background is the one colour in use that is black or transparent; without such a colour, index 0."""
    empty = used[(colours[:, 3] == 0) | (colours[:, :3].max(1) == 0)]
    if len(empty) == 1:
        return index != empty[0]
    if 0 in used or len(used) == 1:
        return index != 0
    raise _ambiguous(index, where, "its palette has no black and index 0 is not used")


def _ambiguous(gray: np.ndarray, where: Path | str, why: str) -> UserError:
    seen = np.unique(gray)
    some = ", ".join(f"{v:g}" for v in seen[:_SHOWN]) + (", ..." if len(seen) > _SHOWN else "")
    return UserError(
        f"{where}: cannot be read as a mask without guessing: {len(seen)} values from {seen[0]:g} to {seen[-1]:g} "
        f"({some}): {why}; save the lesions in any value or colour on black."
    )
