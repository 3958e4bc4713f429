"""What spoils a colonoscopy frame: blur, bubbles, debris, turbid fluid and wrong exposure.

Every defect maps linear light [H, W, 3] to linear light, with `strength` in 0..1: up to 0.2 is
what a good frame also shows, 0.4 and more hides the mucosa. It also returns how opaque it is [H,
W]. Wall contact is a matter of the camera's pose and lives with its path.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage, signal

from medtune_jax.phantoms.colonoscopy.texture import Array, periodic_noise

Result = tuple[Array, Array]
Defect = Callable[[Array, float, np.random.Generator], Result]


def _convolve(light: Array, kernel: Array) -> Array:
    """`light` filtered by `kernel`, mirrored at the border."""
    margin = kernel.shape[0] // 2
    padded = np.pad(light, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    return signal.fftconvolve(padded, kernel[..., None], "valid", axes=(0, 1)).clip(0)


def _kernel(radius: float, distance: Array) -> Array:
    """Normalised kernel: equal weights where `distance` < `radius`, a soft edge of one pixel."""
    weights = np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)
    return weights / weights.sum()


def _offsets(radius: float) -> tuple[Array, Array]:
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    return y, x


def defocus(light: Array, strength: float, rng: np.random.Generator) -> Result:
    """Out-of-focus disc blur; its radius reaches 5% of the frame's height."""
    radius = max(0.4, 0.05 * strength * light.shape[0])
    y, x = _offsets(radius)
    return _convolve(light, _kernel(radius, np.hypot(x, y))), _clear(light)


def motion_blur(light: Array, strength: float, rng: np.random.Generator) -> Result:
    """Smear along a slightly bent path; its length reaches 22% of the frame's height."""
    half = max(0.6, 0.11 * strength * light.shape[0])
    angle, bend = rng.uniform(0, np.pi), rng.normal(0, 0.3) / half
    y, x = _offsets(half * 1.2)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = np.cos(angle) * y - np.sin(angle) * x - bend * along**2
    line = np.maximum(np.abs(across), np.abs(along) - half + 0.5)
    return _convolve(light, _kernel(0.5, line)), _clear(light)


def bubbles(light: Array, strength: float, rng: np.random.Generator) -> Result:
    """Foam: clusters of bubbles that bend the view, with dark rim, bright crescent and glint."""
    height, width = light.shape[:2]
    count = round(3 + 450 * strength**1.6)
    hubs = rng.uniform(0, 1, (1 + count // 60, 2)) * (height, width)
    spread = height * (0.10 + 0.22 * strength)
    centres = hubs[rng.integers(len(hubs), size=count)] + rng.normal(0, spread, (count, 2))
    radii = height * np.minimum(0.010 + rng.exponential(0.012 + 0.012 * strength, count), 0.09)
    shift = np.zeros((2, height, width), np.float32)
    film = np.zeros((height, width), np.float32)
    gleam = np.zeros((height, width), np.float32)
    for (cy, cx), r in zip(centres, radii, strict=True):  # each touches only its own few pixels
        y0, y1 = np.clip([int(cy - r) - 1, int(cy + r) + 2], 0, height)
        x0, x1 = np.clip([int(cx - r) - 1, int(cx + r) + 2], 0, width)
        dy, dx = np.ogrid[y0:y1, x0:x1]
        dy, dx = (dy - cy) / r, (dx - cx) / r
        rho = np.sqrt(dx * dx + dy * dy)
        inside = rho < 1
        window = np.s_[y0:y1, x0:x1]
        rim = rho**4
        lean = (dx * (cx - width / 2) + dy * (cy - height / 2)) / (height * np.maximum(rho, 0.1))
        crescent = np.exp(-(((rho - 0.8) / 0.1) ** 2)) * np.clip(0.4 + lean, 0, 1)
        spot = np.exp(-((dx + 0.35) ** 2 + (dy + 0.35) ** 2) / 0.012)
        shift[0][window] = np.where(inside, -1.2 * dy * r, shift[0][window])
        shift[1][window] = np.where(inside, -1.2 * dx * r, shift[1][window])
        film[window] = np.where(inside, 0.7 * rim, film[window])
        gleam[window] = np.where(inside, 0.25 * crescent + 1.1 * spot, gleam[window])
    y, x = np.indices((height, width), np.float32)
    bent = np.clip(np.rint([y + shift[0], x + shift[1]]), 0, [[[height - 1]], [[width - 1]]])
    rows, columns = bent.astype(int)
    seen = light[rows, columns] * (1 - film)[..., None]
    local = ndimage.uniform_filter(light.mean(-1), height // 8)  # glints scale with the light there
    return seen + (gleam * (0.1 + 1.6 * local))[..., None], np.clip(gleam + film, 0, 1)


def debris(light: Array, strength: float, rng: np.random.Generator) -> Result:
    """Stool: opaque yellow-brown lumps, lit like the wall behind them."""
    size = light.shape[:2]
    relief = _noise(rng, size, 0.05) + 0.55 * _noise(rng, size, 0.018)
    level = np.quantile(relief, 1 - 0.03 - 0.6 * strength)
    opacity = np.clip(5 * (relief - level), 0, 1)
    rough = relief + 0.3 * _noise(rng, size, 0.008)
    slope = np.hypot(*np.gradient(rough)) * size[0]
    colour = _mix(rng, [0.66, 0.30, 0.05], [0.42, 0.15, 0.03])
    lit = ndimage.gaussian_filter(light.mean(-1), size[0] / 20) * 2.2
    matter = colour * (lit * (1.25 / (1 + 0.012 * slope)) * (1 + 0.08 * rough))[..., None]
    return light + opacity[..., None] * (matter - light), opacity


def turbid(light: Array, strength: float, rng: np.random.Generator) -> Result:
    """A pool of cloudy fluid that rises with `strength`, with floating particles."""
    height, width = light.shape[:2]
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    depth = np.cos(angle) * y + np.sin(angle) * x + 0.06 * _noise(rng, (height, width), 0.12)
    depth = depth - (0.55 - 1.05 * strength)  # the water line crosses the whole frame at 1
    under = np.clip(depth / 0.02, 0, 1)
    density = under * (1 - np.exp(-(1 + 4 * strength) * np.clip(depth + 0.12, 0, None)))
    colour = _mix(rng, [0.62, 0.38, 0.09], [0.55, 0.46, 0.20])
    specks = np.clip(2 * (_noise(rng, (height, width), 0.006) - 2.2 + 0.5 * strength), 0, 1)
    swirl = 1 + 0.10 * _noise(rng, (height, width), 0.04)
    scatter = ndimage.gaussian_filter(light.mean(-1), height / 8) * 1.4 + 0.05
    veil = colour * (scatter * swirl * (1 + 0.8 * specks))[..., None]
    opacity = np.clip(density + 0.5 * specks * under, 0, 1)
    meniscus = np.exp(-((depth / 0.008) ** 2)) * scatter * 0.15
    return light + opacity[..., None] * (veil - light) + meniscus[..., None], opacity


def over_exposure(light: Array, strength: float, rng: np.random.Generator) -> Result:
    """Too much light: gain, and bloom around what saturates."""
    gained = light * np.exp(2.6 * strength)
    bloom = ndimage.gaussian_filter(np.clip(gained - 1, 0, 4), (*[light.shape[0] / 14] * 2, 0))
    return gained + 1.2 * strength * bloom, _clear(light)


def under_exposure(light: Array, strength: float, rng: np.random.Generator) -> Result:
    """Too little light: only what is next to the tip is still seen."""
    return light * np.exp(-4.2 * strength), _clear(light)


def _clear(light: Array) -> Array:
    return np.zeros(light.shape[:2], np.float32)


def _noise(rng: np.random.Generator, size: tuple[int, int], scale: float) -> Array:
    """Noise over the frame whose scale is a fraction of the frame's height."""
    return periodic_noise(rng, size, scale * size[0])


def _mix(rng: np.random.Generator, one: list[float], other: list[float]) -> Array:
    share = rng.random()
    return (np.multiply(one, share) + np.multiply(other, 1 - share)).astype(np.float32)


# In the order light meets them: on the wall, on the lens, in the lens and its motion, on sensor.
DEFECTS: dict[str, Defect] = {
    "debris": debris,
    "turbid": turbid,
    "bubbles": bubbles,
    "defocus": defocus,
    "motion_blur": motion_blur,
    "over_exposure": over_exposure,
    "under_exposure": under_exposure,
}
