"""Exact against convolutional scoring of ultrasound regions: speed, boundary error, and its difference.

    python scripts/bench/dense_modes.py STUDY/runs/NAME --regions 6

Regions are phantoms of a seed that no study uses. Times are processor seconds of all threads, so that
other work on the machine does not count; compiling is left out.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from medtune_jax.applications.intima_media.cases import phantom_regions
from medtune_jax.applications.intima_media.contours import extract_contours
from medtune_jax.applications.intima_media.predict import classifier_of
from medtune_jax.applications.intima_media.scan import confidence_maps
from medtune_jax.applications.predict import load
from medtune_jax.evaluation.paired import mean_difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--regions", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    classifier = classifier_of(load(options.run))
    rois = phantom_regions(options.regions, 1, options.seed)
    columns = np.arange(rois[0].image.shape[1])
    errors = {}
    for mode in ("convolutional", "exact"):
        score = getattr(classifier, mode)
        score(rois[0].image, columns[:2] if mode == "exact" else columns)  # compiles
        began, cpu = time.perf_counter(), time.process_time()
        maps = [confidence_maps(score(r.image, columns), 60, columns, columns) for r in rois]
        cpu, wall = (
            (time.process_time() - cpu) / len(rois),
            (time.perf_counter() - began) / len(rois),
        )
        traced = time.process_time()
        contours = [extract_contours(*pair) for pair in maps]
        traced = len(rois) / (time.process_time() - traced)
        errors[mode] = np.array(
            [
                [np.abs(found - truth).mean() for found, truth in ((c.li, r.li), (c.ma, r.ma))]
                + [
                    np.abs(found - truth).mean()
                    for found, truth in ((c.step_li, r.li), (c.step_ma, r.ma))
                ]
                for r, c in zip(rois, contours, strict=True)
            ]
        )
        li, ma, step_li, step_ma = errors[mode].mean(axis=0)
        print(
            f"{mode}: {cpu:.2f} processor s an image ({1 / cpu:.3f} images/s; wall {wall:.2f} s), "
            f"then {traced:.0f} traced per s, LI {li:.3f}, MA {ma:.3f} px; step lines {step_li:.3f}, {step_ma:.3f} px",
            flush=True,
        )
    for which, name in enumerate(("LI", "MA")):
        difference = mean_difference(
            errors["convolutional"][:, which],
            errors["exact"][:, which],
            np.array([roi.subject for roi in rois]),
            fixed=True,
        )
        print(
            f"{name}, convolutional - exact: {difference.estimate:+.3f} px "
            + (
                f"(no interval: {difference.why})"
                if difference.low is None
                else f"(95% interval {difference.low:+.3f} to {difference.high:+.3f})"
            )
        )


if __name__ == "__main__":
    main()
