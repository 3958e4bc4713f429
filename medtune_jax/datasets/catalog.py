"""Every public data set that `medtune data prepare` knows, of all applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medtune_jax.errors import UserError

if TYPE_CHECKING:
    from medtune_jax.datasets.manual import ManualDataset


def every_builder() -> dict[str, type[ManualDataset]]:
    """{name: TFDS builder class}; each says its layout, licence, citation and homepage."""
    # TFDS takes seconds to import.
    from medtune_jax.datasets.carotid.cubs import Cubs
    from medtune_jax.datasets.colonoscopy.builders import DATASETS
    from medtune_jax.datasets.ct.builders import CT_DATASETS

    return {**DATASETS, **CT_DATASETS, Cubs.name: Cubs}


def find_builder(name: str) -> type[ManualDataset]:
    """The builder of a data set. Raises UserError that lists the names when there is none."""
    known = every_builder()
    if name not in known:
        raise UserError(f"unknown data set {name!r}; choose from {', '.join(sorted(known))}.")
    return known[name]
