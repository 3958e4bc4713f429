"""Carotid far wall in B-mode: speckle made by scatterers, interfaces known below the pixel.

The picture is formed the way a scanner forms it. Random scatterers, whose strength depends on the
tissue they lie in, and mirror-like sheets (the interfaces, reverberations) lie on a grid much finer
than a wavelength. Each is spread by the beam of its own depth and by the transmitted pulse; the
radio-frequency lines are detected (analytic signal), averaged to pixels and log-compressed to 8
bits. No noise is added to a finished picture, so an interface is blurred, shifted and broken by
speckle as it is in a patient.

Rows count downwards (depth), pixel centres are whole numbers, and a contour is one row per column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft, rfftfreq
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.signal import fftconvolve, hilbert

Array = NDArray[np.float64]

MM_PER_PIXEL = 1.0 / 15.0  # 92 x 60 px are then 6.1 x 4.0 mm, a usual far-wall region of interest
SPEED_OF_SOUND = 1.54  # mm per microsecond, soft tissue
AXIAL_STEPS = 5  # grid rows per pixel: 13 um, seven samples per period of an 8 MHz echo
LATERAL_STEPS = 3  # grid columns per pixel; odd counts put a grid point on every pixel centre
MARGIN = 16  # pixels simulated around the region, so that its border is formed like its middle


class RoiPhantom(NamedTuple):
    """One region of interest: image uint8 [H, W]; li and ma, exact interface rows, float [W]."""

    image: NDArray[np.uint8]
    li: Array
    ma: Array
    mm_per_pixel: float


@dataclass(frozen=True)
class Subject:
    """What the regions of one subject share: the artery, and the scanner it was examined with.

    Lengths are in mm; echo strengths in dB relative to the adventitia.
    """

    thickness: float
    taper: float  # relative change of thickness from one end of the region to the other
    plaque_height: float  # 0 for a wall without plaque
    plaque_width: float
    plaque_echo: float
    curvature: float  # 1/mm
    intima: float
    media: float
    deep_tissue: float
    lumen: float
    frequency: float  # MHz
    bandwidth: float  # at -6 dB, relative to the frequency
    wall_depth: float  # of the region's first row
    focus_depth: float
    beam_width: float  # standard deviation of the two-way beam at the focus
    focal_range: float  # distance from the focus at which the beam is 1.4 times as wide
    dynamic_range: float  # dB between black and white
    gain: float  # dB


class Grid(NamedTuple):
    """Depth [Z] below and distance [X] along the region's first pixel centre, in mm."""

    depth: Array
    along: Array

    @property
    def axial_step(self) -> float:
        return self.depth[1] - self.depth[0]

    @property
    def lateral_step(self) -> float:
        return self.along[1] - self.along[0]


def draw_subject(rng: np.random.Generator) -> Subject:
    """A random adult: intima-media thickness 0.4-1.2 mm, and a plaque in one of four."""
    has_plaque = rng.random() < 0.25
    return Subject(
        thickness=0.4 + 0.8 * rng.beta(1.8, 2.8),
        taper=rng.normal(0, 0.06),
        plaque_height=rng.uniform(0.25, 0.7) if has_plaque else 0.0,
        plaque_width=rng.uniform(0.7, 1.4),
        plaque_echo=rng.uniform(-22, -8),
        curvature=rng.normal(0, 0.012),
        intima=rng.uniform(-16, -5),
        media=rng.uniform(-32, -20),
        deep_tissue=rng.uniform(-18, -9),
        lumen=rng.uniform(-50, -36),
        frequency=rng.uniform(7, 10),
        bandwidth=rng.uniform(0.55, 0.8),
        wall_depth=rng.uniform(14, 24),
        focus_depth=rng.uniform(12, 26),
        beam_width=rng.uniform(0.12, 0.20),
        focal_range=rng.uniform(6, 10),
        dynamic_range=rng.uniform(48, 60),
        gain=rng.normal(0, 2.0),
    )


def render_roi(
    subject: Subject,
    rng: np.random.Generator,
    width: int = 92,
    height: int = 60,
    mm_per_pixel: float = MM_PER_PIXEL,
) -> RoiPhantom:
    """One B-mode region, uint8 [height, width]; another call is another stretch of the same wall.

    The default size is that of the paper's regions (Tajbakhsh et al. 2016, intima-media).
    """
    grid = Grid(
        _fine_positions(height, AXIAL_STEPS) * mm_per_pixel,
        _fine_positions(width, LATERAL_STEPS) * mm_per_pixel,
    )
    extent = (height * mm_per_pixel, width * mm_per_pixel)
    li, ma, plaque = _interfaces(subject, grid, extent, rng)
    echoes = _scatterers(subject, grid, li, ma, plaque, rng)
    echoes += _mirrors(subject, grid, li, ma, rng)
    echoes *= _shadows(subject, grid, li, plaque, rng)

    power = np.abs(hilbert(_scan(subject, grid, echoes, rng), axis=0)) ** 2
    blocks = power.reshape(height + 2 * MARGIN, AXIAL_STEPS, width + 2 * MARGIN, LATERAL_STEPS)
    power = blocks.mean(axis=(1, 3))[MARGIN:-MARGIN, MARGIN:-MARGIN]
    # White lies 8 dB above the adventitia's mean, so that only speckle peaks reach it.
    level = 10 * np.log10(power + 1e-12) - 8 + subject.gain + _uneven_gain((height, width), rng)
    grey = np.clip(255 * (1 + level / subject.dynamic_range), 0, 255)

    centres = (np.arange(width) + MARGIN) * LATERAL_STEPS + LATERAL_STEPS // 2
    return RoiPhantom(
        np.rint(grey).astype(np.uint8),
        li[centres] / mm_per_pixel,
        ma[centres] / mm_per_pixel,
        mm_per_pixel,
    )


def generate(subject: int, rois: int, seed: int = 0) -> list[RoiPhantom]:
    """Regions of one subject, who depends on (seed, subject) alone."""
    rng = np.random.default_rng([seed, subject])
    drawn = draw_subject(rng)
    return [render_roi(drawn, rng) for _ in range(rois)]


def _fine_positions(pixels: int, steps: int) -> Array:
    """Grid positions in pixels, margins included: `steps` a pixel, its middle one on the centre."""
    return (np.arange((pixels + 2 * MARGIN) * steps) - steps // 2) / steps - MARGIN


def _amplitude(decibel: float | Array) -> Array:
    return np.power(10.0, np.asarray(decibel) / 20)


def _wander(along: Array, correlation: float, rng: np.random.Generator) -> Array:
    """Smooth unit-variance noise along the wall; `correlation` in mm."""
    noise = gaussian_filter1d(rng.standard_normal(along.size), correlation / np.diff(along)[0])
    return noise / noise.std()


def _interfaces(
    subject: Subject, grid: Grid, extent: tuple[float, float], rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Depths of LI and MA in mm, and the share (0-1) of the thickness that is plaque; all [X]."""
    height, length = extent
    x = grid.along - length / 2
    ma = rng.normal(0, 0.04) * x + (subject.curvature + rng.normal(0, 0.004)) * x**2 / 2
    ma += 0.02 * _wander(x, 0.8, rng)
    thickness = subject.thickness * (1 + subject.taper * 2 * x / length)
    thickness *= 1 + 0.03 * _wander(x, 0.5, rng)
    middle = rng.uniform(-0.35, 0.35) * length
    plaque = subject.plaque_height * np.exp(-(((x - middle) / subject.plaque_width) ** 2))
    li = ma - thickness - plaque
    # An operator frames the wall in the lower half; it may not leave the region.
    inside = np.abs(x) <= length / 2
    shift = rng.uniform(0.45, 0.7) * height - (li + ma)[inside].mean() / 2
    shift = min(shift, 0.92 * height - ma[inside].max())
    shift = max(shift, 0.10 * height - li[inside].min())
    return li + shift, ma + shift, plaque / (thickness + plaque)


def _below(grid: Grid, interface: Array) -> Array:
    """Share of each grid cell below an interface [X]: positions within a cell are kept."""
    return np.clip((grid.depth[:, None] - interface) / grid.axial_step + 0.5, 0, 1)


def _scatterers(
    subject: Subject,
    grid: Grid,
    li: Array,
    ma: Array,
    plaque: Array,
    rng: np.random.Generator,
) -> Array:
    """Diffuse echoes [Z, X]: a random amplitude per grid point, as strong as its tissue."""
    deep = _amplitude(subject.deep_tissue)
    # Collagen gives way to soft tissue over the adventitia's thickness.
    into_wall = np.clip(grid.depth[:, None] - ma, 0, None) / rng.uniform(0.6, 1.0)
    adventitia = deep + (1 - deep) * np.exp(-(into_wall**2))
    media = _amplitude(subject.media * (1 - plaque) + subject.plaque_echo * plaque)
    haze = 12 * np.exp(-np.clip(grid.depth, 0, None) / 0.6)  # side lobes of what lies above, dB
    lumen = _amplitude(subject.lumen + haze)[:, None]

    below_li, below_ma = _below(grid, li), _below(grid, ma)
    below_intima = _below(grid, li + 0.2 * (ma - li))
    strength = (
        (1 - below_li) * lumen
        + (below_li - below_intima) * _amplitude(subject.intima - 6)
        + (below_intima - below_ma) * media
        + below_ma * adventitia
    )
    # Beyond MA part of the scatterers line up in sheets along the wall. A sheet as wide as the beam
    # echoes in phase, hence its small share for about the same power.
    sheets = gaussian_filter1d(rng.standard_normal(strength.shape), 12, axis=1)
    fibrous = below_ma * 0.2 * sheets / sheets.std()
    return strength * (rng.standard_normal(strength.shape) + fibrous)


def _mirrors(subject: Subject, grid: Grid, li: Array, ma: Array, rng: np.random.Generator) -> Array:
    """Coherent echoes [Z, X]: the two interfaces, and reverberations hanging in the lumen.

    A mirror answers when the beam meets it at a right angle: an inclined stretch fades. Its
    strength also wanders along the wall, to the point where LI is lost.
    """
    # Scatterers add by power and a mirror by amplitude. With kernels of unit energy (`_scan`) this
    # factor makes a flat mirror of 0 dB as bright as the adventitia's mean.
    lateral, axial = _beam_width(subject, grid).mean() / grid.lateral_step, _pulse_width(subject)
    unit = np.sqrt(axial / grid.axial_step / (2 * lateral))

    def mirror(boundary: Array, decibel: Array) -> Array:
        slope = np.gradient(boundary, grid.lateral_step)
        amplitude = unit * _amplitude(decibel) * np.exp(-((slope / 0.25) ** 2))
        distance = np.abs(grid.depth[:, None] - boundary) / grid.axial_step
        return amplitude * np.clip(1 - distance, 0, None)  # linear weights keep its exact depth

    along = grid.along
    echoes = mirror(li, subject.intima + 4 * _wander(along, 0.5, rng))
    echoes += mirror(ma, -2 + 3 * _wander(along, 0.5, rng))
    spacing = rng.uniform(0.4, 0.9)
    for order in range(1, rng.integers(1, 4)):
        reverberation = spacing * order + 0.03 * _wander(along, 1.0, rng)
        decibel = -25 - 4 * order + 6 * _wander(along, 0.8, rng)
        echoes += mirror(reverberation, np.where(reverberation < li - 0.2, decibel, -200.0))
    return echoes


def _shadows(
    subject: Subject, grid: Grid, li: Array, plaque: Array, rng: np.random.Generator
) -> Array:
    """Transmission (0-1) [Z, X]: shadows of the near wall, and of a calcified plaque."""
    loss = np.zeros((grid.depth.size, grid.along.size))
    if rng.random() < 0.3:
        middle, width = rng.uniform(grid.along[0], grid.along[-1]), rng.uniform(0.3, 1.0)
        loss += rng.uniform(4, 14) * np.exp(-(((grid.along - middle) / width) ** 4))
    if subject.plaque_height > 0.5:
        loss += 15 * plaque**2 * _below(grid, li + 0.1)
    return _amplitude(-loss)


def _beam_width(subject: Subject, grid: Grid) -> Array:
    """Standard deviation of the beam's amplitude profile at each depth, mm [Z]."""
    off_focus = (subject.wall_depth + grid.depth - subject.focus_depth) / subject.focal_range
    return subject.beam_width * np.sqrt(1 + off_focus**2)


def _pulse_width(subject: Subject) -> float:
    """Standard deviation of the pulse's envelope in depth, mm."""
    spectral = subject.bandwidth * subject.frequency / (2 * np.sqrt(2 * np.log(2)))  # MHz
    return SPEED_OF_SOUND / 2 / (2 * np.pi * spectral)


def _scan(subject: Subject, grid: Grid, echoes: Array, rng: np.random.Generator) -> Array:
    """Radio-frequency lines [Z, X]: the beam of each depth, receiver noise, then the pulse.

    Both kernels have unit energy, so scatterers of unit variance give an envelope of unit power.
    """
    # One Gaussian per row, applied in the frequency domain: an exactly depth-varying beam.
    sigma = _beam_width(subject, grid)[:, None] / grid.lateral_step
    frequency = 2 * np.pi * rfftfreq(grid.along.size)
    beam = np.sqrt(2 * np.sqrt(np.pi) * sigma) * np.exp(-((frequency * sigma) ** 2) / 2)
    lines = irfft(rfft(echoes, axis=1) * beam, n=grid.along.size, axis=1)
    lines += _amplitude(-58) * rng.standard_normal(lines.shape)

    width = _pulse_width(subject)
    reach = int(np.ceil(4 * width / grid.axial_step))
    depth = np.arange(-reach, reach + 1) * grid.axial_step
    envelope = np.exp(-(depth**2) / (2 * width**2))
    # An echo travels there and back: its phase turns twice as fast in depth as the wave does.
    carrier = np.cos(2 * np.pi * 2 * subject.frequency / SPEED_OF_SOUND * depth)
    pulse = envelope * carrier / np.sqrt((envelope**2).sum())
    return fftconvolve(lines, pulse[:, None], mode="same", axes=0)


def _uneven_gain(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Slow changes of brightness, dB [H, W]: coupling along the probe, depth compensation."""
    patchy = gaussian_filter(rng.standard_normal(shape), 20, mode="wrap")
    slope = np.linspace(-1, 1, shape[0])[:, None] * rng.normal(0, 1.5)
    return slope + 1.2 * patchy / patchy.std()
