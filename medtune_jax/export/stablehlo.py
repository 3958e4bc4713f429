"""StableHLO through `jax.export`: runs with JAX alone, on any of its platforms, for any number of images."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from medtune_jax.export.run import FinishedRun

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
USE = """import jax, numpy

model = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
probabilities, logits = model.call(images)    # uint8 [N, SIDE, SIDE, 3], RGB
"""


def write(run: FinishedRun, folder: Path) -> None:
    """model.stablehlo: preprocessing, network and probabilities, weights included."""
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, run.size, run.size, 3), jnp.uint8)
    exported = jax.export.export(jax.jit(run.graph()), platforms=PLATFORMS)(images)
    (folder / FILE).write_bytes(exported.serialize())


def outputs(run: FinishedRun, folder: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the file says of images, uint8 [N,S,S,3]."""
    del run
    model = jax.export.deserialize(bytearray((folder / FILE).read_bytes()))
    probabilities, logits = model.call(images)
    return np.asarray(probabilities), np.asarray(logits)
