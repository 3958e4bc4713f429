"""Of which kinds a study's pictures were, kept with it: new ones of another modality are refused, what else differs is
said.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.images import in_colour, is_dicom
from medtune_jax.patches import Records
from medtune_jax.paths import json_by_sum, json_with_sum
from medtune_jax.words import count

KINDS = "kinds.json"
_LOOKED_AT = 300  # pictures of a study whose colours are looked at
_RADIOGRAPHS = ("CR", "DX", "RG", "DR")  # of one kind, whatever the detector


@dataclass(frozen=True)
class Kinds:
    """modalities: what DICOM files say that they are of (PS3.3, C.7.3.1.1.1) -> how many. unstated: files that do not
    say it, as PNG. colour, gray: how many of the pictures that were looked at.
    """

    modalities: Mapping[str, int]
    unstated: int
    colour: int
    gray: int

    @classmethod
    def of(cls, modalities: Sequence[str], colours: Sequence[bool]) -> Kinds:
        """Of files' modalities ('': not stated), and of pictures that are in colour or not."""
        counts, colour = Counter(modalities), sum(map(bool, colours))
        return cls(
            {m: n for m, n in counts.items() if m}, counts[""], colour, len(colours) - colour
        )

    @property
    def file(self) -> dict[str, bytes]:
        """Among a `Dataset`'s files."""
        return {KINDS: json_with_sum(asdict(self))}

    def __str__(self) -> str:
        said = [f"{count(n, 'DICOM files')} of modality {m}" for m, n in self.modalities.items()]
        said += [f"{count(self.unstated, 'files')} that state no modality"] * bool(self.unstated)
        looked_at = f"{self.colour:,} of {self.colour + self.gray:,} looked at are in colour"
        return "; ".join([*said, looked_at])


def read_kinds(study: Path | None) -> Kinds | None:
    """Of the pictures of a study, by its directory; None where it recorded none. UserError for a damaged record."""
    if study is None:
        return None
    path = study / "application" / KINDS
    try:
        found = json_by_sum(path)
        numbers = (int(found[name]) for name in ("unstated", "colour", "gray"))
        return Kinds(dict(found["modalities"]), *numbers)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged ({error}): run the same sweep again, which writes it anew"
        ) from error


def modality_of(path: Path) -> str:
    """What a DICOM file says that it is of, as CT; '' where it does not, and of other files."""
    if not is_dicom(path):
        return ""
    from medtune_jax import dicom  # pydicom takes a moment

    return dicom.modality(dicom.read(path, pixels=False))


def modalities_of(paths: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(modality_of, paths))


def colours_of(pictures: np.ndarray | Records | Sequence[np.ndarray]) -> list[bool]:
    """Of some of many pictures, uint8 [H, W, 3] each, whether they are in colour."""
    rows = np.unique(np.linspace(0, len(pictures) - 1, _LOOKED_AT).astype(int))
    return [
        in_colour(pictures[np.array([k])][0] if isinstance(pictures, Records) else pictures[k])
        for k in rows
    ]


def require_alike(study: Kinds | None, path: Path, modality: str) -> None:
    """UserError for a file of a modality that none of the study's had, where any of them stated its own."""
    if not modality or study is None or not study.modalities:
        return
    if _family(modality) not in map(_family, study.modalities):
        raise UserError(
            f"{path}: its DICOM Modality is {modality}, and the study learned from {_named(study)}: leave it out, or "
            "give it as PNG if you are sure"
        )


def differences(study: Kinds | None, new: Kinds, noun: str) -> list[str]:
    """What there is to say of new pictures (noun: images, frames) beside a study's, a sentence each."""
    if study is None:
        return [
            f"note: no record says of which kind the study's {noun} were, so that these were not compared with them; "
            "the same sweep, run again, writes it"
        ]
    return [f"note: {said}" for said in _differences(study, new, noun)]


def _differences(study: Kinds, new: Kinds, noun: str) -> Iterator[str]:
    stated, looked_at = sum(new.modalities.values()), new.colour + new.gray
    if stated and not study.modalities:
        yield (
            f"{_of(stated, stated + new.unstated, noun)} DICOM of modality {_named(new)}, and the study learned from "
            "files that state none: see that they are alike"
        )
    if new.unstated and study.modalities and not study.unstated:
        yield (
            f"{_of(new.unstated, stated + new.unstated, noun)} without a DICOM Modality, and the study learned from "
            f"{_named(study)}: see that they are alike"
        )
    if new.colour and study.gray and not study.colour:
        yield f"{_of(new.colour, looked_at, noun)} in colour, and the study's are gray: see that they are alike"
    if new.gray and study.colour and not study.gray:
        yield f"{_of(new.gray, looked_at, noun)} gray, and the study's are in colour: see that they are alike"


def _of(some: int, all_: int, noun: str) -> str:
    return f"{some:,} of {count(all_, noun)} {'is' if some == 1 else 'are'}"


def _family(modality: str) -> str:
    return _RADIOGRAPHS[0] if modality in _RADIOGRAPHS else modality


def _named(kinds: Kinds) -> str:
    return ", ".join(kinds.modalities)
