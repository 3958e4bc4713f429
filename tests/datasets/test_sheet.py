import numpy as np

from medtune_jax.datasets import Frame, contact_sheet, outlined
from medtune_jax.datasets.sheet import TRUTH_COLOUR
from tests.datasets.dataset_files import disc, picture


def test_outline_is_drawn_inside_the_lesion_only():
    image, mask = np.zeros((24, 32, 3), np.uint8), disc()
    drawn = (outlined(image, mask, width=1) == TRUTH_COLOUR).all(-1)
    assert drawn.any() and not drawn[~mask].any() and not drawn[12, 16]
    assert not image.any()


def test_sheet_picks_evenly():
    frames = [Frame(f"v{k}", "a", picture(k), mask=disc(), quality=k % 2) for k in range(50)]
    sheet = contact_sheet(frames, maximum=6, columns=3, tile=64)
    assert sheet.size == (3 * 70 + 6, 2 * (48 + 26 + 6) + 6)
    assert (np.asarray(sheet) == TRUTH_COLOUR).all(-1).sum() > 6 * 20


def test_frames_of_different_shapes_fit():
    frames = [Frame("v", "wide", picture(1, 10, 90)), Frame("v", "tall", picture(2, 90, 10))]
    assert contact_sheet(frames, columns=2, tile=40).size == (2 * 46 + 6, 40 + 26 + 12)


def test_long_names_keep_their_end_and_facts_have_their_own_line():
    frames = [
        Frame("a-video-with-a-very-long-name", f"{k}", picture(k), label="x" * k) for k in (1, 2)
    ]
    sheet = np.asarray(contact_sheet(frames, tile=64))
    captions = sheet[-32:-6].max(-1) > 100
    assert captions[:13, 6:70].any() and captions[13:, 6:70].any()
    assert not captions[:, 70:76].any()  # nothing runs into the neighbour
    assert (captions[:13, 6:70] != captions[:13, 76:140]).any()  # the ends differ
