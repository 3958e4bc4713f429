"""The ultrasound phantom: echo statistics, exact interfaces, and what a subject's regions share."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.signal import hilbert

from medtune_jax.phantoms.ultrasound import (
    MM_PER_PIXEL,
    Grid,
    _fine_positions,
    _scan,
    draw_subject,
    generate,
    render_roi,
)


@pytest.fixture(scope="module")
def rois():
    found = []
    for index in range(20):
        rng = np.random.default_rng([11, index])
        found.append(render_roi(draw_subject(rng), rng))
    return found


def band(roi, start, stop):
    """Pixels between two contours, [n]."""
    rows = np.arange(roi.image.shape[0])[:, None]
    return roi.image[(rows >= start) & (rows <= stop)].astype(float)


def test_tissues_have_the_brightness_of_a_far_wall(rois):
    """Dark lumen, brighter media, bright adventitia; and a line at LI brighter than the media."""
    lumen = np.array([band(r, 12, r.li - 5).mean() for r in rois])
    line = np.array([band(r, r.li - 0.5, r.li + 1).mean() for r in rois])
    media = np.array([band(r, r.ma - 0.6 * (r.ma - r.li), r.ma - 3).mean() for r in rois])
    adventitia = np.array([band(r, r.ma + 1, r.ma + 6).mean() for r in rois])
    assert (lumen < media).mean() >= 0.9
    assert (line > lumen + 20).mean() >= 0.9
    assert np.median(line - media) > 10
    assert (adventitia > media + 40).mean() >= 0.9
    assert np.median([(r.image == 255).mean() for r in rois]) < 0.1


def test_contours_are_in_the_image_in_order_and_as_thick_as_an_artery(rois):
    for roi in rois:
        assert roi.image.shape == (60, 92)
        assert roi.image.dtype == np.uint8
        assert roi.li.shape == roi.ma.shape == (92,)
        assert roi.li.min() > 2
        assert roi.ma.max() < 58
        thickness = (roi.ma - roi.li) * roi.mm_per_pixel
        assert thickness.min() > 0.3
        assert thickness.max() < 2.2
        assert np.abs(np.diff(roi.li)).max() < 1  # an anatomical surface, not noise


def quiet_subject(**changes):
    """A flat strong wall: what remains moves only with the interface."""
    subject = draw_subject(np.random.default_rng(0))
    calm = replace(subject, plaque_height=0.0, curvature=0.0, taper=0.0, intima=-5.0, lumen=-60.0)
    return replace(calm, thickness=0.9, media=-32.0, **changes)


def test_the_li_echo_peaks_at_the_stated_row_with_subpixel_accuracy():
    """Averaged along the wall, the brightest row of the LI line is the exact contour."""
    offsets = []
    for seed in range(12):
        roi = render_roi(quiet_subject(), np.random.default_rng(seed))
        level = 10 ** (roi.image.astype(float) / 255 * 2.5)  # undo most of the compression
        rows = np.arange(-4, 5, 0.1)
        at = roi.li + rows[:, None]
        profile = np.array(
            [np.interp(at[:, x], np.arange(60), level[:, x]) for x in range(92)]
        ).mean(axis=0)
        offsets.append(rows[np.argmax(gaussian_filter1d(profile, 3))])
    # The intima's own scatterers lie below LI and pull the peak down a little.
    assert abs(np.mean(offsets)) < 0.5
    assert np.std(offsets) < 0.4


def test_speckle_is_fully_developed_and_wider_across_the_beam():
    """Uniform scatterers give a Rayleigh envelope (SNR 1.91) of unit power, lateral > axial."""
    subject = replace(quiet_subject(), wall_depth=0.0, focus_depth=2.0, focal_range=1.0)
    grid = Grid(
        _fine_positions(120, 5) * MM_PER_PIXEL,
        _fine_positions(120, 3) * MM_PER_PIXEL,
    )
    rng = np.random.default_rng(1)
    lines = _scan(subject, grid, rng.standard_normal((grid.depth.size, grid.along.size)), rng)
    envelope = np.abs(hilbert(lines, axis=0))[40:-40]
    assert np.mean(envelope**2) == pytest.approx(1, rel=0.08)
    assert envelope.mean() / envelope.std() == pytest.approx(1.91, abs=0.1)

    def correlation_length(rows, axis):
        """mm at which the envelope's correlation falls to one half."""
        centred = envelope[rows] - envelope[rows].mean()
        spectrum = np.abs(np.fft.fft(centred, axis=axis)) ** 2
        curve = np.fft.ifft(spectrum, axis=axis).real.mean(axis=1 - axis)
        step = (grid.axial_step, grid.lateral_step)[axis]
        return step * np.argmax(curve < curve[0] / 2)

    depth = grid.depth[40:-40]
    near_focus = np.abs(depth - 2.0) < 0.7
    off_focus = depth > 5.0
    assert correlation_length(near_focus, 1) > correlation_length(near_focus, 0)
    assert correlation_length(off_focus, 1) > 1.8 * correlation_length(near_focus, 1)


def test_focus_sharpens_and_frequency_shortens():
    """A point's echo is narrow at the focus, wide away from it, and longer at low frequency."""

    def spread(subject, axis):
        grid = Grid(
            _fine_positions(60, 5) * MM_PER_PIXEL,
            _fine_positions(92, 3) * MM_PER_PIXEL,
        )
        point = np.zeros((grid.depth.size, grid.along.size))
        point[point.shape[0] // 2, point.shape[1] // 2] = 1000.0
        echo = _scan(subject, grid, point, np.random.default_rng(0)) ** 2
        profile = echo.sum(axis=1 - axis)
        position = (grid.depth, grid.along)[axis]
        middle = (profile * position).sum() / profile.sum()
        return np.sqrt((profile * (position - middle) ** 2).sum() / profile.sum())

    focused = quiet_subject(wall_depth=18.0, focus_depth=20.0, focal_range=6.0)
    assert spread(replace(focused, focus_depth=8.0), 1) > 1.8 * spread(focused, 1)
    assert spread(replace(focused, frequency=5.0), 0) > 1.5 * spread(
        replace(focused, frequency=10.0), 0
    )


def test_subjects_differ_more_than_their_regions():
    thickness = []
    for index in range(12):
        rng = np.random.default_rng(index)
        subject = replace(draw_subject(rng), plaque_height=0.0)
        rois = [render_roi(subject, rng) for _ in range(3)]
        thickness.append([(r.ma - r.li).mean() for r in rois])
    within = np.std(thickness, axis=1).mean()
    between = np.std(np.mean(thickness, axis=1))
    assert within > 0
    assert between > 4 * within


def test_plaque_thickens_locally():
    subject = quiet_subject(plaque_width=0.8)
    flat = render_roi(subject, np.random.default_rng(3))
    bumped = render_roi(replace(subject, plaque_height=0.6), np.random.default_rng(3))
    extra = (bumped.ma - bumped.li) - (flat.ma - flat.li)
    assert extra.max() * MM_PER_PIXEL == pytest.approx(0.6, abs=0.05)
    assert extra.min() * MM_PER_PIXEL < 0.1


def test_size_and_scale_are_free():
    roi = render_roi(quiet_subject(), np.random.default_rng(0), 128, 96, 0.05)
    assert roi.image.shape == (96, 128)
    assert (roi.ma - roi.li).mean() * 0.05 == pytest.approx(0.9, rel=0.1)


def test_a_subject_depends_on_seed_and_number_alone():
    few, many, other = generate(0, 1, seed=5), generate(0, 2, seed=5), generate(1, 1, seed=5)
    for field, value in few[0]._asdict().items():
        np.testing.assert_array_equal(value, getattr(many[0], field))
    assert np.abs(few[0].image.astype(float) - other[0].image).mean() > 5
