"""Seeded colonoscopy videos: one wall, one path, lesions with exact masks, spells of bad frames."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.phantoms.colonoscopy.camera import look, render
from medtune_jax.phantoms.colonoscopy.defects import DEFECTS, defocus
from medtune_jax.phantoms.colonoscopy.polyp import Polyp, make_polyp
from medtune_jax.phantoms.colonoscopy.texture import Array, f32, periodic_noise
from medtune_jax.phantoms.colonoscopy.wall import Wall, make_wall

INFORMATIVE, NON_INFORMATIVE = "informative", "non_informative"
SMALLEST = 2e-3  # share of the frame below which a far lesion is too small to be marked
DARK = 0.01  # linear light below which nothing is told from noise
KINDS = ("wall_contact", *DEFECTS)
FREQUENCY = np.array([0.2, 0.12, 0.12, 0.14, 0.12, 0.16, 0.07, 0.07])  # of KINDS, in this order


@dataclass(frozen=True)
class Frame:
    """image: uint8 [H, W, 3] RGB; lesions: int32 [H, W], 0 or the lesion's number.

    quality: informative or non_informative; defect: what spoils the frame, None if it is good.
    """

    image: np.ndarray
    lesions: np.ndarray
    quality: str
    defect: str | None

    @property
    def mask(self) -> np.ndarray:
        """bool [H, W], True on every lesion."""
        return self.lesions > 0


@dataclass(frozen=True)
class _Spell:
    """A run of frames with one defect; `strength` and `seed` hold for the whole run."""

    kind: str
    strength: float
    seed: int


def video(
    seed: int,
    frames: int,
    size: tuple[int, int] = (288, 384),
    polyps: int = 0,
    defect_rate: float = 0.0,
) -> Iterator[Frame]:
    """Frames of one synthetic colonoscopy video, in order.

    seed: decides everything; the same seed with another number of polyps shows the same wall, path,
        disturbances and noise, so only pixels at a lesion differ.
    size: (height, width) in pixels, each at least 32. polyps: lesions along the path, 0 to 8.
    defect_rate: share of non-informative frames, 0..1; they come in spells of a few frames.

    A lesion smaller than 0.2% of the frame (far away) is drawn but not marked, as no annotator
    would; nor is what opaque matter covers, what is too dark to see, or what is out of the window.
    Raises UserError for an argument out of range.
    """
    _check(frames, size, polyps, defect_rate)
    # One stream per subject: changing one argument leaves the other subjects as they are.
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(6)]
    on_wall, on_site, on_path, on_spell, on_lens, on_noise = streams
    wall = make_wall(on_wall, _texels(size))
    path = _Path(on_path, on_site, frames)
    lesions = [make_polyp(on_site, wall, *site) for site in path.sites[:polyps]]
    window = _window(on_lens, size)
    gain = on_lens.uniform(1.0, 1.8)
    balance = on_lens.uniform([0.95, 0.95, 0.9], [1.0, 1.05, 1.1]).astype(np.float32)
    spells = _spells(on_spell, frames, defect_rate)
    for k in range(frames):
        rng = np.random.default_rng(on_noise.integers(2**63))
        yield _frame(wall, lesions, path, k, spells[k], rng, size, window, gain * balance)


def _frame(
    wall: Wall,
    lesions: list[Polyp],
    path: "_Path",
    k: int,
    spell: _Spell | None,
    rng: np.random.Generator,
    size: tuple[int, int],
    window: Array,
    gain: Array,
) -> Frame:
    """Frame `k`: render, disturb, expose, digitise."""
    if spell is not None and spell.kind == "wall_contact":
        near = np.random.default_rng(spell.seed)
        view = render(wall, [], path.against(wall, k, near), size)
        light = _red_out(view.light, spell.strength, near)
        labels = np.zeros(size, np.int32)
    else:
        view = render(wall, lesions, path.pose(wall, k), size)
        light, labels = view.light, view.lesions
    light = light * gain
    hidden = np.zeros(size, np.float32)
    for kind, strength, state in _disturbances(spell, rng):
        light, opacity = DEFECTS[kind](light, strength, state)
        hidden = np.maximum(hidden, opacity)
    image = _digitise(light, window, rng)
    labels = np.where((hidden > 0.6) | (window < 0.5) | (light.max(-1) < DARK), 0, labels)
    area = np.bincount(labels.ravel(), minlength=len(lesions) + 1)
    labels = np.where(area[labels] < SMALLEST * labels.size, 0, labels).astype(np.int32)
    quality = INFORMATIVE if spell is None else NON_INFORMATIVE
    return Frame(image, labels, quality, spell.kind if spell else None)


def _disturbances(
    spell: _Spell | None, rng: np.random.Generator
) -> list[tuple[str, float, np.random.Generator]]:
    """(kind, strength, generator) of each disturbance of a frame, in the order light meets them.

    Good frames are not clean: each may show any disturbance a little, so that no single cue
    (brightness, a highlight, one bubble) tells good from bad.
    """
    chosen = []
    for kind in DEFECTS:
        state = np.random.default_rng(rng.integers(2**63))
        strength = rng.uniform(0.02, 0.2) if rng.random() < 0.15 else 0.0
        if spell is not None and spell.kind == kind:
            strength = spell.strength * rng.uniform(0.85, 1.0)
            state = np.random.default_rng(spell.seed)
        if strength:
            chosen.append((kind, strength, state))
    return chosen


def _spells(rng: np.random.Generator, frames: int, rate: float) -> list[_Spell | None]:
    """Exactly round(rate * frames) bad frames, in spells of about 2 to 6 placed at random."""
    bad = round(rate * frames)
    lengths: list[int] = []
    while sum(lengths) < bad:
        lengths.append(min(int(rng.integers(2, 7)), bad - sum(lengths)))
    runs: list[list[_Spell | None]] = [[None]] * (frames - bad)
    for length in lengths:
        kind = str(rng.choice(KINDS, p=FREQUENCY / FREQUENCY.sum()))
        spell = _Spell(kind, float(rng.uniform(0.5, 1.0)), int(rng.integers(2**63)))
        runs.append([spell] * length)
    return [spell for i in rng.permutation(len(runs)) for spell in runs[i]]


class _Path:
    """The camera's way through the colon, and the sites where the endoscopist stops to look."""

    def __init__(self, rng: np.random.Generator, site_rng: np.random.Generator, frames: int):
        travel = min(0.14 * frames, 7.0) * rng.uniform(0.7, 1.0)
        start = rng.uniform(0, 12)
        pace = np.clip(1 + 0.6 * _drift(rng, frames), 0.1, None)
        self.z = start + travel * np.cumsum(pace) / pace.sum()
        self.offset = 0.22 * np.stack([_drift(rng, frames), _drift(rng, frames)], 1)
        self.gaze = 0.5 * np.stack([_drift(rng, frames), _drift(rng, frames)], 1)
        self.roll = rng.uniform(0, 2 * np.pi) + 0.8 * _drift(rng, frames)
        # Sites are inspected whether or not a lesion is there, so the gaze gives nothing away.
        ahead = start + 0.9 + travel * (np.arange(8) % 4 + site_rng.uniform(0.3, 0.9, 8)) / 4
        order = site_rng.permutation(8)
        self.sites = list(zip(site_rng.uniform(0, 2 * np.pi, 8), ahead[order], strict=True))

    def pose(self, wall: Wall, k: int) -> tuple[Array, Array]:
        """Position and axes at frame `k`."""
        position = _point(wall, self.z[k], self.offset[k])
        target = _point(wall, self.z[k] + 1.4, 0.5 * self.offset[k] + self.gaze[k])
        for theta, z in self.sites[:2]:
            pull = 0.45 * np.exp(-(((z - self.z[k] - 1.0) / 0.45) ** 2))
            target = target + np.float32(pull) * (wall.at(theta, z, 0.1) - target)
        return look(position, target, self.roll[k])

    def against(self, wall: Wall, k: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """A pose with the tip almost on the wall, looking at it more or less squarely."""
        theta, slant = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.5)
        height = rng.uniform(0.12, 0.35)
        position = wall.at(theta, self.z[k], height)
        return look(position, wall.at(theta, self.z[k] + slant, -0.1), self.roll[k])


def _point(wall: Wall, z: float, offset: Array) -> Array:
    """The point at length `z`, `offset` from the centre line."""
    cx, cy = wall.centre(f32([z]))
    return f32([cx[0] + offset[0], cy[0] + offset[1], z])


def _drift(rng: np.random.Generator, frames: int) -> Array:
    """A slow random curve [frames] of about unit size."""
    count = max(256, 1 << (2 * frames - 1).bit_length())
    return periodic_noise(rng, (1, count), (1, 8.0))[0, :frames]


def _red_out(light: Array, strength: float, rng: np.random.Generator) -> Array:
    """Light of a tip on the wall: automatic gain, blur (nothing is in focus), red scatter."""
    light = light * (0.5 / np.median(light[..., 0])) * rng.uniform(0.6, 1.7)
    light, _ = defocus(light, 0.1 + 0.8 * strength, rng)
    red = f32([1.0, 0.24, 0.12]) * light[..., :1]
    return (light + (0.3 + 0.6 * strength) * (red - light)).astype(np.float32)


def _digitise(light: Array, window: Array, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise, soft saturation, gamma, window: linear light to uint8."""
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    signal = 1 - np.exp(-1.5 * np.clip(light, 0, None))
    signal = np.clip(signal + noise * (0.002 + 0.008 * np.sqrt(signal)), 0, 1)
    return np.rint(255 * signal ** np.float32(1 / 2.2) * window[..., None]).astype(np.uint8)


def _window(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """The lit window [H, W] in 0..1: whole frame, octagon with black corners, or near-round."""
    y = np.abs(np.linspace(-1, 1, size[0], dtype=np.float32))[:, None]
    x = np.abs(np.linspace(-1, 1, size[1], dtype=np.float32))
    style = rng.choice(3, p=[0.35, 0.4, 0.25])
    cut = rng.uniform(1.5, 1.75)
    edge = (np.full(size, -1.0), x + y - cut, np.sqrt(x**2 + y**2) - 1.16)[style]
    return np.clip(0.5 - edge * size[0] / 4, 0, 1).astype(np.float32)


def _texels(size: tuple[int, int]) -> int:
    """Texels around the tube: two to four per pixel of the frame's width."""
    return 256 if max(size) <= 128 else 512 if max(size) < 256 else 1024


def _check(frames: int, size: tuple[int, int], polyps: int, defect_rate: float) -> None:
    if frames < 1:
        raise UserError(f"a video needs at least 1 frame, not {frames}")
    if min(size) < 32:
        raise UserError(f"frames must be at least 32 x 32 pixels, not {size[0]} x {size[1]}")
    if not 0 <= polyps <= 8:
        raise UserError(f"polyps must be from 0 to 8, not {polyps}")
    if not 0 <= defect_rate <= 1:
        raise UserError(f"defect_rate must be from 0 to 1, not {defect_rate}")
