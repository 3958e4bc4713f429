"""Pictures of a cohort: true and false candidates in their vessels' planes, axial slices with marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from medtune_jax.applications.embolism.candidates import CandidateConfig, find_candidates
from medtune_jax.applications.embolism.cases import Patient, hit_table
from medtune_jax.applications.embolism.patches import PatchGrid, plane_affines, sample_planes
from medtune_jax.datasets.ct.cases import Case, find_cases, holds_cases, load_case
from medtune_jax.errors import UserError
from medtune_jax.pictures import mosaic, png
from medtune_jax.progress import say

SHOWN = 12
WINDOW = (-200.0, 500.0)
CLOT, HIT, FALSE = (60, 255, 90), (80, 200, 255), (255, 190, 40)
_GRID = PatchGrid(widths_mm=(15.0,), shifts=(0.0,), rotations=0, size=96)
_GAP = 3


def montages(
    patients: Mapping[str, Patient], window: tuple[float, float] = WINDOW, seed: int = 0
) -> dict[str, bytes]:
    """true_candidates.png and false_candidates.png: up to 12 each, drawn at random.

    The upper row is the vessel's cross-section, the lower one its longitudinal plane (the vessel runs from top to
    bottom), 15 mm wide.
    """
    rng = np.random.default_rng(seed)
    files = {}
    for kind in (True, False):
        candidates = [(p, k) for p in patients.values() for k in np.flatnonzero(p.true == kind)]
        chosen = [candidates[i] for i in rng.permutation(len(candidates))[:SHOWN]]
        planes = [vessel_planes(patient, k, window) for patient, k in chosen]
        tiles = [tile for plane in zip(*planes, strict=True) for tile in plane]
        files[f"{'true' if kind else 'false'}_candidates.png"] = png(
            mosaic(tiles, len(chosen), _GAP)
        )
    return files


def show(directory: Path) -> Image.Image | None:
    """Axial slices of the patients in a folder: emboli outlined, candidates ringed; None where no volumes lie.

    Up to 12 patients, each at the slice through most of an embolus (or through its best candidate). Green outlines are
    emboli, blue rings candidates that hit one, orange rings false ones within 5 mm of the slice. A patient that cannot
    be read is named on the screen; UserError where none can.
    """
    if not holds_cases(directory):
        return None
    tiles, problems = [], []
    for case in find_cases(directory)[:SHOWN]:
        try:
            tiles.append(_axial(case))
        except UserError as error:
            problems.append(str(error))
    if not tiles:
        raise UserError("\n  ".join(problems))
    if problems:
        say("warning: not shown:\n  " + "\n  ".join(problems))
    return mosaic(tiles, min(4, len(tiles)), _GAP)


def vessel_planes(patient: Patient, k: int, window: tuple[float, float]) -> np.ndarray:
    """uint8 [2, S, S]: cross-section and longitudinal plane."""
    affines = plane_affines(patient.frame(k, "vessel"), tuple(patient.spacing), "vessel", _GRID)
    return _gray(sample_planes(patient.blocks[k], affines[0], _GRID.size), window)


def _axial(case: Case) -> Image.Image:
    volume, mask = load_case(case)
    candidates = find_candidates(volume, CandidateConfig())
    positions = np.array([c.position for c in candidates]).reshape(-1, 3)
    spacing = np.array(volume.spacing)
    hits = hit_table(positions, mask, np.unique(mask[mask > 0]), spacing)
    if mask.any():
        z = int((mask > 0).sum((1, 2)).argmax())
    else:
        z = int(positions[0, 0]) if len(positions) else len(mask) // 2
    # Square pixels of about 1 mm.
    zoom = spacing[1:] / 0.8
    gray = ndimage.zoom(_gray(volume.hu[z].astype(np.float32), WINDOW), zoom, order=1)
    picture = np.repeat(gray[..., None], 3, -1)
    emboli = ndimage.zoom((mask[z] > 0).astype(np.float32), zoom, order=1) > 0.5
    picture[ndimage.binary_dilation(emboli, iterations=2) & ~emboli] = CLOT
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for position, hit in zip(positions, hits.sum(1), strict=True):
        if abs(position[0] - z) * spacing[0] <= 5:
            y, x = position[1:] * zoom
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), outline=HIT if hit else FALSE)
    text = f"{case.patient}: {len(np.unique(mask)) - 1} emboli, {len(candidates)} candidates"
    draw.text((4, 4), text, fill=(240, 240, 240), font=ImageFont.load_default(12))
    return image


def _gray(hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    return np.rint(255 * np.clip((hu - low) / (high - low), 0, 1)).astype(np.uint8)
