"""What every stage makes of patches, averaged over places, in one pass: small enough to keep for all stages at once."""

from __future__ import annotations

from itertools import takewhile

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax import compilation, signals
from medtune_jax.training.inputs.memory import within_memory
from medtune_jax.training.inputs.prefix import PrefixCache


def pooled_features(cache: PrefixCache, patches: np.ndarray) -> dict[str, np.ndarray]:
    """{stage: float32 [n, C]} of the patches int [n], under the pre-trained parameters: of every stage before the head,
    and before the first one for which there are none.

    An output with places ([h, w, C], or [tokens, C]) is averaged over them.
    """
    return within_memory(lambda: _pass(cache, patches), cache.need_less)


def _pass(cache: PrefixCache, patches: np.ndarray) -> dict[str, np.ndarray]:
    network, inputs = cache.network, cache.inputs(cache.network.names[0])
    read = jax.jit(inputs.take, compiler_options=compilation.options())
    known = list(takewhile(lambda stage: stage.name in cache.params, network.stages[:-1]))
    params = jax.device_put({stage.name: cache.params[stage.name] for stage in known})
    width = min(cache.batch, len(patches))
    rows = np.pad(patches, (0, -len(patches) % width), mode="edge").astype(np.int32)
    found: dict[str, list[np.ndarray]] = {stage.name: [] for stage in known}
    for batch in inputs.batches(rows.reshape(-1, width)):
        signals.check()
        x = read(batch.arrays, batch.rows)
        for stage in known:
            x = stage.compiled(params[stage.name], x)
            found[stage.name].append(np.asarray(_over_places(x)))
    return {name: np.concatenate(parts)[: len(patches)] for name, parts in found.items()}


@jax.jit
def _over_places(x: Array) -> Array:
    return x.astype(jnp.float32).reshape(len(x), -1, x.shape[-1]).mean(axis=1)
