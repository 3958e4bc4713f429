"""How programs are compiled."""

import jax


def options() -> dict[str, int] | None:
    """For compiler_options of a jax.jit that is never called inside another one.

    On a CPU LLVM's level 2: a step of SqueezeNet compiles in 4.7 instead of 7.6 s and runs as fast
    (docs/benchmarks.md).
    """
    return {"xla_backend_optimization_level": 2} if jax.default_backend() == "cpu" else None
