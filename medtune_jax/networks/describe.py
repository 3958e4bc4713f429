"""The text of `medtune networks`."""

from __future__ import annotations

from collections.abc import Sequence

from medtune_jax import networks
from medtune_jax.networks.stages import parameter_count

_BUNDLED = ("squeezenet",)


def describe(names: Sequence[str] = ()) -> str:
    """Stages, parameters, input and preprocessing of the named networks, or of all."""
    return "\n\n".join(_describe(name) for name in names or networks.NETWORKS)


def _describe(name: str) -> str:
    network = networks.get(name)
    params, shapes = network.abstract_params(), network.shapes()
    own = network.preprocessing
    low = f" (from {network.smallest} px)" if network.smallest else " only"
    at_hand = "come with the package" if name in _BUNDLED else "convert or fetch them"
    rows = [
        f"  {stage:<14}{'x'.join(map(str, shapes[stage])):<14}{parameter_count(params[stage]):>12,}"
        for stage in network.names
    ]
    rates = network.rates
    return "\n".join(
        [
            f"{name}: {parameter_count(params):,} parameters, input {own.size} px{low}",
            f"  preprocessing: {own.order}, x {own.scale:.4g}, mean {own.mean}, std {own.std}",
            f"  rates: tuned {rates.tuned:g}, head {rates.head:g}, scratch {rates.scratch:g}"
            f" ({rates.source}); weights: {at_hand}",
            f"  {'stage':<14}{'output':<14}{'parameters':>12}",
            *rows,
        ]
    )
