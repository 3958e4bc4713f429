"""TFDS builders of the public CT angiograms with marked emboli, for folders downloaded by hand.

A volume of 512 x 512 x 300 voxels is 150 MB before compression, so records are made and read one at a time. A study
reads the downloaded folders themselves (`--config.data.dir`); these are for those who want the volumes elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from medtune_jax.datasets.ct.cases import Case, find_cases, load_case
from medtune_jax.datasets.manual import ManualDataset
from medtune_jax.errors import UserError


class _Angiograms(ManualDataset, skip_registration=True):  # type: ignore[call-arg]
    """CT volumes in HU with numbered emboli."""

    def belongs(self, case: Case) -> bool:
        """Whether the files of a case are laid out as this data set's are."""
        raise NotImplementedError

    def features(self) -> dict[str, Any]:
        shape = (None, None, None)
        return {
            "patient": tfds.features.Text(),
            "hu": tfds.features.Tensor(shape=shape, dtype=np.int16, encoding="zlib"),
            "emboli": tfds.features.Tensor(shape=shape, dtype=np.uint16, encoding="zlib"),
            "spacing": tfds.features.Tensor(shape=(3,), dtype=np.float64),
            "origin": tfds.features.Tensor(shape=(3,), dtype=np.float64),
        }

    def scan(self, root: Path) -> dict[str, list[Case]]:
        cases = find_cases(root)
        if not all(map(self.belongs, cases)):
            raise UserError(f"{root} is no {self.name}: expected {self.layout}.")
        return {"train": cases}

    def records(self, items: list[Case]) -> Iterator[dict[str, Any]]:
        for volume, emboli in map(load_case, items):
            yield {
                "patient": volume.patient,
                "hu": volume.hu,
                "emboli": emboli,
                "spacing": np.array(volume.spacing),
                "origin": np.array(volume.origin),
            }


class CadPe(_Angiograms):
    """CAD-PE: 91 CT pulmonary angiograms with numbered emboli."""

    layout = "NNN.nrrd with NNNRefStd.nrrd, whose values number the clots"
    licence = "research use; cite the publication"
    homepage = "http://www.cad-pe.org"
    citation = "Gonzalez et al., computer aided detection for pulmonary embolism challenge, 2020."

    def belongs(self, case: Case) -> bool:
        return case.emboli is not None and case.emboli.name == f"{case.patient}RefStd.nrrd"


class Fumpe(_Angiograms):
    """FUMPE: 35 CT pulmonary angiograms with masks of emboli; connected clots are numbered."""

    layout = "CT_scans/PATNNN/*.dcm with GroundTruth/PATNNN.mat"
    licence = "CC BY 4.0"
    homepage = "https://doi.org/10.6084/m9.figshare.c.4107803"
    citation = "Masoudi et al., a new dataset of CT angiography images, Scientific Data 5 (2018)."

    def belongs(self, case: Case) -> bool:
        return case.emboli is not None and case.emboli.suffix == ".mat"


CT_DATASETS: dict[str, type[ManualDataset]] = {builder.name: builder for builder in (CadPe, Fumpe)}
