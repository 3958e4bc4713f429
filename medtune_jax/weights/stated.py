"""The preprocessing that a user states for weights whose file does not tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import TypedDict

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.networks import Preprocessing
from medtune_jax.weights.formats import caffe

_ORDERS = ("RGB", "BGR")
Channels = tuple[float, float, float]


class InWords(TypedDict, total=False):
    """A preprocessing as on the command line: the arguments of `stated`."""

    order: str
    mean: str
    std: str
    scale: str


@dataclass(frozen=True)
class Stated:
    """What the user says: (x * scale - mean) / std of pixels 0..255, in the network's own order of channels.

    mean: one number a channel in that order, or a mean image [height, width, 3] in BGR, Caffe's. order: None only with
    a mean image, which alone replaces the mean of weights that Caffe trained.
    """

    mean: Channels | np.ndarray
    order: str | None = None
    scale: float = 1.0
    std: Channels = (1.0, 1.0, 1.0)

    def preprocessing(self, own: Preprocessing, implied: Preprocessing | None) -> Preprocessing:
        """In the size of `own`. A mean image without an order counts where the names imply Caffe's BGR, 0..255.

        Raises:
            UserError: a mean image smaller than the network's input, or without an order where the names imply none or
                another one.
        """
        caffes = implied is not None and (implied.order, implied.scale) == ("BGR", 1)
        if self.order is None and not caffes:
            raise UserError(
                "a mean image alone says nothing of the other preprocessing, and the names of these layers are not "
                "Caffe's: state --order (RGB or BGR), and --std and --scale if the pixels are divided."
            )
        order, mean = self.order or "BGR", self.mean
        if isinstance(mean, np.ndarray):
            if mean.max() <= 1 < 255 * self.scale:
                raise UserError(
                    f"the mean image lies between {mean.min():g} and {mean.max():g}, but pixels times --scale go up to "
                    f"{255 * self.scale:g}: state --order and --scale=1/255 if the weights want that"
                )
            mean = crop_mean(mean, own.size)
            mean = mean if order == "BGR" else np.ascontiguousarray(mean[..., ::-1])
        return replace(own, order=order, mean=mean, scale=self.scale, std=self.std)


def stated(order: str = "", mean: str = "", std: str = "", scale: str = "") -> Stated | None:
    """The flags of the command line, None if none is given.

    order: RGB or BGR. mean, std: three numbers, or one for all channels. mean may name a mean image (`.binaryproto`,
    or NumPy's `.npy` as pycaffe writes it). scale: a number or a quotient, 1/255. What is left out is not applied.

    Raises:
        UserError: a part that is missing, no number, or out of range.
    """
    if not (order or mean or std or scale):
        return None
    order = order.upper()
    if order and order not in _ORDERS:
        raise UserError(f"--order is '{order}': give RGB or BGR")
    if not mean:
        raise UserError(
            "a preprocessing is stated whole: add --mean (three numbers in that order; 0 if none is subtracted)"
        )
    factor = _number(scale, "--scale") if scale else 1.0
    if not factor > 0:
        raise UserError(f"--scale is {scale}: give a number above 0, such as 1/255")
    deviation = _channels(std, "--std") if std else (1.0, 1.0, 1.0)
    if min(deviation) <= 0:
        raise UserError(f"--std is {std}: give numbers above 0")
    if not _is_numbers(mean):
        return Stated(read_mean(mean), order or None, factor, deviation)
    if not order:
        raise UserError("a preprocessing is stated whole: add --order, RGB or BGR")
    middle = _channels(mean, "--mean")
    if not 0 <= min(middle) <= max(middle) <= 255 * factor:
        raise UserError(
            f"--mean is {mean}, but pixels times --scale lie between 0 and {255 * factor:g}: the mean is subtracted "
            "after the scale, so give both in one unit"
        )
    return Stated(middle, order, factor, deviation)


def read_mean(path: str | Path) -> np.ndarray:
    """A mean image as float32 [height, width, 3] in BGR: `.binaryproto`, or pycaffe's `.npy` (3 x height x width).

    Raises UserError: an unreadable file, or not one image of three channels.
    """
    if Path(path).suffix != ".npy":
        return caffe.read_mean(path)
    try:
        mean = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"cannot read the mean image {path} ({error}): give it as an array of numbers"
        ) from error
    if mean.ndim != 3 or mean.shape[0] != 3 or mean.dtype.kind not in "fiu":
        raise UserError(
            f"{path} is no mean image: its shape is {mean.shape}, not (3, height, width) in BGR as pycaffe writes it"
        )
    if not np.isfinite(mean).all():
        raise UserError(f"{path}: the mean image holds numbers that are not finite")
    return np.ascontiguousarray(mean.transpose(1, 2, 0), np.float32)


def crop_mean(mean: np.ndarray, size: int) -> np.ndarray:
    """The centre of a mean image, as Caffe crops it in testing."""
    height, width = mean.shape[:2]
    if min(height, width) < size:
        raise UserError(
            f"The mean image is {height} x {width} but the network takes {size} x {size}; leave "
            "--mean out to use the network's own channel means."
        )
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(mean[top : top + size, left : left + size])


def _split(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _is_numbers(text: str) -> bool:
    try:
        return bool([_quotient(part) for part in _split(text)])
    except (ValueError, ZeroDivisionError):
        return False


def _quotient(text: str) -> Fraction:
    above, _, below = text.strip().partition("/")
    return Fraction(above) / Fraction(below or 1)


def _number(text: str, flag: str) -> float:
    try:
        number = float(_quotient(text))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise UserError(
            f"{flag} is '{text}', which is no number: give one, or a quotient as 1/255"
        ) from error
    if not isfinite(number):
        raise UserError(f"{flag} is '{text}': give a finite number")
    return number


def _channels(text: str, flag: str) -> Channels:
    numbers = [_number(part, flag) for part in _split(text)]
    if len(numbers) not in (1, 3):
        raise UserError(f"{flag} is '{text}': give three numbers, or one for all channels")
    red, green, blue = numbers * (3 // len(numbers))
    return red, green, blue
