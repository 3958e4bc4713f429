"""Maps of what speaks for a class, under the networks of an ensemble."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import jax
import numpy as np

from medtune_jax import explanation
from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.protocol import Option
from medtune_jax.errors import UserError
from medtune_jax.explanation import Classes
from medtune_jax.networks import Network, Params
from medtune_jax.patches import PatchSet, pixels_of
from medtune_jax.pictures import mosaic, png

GRAD_CAM, OCCLUSION = "grad_cam", "occlusion"
MAPS = "maps"
_GAP, _LEAST = 3, 160  # pixels: between panels, and the side of a patch in one

OPTIONS = (
    Option("explain", False, "draw what in each image speaks for what it is called", bool),
    Option("explain_by", GRAD_CAM, f"how: {GRAD_CAM}, or {OCCLUSION}, slower, which checks it"),
    Option("explain_stage", "", f"of {GRAD_CAM}: the stage; empty: the last one that has a map"),
)
"""Of a `predict` that draws maps."""


def panel(image: np.ndarray, map_: np.ndarray) -> np.ndarray:
    """uint8 [S,2S,3]: an image [S,S,3], and beside it the same below its map [S,S]."""
    return np.concatenate([image, explanation.overlay(image, map_)], axis=1)


class Mapper:
    """Maps of patches, the mean of those of an ensemble's networks.

    by: grad_cam or occlusion. stage: of Grad-CAM; '' for the last with a map. UserError for others.
    """

    def __init__(self, ensemble: Ensemble, by: str = GRAD_CAM, stage: str = "") -> None:
        if by not in (GRAD_CAM, OCCLUSION):
            near = get_close_matches(by, (GRAD_CAM, OCCLUSION), 1, 0)[0]
            raise UserError(
                f"explain_by is '{by}'; did you mean '{near}'? ({GRAD_CAM}, {OCCLUSION})"
            )
        if by == OCCLUSION and stage:
            raise UserError(
                f"explain_stage is '{stage}', but {OCCLUSION} looks at no stage: leave it out"
            )
        first = ensemble.members[0].checkpoint
        self.network: Network = first.build()
        self.by = by
        self.stage = explanation.stage_to_map(self.network, ensemble.size, stage)
        self.params: list[Params] = [jax.device_put(m.checkpoint.params) for m in ensemble.members]
        self._exclusive, self._preprocessing = not ensemble.findings, first.preprocessing
        self._one = self._grad_cam if by == GRAD_CAM else self._occlusion

    def __call__(self, patches: np.ndarray | PatchSet, of: Classes) -> np.ndarray:
        """float32 [P,S,S] of 0 to 1, of uint8 [P,S,S,3] or patches, for a class or int [P], one for each."""
        return np.mean([self._one(params, patches, of) for params in self.params], axis=0)

    def sheet(self, patches: PatchSet, index: np.ndarray, of: Classes, across: int) -> bytes:
        """PNG: patches int [n], `across` in a row, each beside the same below its map for a class, or for its own."""
        pixels = pixels_of(patches, index)
        panels = [panel(*pair) for pair in zip(pixels, self(pixels, of), strict=True)]
        larger = max(1, _LEAST // pixels.shape[1])  # small patches could not be looked at
        panels = [each.repeat(larger, 0).repeat(larger, 1) for each in panels]
        return png(mosaic(panels, min(across, len(panels)), _GAP))

    def signed(self, params: Params, patches: np.ndarray | PatchSet, of: Classes) -> np.ndarray:
        """Grad-CAM with any parameters, and with what speaks against the class: [P,S,S] of -1 to 1."""
        return self._grad_cam(params, patches, of, signed=True)

    def _grad_cam(
        self, params: Params, patches: np.ndarray | PatchSet, of: Classes, signed: bool = False
    ) -> np.ndarray:
        return explanation.grad_cam(
            *(self.network, params, patches, of),
            stage=self.stage,
            exclusive=self._exclusive,
            signed=signed,
            preprocessing=self._preprocessing,
        )

    def _occlusion(self, params: Params, patches: np.ndarray | PatchSet, of: Classes) -> np.ndarray:
        return explanation.occlusion(
            *(self.network, params, patches, of),
            exclusive=self._exclusive,
            preprocessing=self._preprocessing,
        )


def mapper_of(
    ensemble: Ensemble, explain: bool = False, explain_by: str = GRAD_CAM, explain_stage: str = ""
) -> Mapper | None:
    """As `OPTIONS` say; None where no maps are asked for. UserError as `Mapper`, and for a way to draw none."""
    if not explain and (explain_stage or explain_by != GRAD_CAM):
        raise UserError("how to draw maps is said, but not to draw them: add --explain")
    return Mapper(ensemble, explain_by, explain_stage) if explain else None


def drawn_by(mapper: Mapper | None) -> tuple[str, str]:
    """What decides how maps look; empty where none are drawn."""
    return (mapper.by, mapper.stage) if mapper else ("", "")


def map_files(names: Sequence[str]) -> list[str]:
    """Of each case the file of its map; numbers, since two may be called alike."""
    digits, plain = len(str(len(names))), [re.sub(r"[^\w.-]+", "-", name) for name in names]
    return [f"{MAPS}/{number:0{digits}d}-{name}.png" for number, name in enumerate(plain, 1)]
