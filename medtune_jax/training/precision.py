"""In which numbers activations are computed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from medtune_jax.errors import UserError

_KNOWN: dict[str, DTypeLike] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def precision(wanted: str) -> DTypeLike:
    """The type of the activations by training.dtype. Parameters, gradients and the optimizer's state are float32.

    wanted: float32, bfloat16, or auto: bfloat16 on an accelerator. Raises UserError for another one.
    """
    if wanted == "auto":
        wanted = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if wanted not in _KNOWN:
        raise UserError(f"training.dtype is '{wanted}': give float32, bfloat16 or auto")
    return _KNOWN[wanted]
