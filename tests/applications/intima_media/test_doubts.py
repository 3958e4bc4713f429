"""What makes a region doubtful is said: text burnt into the image (speckle is not text), no calibration."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from medtune_jax.applications.intima_media.doubts import overlay_marks, warn_about
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.phantoms.ultrasound import draw_subject, render_roi


def phantom_roi(seed):
    rng = np.random.default_rng(seed)
    return Roi(*render_roi(draw_subject(rng), rng), subject="s", name="roi")


def test_results_without_calibration_are_doubtful():
    (warning,) = warn_about(replace(phantom_roi(0), mm_per_pixel=None))
    assert warning == "roi has no calibration: results are in pixels."


@pytest.mark.parametrize(("factor", "doubts"), [(0.1, 1), (1, 0), (10, 1)])
def test_a_wall_as_thick_as_none_is_doubtful(factor, doubts):
    roi = phantom_roi(0)
    said = warn_about(replace(roi, mm_per_pixel=factor * roi.mm_per_pixel))
    assert [line.split(" would be ")[0] for line in said] == ["roi: its wall"] * doubts


def test_burnt_in_text_is_found_and_speckle_is_not_text():
    for seed in range(25):
        roi = phantom_roi(seed)
        assert warn_about(roi) == []
        picture = Image.fromarray(roi.image)
        ImageDraw.Draw(picture).text((20, 2), "IMT 0.71", fill=255)
        marked = Roi(np.array(picture), roi.li, roi.ma, roi.mm_per_pixel, "s", "roi")
        (warning,) = warn_about(marked)
        assert "text or marks" in warning
        columns = np.flatnonzero(overlay_marks(marked.image).any(axis=0))
        assert columns.min() >= 18
        assert columns.max() < 80
