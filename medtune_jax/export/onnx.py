"""ONNX through jax2onnx, checked with ONNX Runtime."""

from __future__ import annotations

import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from medtune_jax.errors import UserError
from medtune_jax.export.run import FinishedRun

FILE = "model.onnx"
USE = """import onnxruntime

model = onnxruntime.InferenceSession("model.onnx")
probabilities, logits = model.run(["probabilities", "logits"], {"images": images})    # uint8 [N, SIDE, SIDE, 3], RGB
"""


def write(run: FinishedRun, folder: Path) -> None:
    """model.onnx: input `images`, outputs `probabilities` and `logits`. UserError without the extra."""
    try:
        import onnx
        import onnxruntime as _  # noqa: F401
        from jax2onnx import to_onnx
    except ImportError as error:
        raise UserError(
            f"ONNX needs packages that are not installed ({error.name}): pip install 'medtune-jax[onnx]'"
        ) from error
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, run.size, run.size, 3), jnp.uint8)
    # jax2onnx replaces functions of jax.numpy while it traces; what is traced before is what we wrote.
    traced = jaxpr_as_fun(jax.make_jaxpr(run.graph())(images))
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # of shapes that it leaves out
    names = {"input_names": ["images"], "output_names": ["probabilities", "logits"]}
    model = to_onnx(traced, inputs=[images], model_name=run.network.name, **names)
    onnx.checker.check_model(model)
    onnx.save(model, folder / FILE)


def outputs(run: FinishedRun, folder: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ONNX Runtime makes of images, uint8 [N,S,S,3]."""
    del run
    import onnxruntime

    model = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
    probabilities, logits = model.run(["probabilities", "logits"], {"images": images})
    return np.asarray(probabilities), np.asarray(logits)
