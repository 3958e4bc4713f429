"""How programs are compiled."""

import jax


def options() -> dict[str, int | str] | None:
    """For compiler_options of a jax.jit that is never called inside another one.

    On a CPU LLVM's level 2, with which a step of SqueezeNet compiles in 4.7 instead of 7.6 s and runs as fast; and
    YNN's kernels for matrix products and sums, but not for convolutions, many of which it runs on one thread
    (docs/benchmarks.md).
    """
    if jax.default_backend() != "cpu":
        return None
    ynn = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    return {"xla_backend_optimization_level": 2, "xla_cpu_experimental_ynn_fusion_type": ynn}
