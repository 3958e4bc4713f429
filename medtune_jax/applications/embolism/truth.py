"""Which candidate hits which embolus of the test volumes: all that FROC analysis needs, kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medtune_jax.applications.embolism.patients import Patient
from medtune_jax.evaluation.froc import Detections


@dataclass(frozen=True)
class Truth:
    """The test volumes [V], their emboli [L], found or not, and their candidates [n].

    volumes, candidates: names. embolus_volume, candidate_volume: positions in `volumes`. hits: (candidate, embolus)
    pairs [h, 2]; a candidate may hit several emboli and an embolus several candidates.
    """

    volumes: tuple[str, ...]
    embolus_volume: np.ndarray
    candidates: tuple[str, ...]
    candidate_volume: np.ndarray
    hits: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """str [V]: what intervals draw, the patient of each volume."""
        return np.array(self.volumes)

    @property
    def candidate_groups(self) -> np.ndarray:
        """str [n]: the patient of each candidate."""
        return self.groups[self.candidate_volume]

    @property
    def positive(self) -> np.ndarray:
        """bool [n]: the candidate hits an embolus."""
        return np.isin(np.arange(len(self.candidates)), self.hits[:, 0])

    def in_order(self, names: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values [..., n] of candidates by name, in the order of `candidates`."""
        row = {name: number for number, name in enumerate(names)}
        return np.asarray(values)[..., [row[name] for name in self.candidates]]

    def detections(self, scores: np.ndarray) -> Detections:
        """Scores [n] of the candidates for FROC analysis: one row a hit, one a false candidate."""
        false = np.flatnonzero(~self.positive)
        row = np.concatenate([self.hits[:, 0], false])
        lesion = np.concatenate([self.hits[:, 1], np.full(len(false), -1)])
        return Detections(
            len(self.volumes), self.embolus_volume, self.candidate_volume[row], scores[row], lesion
        )

    def to_json(self) -> bytes:
        plain = {key: np.asarray(value).tolist() for key, value in vars(self).items()}
        return (json.dumps(plain, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes) -> Truth:
        plain = json.loads(text)
        return cls(
            tuple(plain["volumes"]),
            np.array(plain["embolus_volume"], int),
            tuple(plain["candidates"]),
            np.array(plain["candidate_volume"], int),
            np.array(plain["hits"], int).reshape(-1, 2),
        )


def candidate_name(patient: str, number: int) -> str:
    return f"{patient}/c{number:03d}"


def truth_of(patients: Mapping[str, Patient]) -> Truth:
    """The truth of some volumes."""
    names = tuple(patients)
    embolus_volume: list[int] = []
    candidates: list[str] = []
    candidate_volume: list[int] = []
    hits = [np.empty((0, 2), int)]
    for volume, (name, patient) in enumerate(patients.items()):
        first = np.array((len(candidates), len(embolus_volume)))
        hits.append(first + np.argwhere(patient.hits))
        embolus_volume += [volume] * len(patient.labels)
        candidates += [candidate_name(name, k) for k in range(len(patient))]
        candidate_volume += [volume] * len(patient)
    return Truth(
        names,
        np.array(embolus_volume, int),
        tuple(candidates),
        np.array(candidate_volume, int),
        np.concatenate(hits),
    )
