"""All patients of a study: the user's folder, or phantoms written to disk as DICOM first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import track

from medtune_jax.applications.embolism.patients import Patient, Settings, read_patient
from medtune_jax.datasets.ct import find_cases
from medtune_jax.errors import UserError
from medtune_jax.paths import scratch_beside, user_cache
from medtune_jax.phantoms.ctpa import write_dicom_study

T = TypeVar("T")


@dataclass(frozen=True)
class Cohort:
    """Patients by name, and why others were left out."""

    patients: dict[str, Patient]
    left_out: dict[str, str]


def cache() -> Path:
    """Where phantoms and candidates are kept."""
    return user_cache() / "embolism"


def read_cohort(directory: Path, settings: Settings, max_left_out: float = 0.2) -> Cohort:
    """Every patient of a folder, one volume in memory at a time.

    A patient whose files cannot be trusted is left out with a warning that names it: what the others show does not
    depend on it. Raises UserError when more than `max_left_out` of the patients are bad (then the folder is wrong, not
    a file), when no mask is given at all, and when no embolus is left.
    """
    cases = find_cases(directory)
    if all(case.emboli is None for case in cases):
        raise UserError(
            f"{directory} holds no mask of emboli (emboli.nii.gz beside the volume): there is nothing to learn from"
        )
    patients: dict[str, Patient] = {}
    left_out: dict[str, str] = {}
    for case in progress(cases, "Candidates"):
        try:
            patients[case.patient] = read_patient(case, settings, cache())
        except UserError as error:
            left_out[case.patient] = str(error)
    listing = "\n  ".join(left_out.values())
    if len(left_out) > max_left_out * len(cases):
        raise UserError(
            f"{len(left_out)} of {len(cases)} patients in {directory} cannot be used; mend or remove them:\n  {listing}"
        )
    if left_out:
        _say(f"warning: {len(left_out)} of {len(cases)} patients are left out:\n  {listing}")
    if not any(patient.hits.any() for patient in patients.values()):
        raise UserError(f"no candidate in {directory} hits an embolus: check the masks")
    return Cohort(patients, left_out)


def phantoms_on_disk(settings: ConfigDict) -> Path:
    """The folder of generated DICOM patients with these settings, written if it is not there yet."""
    key = hashlib.sha256(str(sorted(settings.items())).encode()).hexdigest()[:16]
    folder = cache() / f"phantoms-{key}"
    if not folder.is_dir():
        with scratch_beside(folder) as scratch:
            write_dicom_study(scratch, **settings, track=lambda x: progress(x, "Phantoms"))
            scratch.replace(folder)
    return folder


def progress(items: Sequence[T], name: str) -> Iterable[T]:
    """The items, with a bar and the time left on a terminal and one line in a log."""
    return track(items, name, console=Console(stderr=True), total=len(items))


def _say(text: str) -> None:
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
