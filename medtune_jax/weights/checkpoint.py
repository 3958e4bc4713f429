"""Orbax checkpoints that carry a network's parameters, preprocessing and provenance."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.networks import Network, Params, Preprocessing
from medtune_jax.paths import damaged, scratch_beside, seal

_RECORD = "medtune.json"
_PARAMS = "params"
_MEAN = "mean.npy"


@dataclass(frozen=True)
class Checkpoint:
    """Parameters of some or all stages of a network, and all one needs to use them.

    preprocessing: its size is that of the images that the parameters are for.
    provenance: at least `source` (a name or address) and `sha256` (of the file it came from).
    classes: outputs of its head, None without one. released: whether that is the head of the released weights.
    """

    network: str
    params: Params
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    classes: int | None = None
    released: bool = False

    def build(self) -> Network:
        """The network that these are parameters of."""
        network = networks.get(self.network, None if self.released else self.classes)
        return network.of_size(self.preprocessing.size)

    def fitted(self, network: Network, size: int) -> Checkpoint:
        """Without the stages from the first one on whose parameters are for images of another size than `size`.

        Those are fully connected ones: behind one that starts anew, the others' parameters mean nothing.
        """
        if size == self.preprocessing.size:
            return self
        own, other = (network.abstract_params(s) for s in (self.preprocessing.size, size))
        held = list(takewhile(lambda name: own[name] == other[name], network.names))
        if len(held) == len(network.names):
            return self
        return replace(self, params={n: p for n, p in self.params.items() if n in held})


def refuse_existing(directory: str | Path) -> None:
    if Path(directory).exists():
        raise UserError(f"{directory} exists already: choose another output directory or remove it")


@contextmanager
def written_whole(directory: str | Path) -> Iterator[Path]:
    """A folder that appears under its name only when complete: written beside it, then renamed.

    Raises UserError when the folder exists already, or when the disk refuses (full, read-only, no permission).
    """
    directory = Path(directory).absolute()
    refuse_existing(directory)
    try:
        with scratch_beside(directory) as scratch:
            yield scratch
            scratch.rename(directory)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"could not write {directory}: {reason}; free space or choose another place"
        ) from error


@contextmanager
def _refusals_as_oserror() -> Iterator[None]:
    """Orbax reports a full disk as a ValueError with the system's number in its text."""
    try:
        yield
    except ValueError as error:
        if number := re.search(r"os_error_code='(\d+)'", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def _ask_for_room(folder: Path, size: int) -> None:
    """Raise the disk's refusal of `size` bytes now, while nothing is being written.

    Orbax's other writers go on after one was refused, and make a removed folder anew.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


def _by_this_process() -> Any:
    """Orbax's options to write without the other processes of a run, which it would wait for."""
    from orbax.checkpoint.options import MultiprocessingOptions

    own = jax.process_index()
    return MultiprocessingOptions(primary_host=own, active_processes={own})


def save(
    directory: str | Path,
    params: Params,
    network: str,
    preprocessing: Preprocessing,
    provenance: dict[str, Any],
    released: bool = False,
) -> Path:
    """Write a checkpoint whole or not at all. The folder must not exist yet. released: see `Checkpoint`."""
    directory = Path(directory).absolute()
    with written_whole(directory) as scratch:
        write_into(scratch, params, network, preprocessing, provenance, released)
    return directory


def write_into(
    folder: Path,
    params: Params,
    network: str,
    preprocessing: Preprocessing,
    provenance: dict[str, Any],
    released: bool = False,
) -> None:
    """`save` into an empty folder that the caller renames when all is in it. OSError where the disk refuses."""
    import orbax.checkpoint as ocp  # takes longer to import than all else

    folder = folder.absolute()  # Orbax asks for it
    folder.mkdir(exist_ok=True)
    arrays = jax.tree.map(np.asarray, params)
    _ask_for_room(folder, sum(array.nbytes for array in jax.tree.leaves(arrays)))
    # Float weights hardly compress, and compressing would hold every array twice more.
    own = _by_this_process()
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=own)
    with (
        _refusals_as_oserror(),
        ocp.Checkpointer(handler, multiprocessing_options=own) as checkpointer,
    ):
        checkpointer.save(folder / _PARAMS, args=ocp.args.PyTreeSave(arrays))
    record = {
        "network": network,
        "classes": _classes(params, network),
        "released": released,
        "preprocessing": _plain(preprocessing, folder),
        "provenance": provenance,
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
    seal(folder)


def is_checkpoint(directory: Path) -> bool:
    """Whether a folder says that it is one."""
    return (directory / _RECORD).is_file()


def load(directory: str | Path) -> Checkpoint:
    """Read a checkpoint, every file checked against its SHA-256 sum, every array against the shapes its index states.

    One written before sums were kept has only the latter. Raises UserError when it is not a checkpoint of ours, or is
    damaged.
    """
    directory = Path(directory).absolute()
    if not is_checkpoint(directory):
        raise UserError(
            f"{directory} is no medtune checkpoint (it has no {_RECORD}): give a folder that "
            f"`convert.py` or `medtune weights fetch` wrote"
        )
    if broken := damaged(directory):
        raise UserError(
            f"{broken} is damaged (its SHA-256 sum is another): convert or fetch {directory} again, "
            f"or run the sweep again that trained it"
        )
    import orbax.checkpoint as ocp

    try:
        record = json.loads((directory / _RECORD).read_text())
        with ocp.StandardCheckpointer() as checkpointer:
            stored = checkpointer.metadata(directory / _PARAMS).item_metadata.tree
            target = jax.tree.map(lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype), stored)
            params = checkpointer.restore(directory / _PARAMS, target)
        return Checkpoint(
            network=record["network"],
            params=jax.tree.map(np.asarray, params),
            preprocessing=_preprocessing(record["preprocessing"], directory),
            provenance=record["provenance"],
            classes=record["classes"],
            # Older records do not say; then only released networks had ImageNet's number of classes.
            released=record.get("released", record["classes"] == 1000),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{directory} is damaged ({type(error).__name__}): convert or fetch it again"
        ) from error


def _classes(params: Params, network: str) -> int | None:
    head = params.get(networks.get(network).head)
    return None if head is None else int(head["bias"].shape[0])


def _plain(preprocessing: Preprocessing, directory: Path) -> dict[str, Any]:
    plain = asdict(preprocessing)
    mean = np.asarray(preprocessing.mean)
    if mean.ndim == 3:
        np.save(directory / _MEAN, mean.astype(np.float32))
        plain["mean"] = _MEAN
    return plain


def _preprocessing(plain: dict[str, Any], directory: Path) -> Preprocessing:
    mean = np.load(directory / _MEAN) if plain["mean"] == _MEAN else tuple(plain["mean"])
    return Preprocessing(**{**plain, "mean": mean, "std": tuple(plain["std"])})
