"""Class probabilities of every pixel of an image: exact, or convolutional and many times faster.

Exact: each pixel's own patch goes through the network, as in training (Tajbakhsh et al. 2016).

Convolutional: patches of one row overlap, so the row is one strip, as high as a patch and as long
as the image, resampled to the patches' scale. The stages before `cut` run once over the strip, the
others on windows of their map; rows decide where an interface lies and are close together, columns,
along which it is smooth, farther apart, and what lies between is interpolated.

Why strips and not the whole image at once: a patch ends in zero padding at every convolution, and a
network trained on patches relies on it. Without any of it (SqueezeNet, patches of 67 px, phantoms)
the mean error of LI and MA rose from 0.65 and 0.39 px to 2.1 and 2.9 px, and a head fitted anew to
such maps brought back only half of that. A strip keeps the padding above and below, where it matters.
"""

from __future__ import annotations

from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medtune_jax import compilation
from medtune_jax.applications.intima_media.patches import patch_affines
from medtune_jax.errors import UserError
from medtune_jax.networks import Network
from medtune_jax.patches import Crops, padded
from medtune_jax.patches.sampler import sample
from medtune_jax.weights import Checkpoint

BATCH, STRIPS = 64, 8


class PixelClassifier:
    """A trained network that scores the pixels of gray images.

    size: side of the network's input. patch: side of a patch in image pixels. cut: the stage from
    which on the convolutional mode works window by window; by default the first one on the
    coarsest map. spacing: distance in pixels of the rows and, as far as the map's cells allow, of
    the columns that it scores.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        size: int,
        patch: float,
        cut: str | None = None,
        spacing: tuple[float, float] = (1.25, 8.0),
    ) -> None:
        self.network: Network = checkpoint.build()
        self.network.check_size(size)
        self.params, self.size, self.patch = checkpoint.params, size, patch
        self.cut, self.spacing = cut or coarsest(self.network, size), spacing
        self._preprocess = checkpoint.preprocessing
        options = compilation.options()
        self._classify = jax.jit(self._probabilities, compiler_options=options)
        self._score_strips = jax.jit(self._strips, static_argnums=3, compiler_options=options)

    def exact(self, image: NDArray[np.uint8], columns: NDArray) -> NDArray[np.float32]:
        """Probabilities [H, K, C] of all rows of some columns [K] of an image uint8 [H, W]."""
        grid = np.stack(np.meshgrid(np.arange(len(image)), columns, indexing="ij"), -1)
        centres = grid.reshape(-1, 2)
        sources, shapes = padded([image])
        source = np.zeros(len(centres), np.int32)
        affines = patch_affines(centres, self.patch, self.size)
        crops = Crops(sources, shapes, source, affines, self.size)
        arrays = jax.tree.map(jnp.asarray, crops.arrays())
        fetch = jax.jit(crops.take)
        parts = [
            self._classify(
                self.params, fetch(arrays, jnp.arange(first, first + BATCH) % len(crops))
            )
            for first in range(0, len(crops), BATCH)
        ]
        return np.concatenate(parts)[: len(crops)].reshape(*grid.shape[:2], -1)

    def convolutional(self, image: NDArray[np.uint8], columns: NDArray) -> NDArray[np.float32]:
        """As `exact`, approximately."""
        height, width = image.shape
        rows = int(np.ceil((height - 1) / self.spacing[0])) + 1
        row_step = (height - 1) / (rows - 1)
        windows = int(np.ceil((width - 1) / self._column_step)) + 1
        centres = np.arange(rows) * row_step
        scores = np.asarray(
            self._score_strips(self.params, jnp.asarray(image), jnp.asarray(centres), windows)
        )
        places = np.arange(height) / row_step, columns / self._column_step
        where = np.meshgrid(*places, indexing="ij")
        planes = np.moveaxis(scores, -1, 0)
        return np.stack(
            [map_coordinates(plane, where, order=1, mode="nearest") for plane in planes], axis=-1
        )

    @cached_property
    def _map(self) -> tuple[int, int, int]:
        """Of the map at `cut`: cells a side under a patch, cells between windows, stride in input pixels."""
        position = self.network.index(self.cut)
        if position == 0:
            raise UserError(f"{self.network.name}: the stage '{self.cut}' leaves nothing to share.")
        before = self.network.names[position - 1]
        cells, more = (
            self.network.shapes(side)[before][0] for side in (self.size, self.size + 320)
        )
        stride = 320 // (more - cells)
        between = max(1, int(self.spacing[1] / (stride * self.patch / self.size)))
        return cells, between, stride

    @property
    def _column_step(self) -> float:
        """Distance of the scored columns in image pixels."""
        _, between, stride = self._map
        return between * stride * self.patch / self.size

    def _strips(self, params, image: Array, centres: Array, windows: int) -> Array:
        """Scores [rows, windows, C] along the strips about rows at `centres` [rows]."""
        return lax.map(
            lambda centre: self._strip(params, image, centre, windows), centres, batch_size=STRIPS
        )

    def _strip(self, params, image: Array, centre: Array, windows: int) -> Array:
        cells, between, stride = self._map
        length = self.size + between * stride * (windows - 1)
        grid = jnp.stack(jnp.meshgrid(jnp.arange(self.size), jnp.arange(length), indexing="ij"), -1)
        middle = (self.size - 1) / 2
        points = jnp.stack([centre, 0.0]) + (grid - middle) * (self.patch / self.size)
        shape, which = jnp.array([image.shape]), jnp.zeros(1, jnp.int32)
        pixels = sample(image[None], shape, which, points[None])
        x = self._preprocess(jnp.repeat(pixels[..., None], 3, -1))
        shared = self.network.apply(params, x, stop=self.cut)[0]
        column = between * jnp.arange(windows)[:, None] + jnp.arange(cells)
        under = jnp.moveaxis(shared[:, column], 1, 0)  # [windows, cells, cells, channels]
        return jax.nn.softmax(self.network.apply(params, under, start=self.cut))

    def _probabilities(self, params, patches: Array) -> Array:
        return jax.nn.softmax(self.network.apply(params, self._preprocess(patches)))


def coarsest(network: Network, size: int) -> str:
    """The first stage whose input is the coarsest map (of more than one cell) that the network makes."""
    shapes = network.shapes(size)
    sides = [shapes[name][0] if len(shapes[name]) == 3 else 0 for name in network.names[:-1]]
    smallest = min(side for side in sides if side > 1)
    return network.names[sides.index(smallest) + 1]
