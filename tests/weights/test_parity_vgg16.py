"""VGG-16 agrees with OpenCV; a file of its own because its weights take half a gigabyte."""

import pytest

pytest.importorskip("cv2")
import parity


@pytest.mark.slow
def test_every_stage_agrees_with_opencv(tmp_path):
    errors = dict(parity.compare("vgg16", 1, tmp_path))
    assert len(errors) == 16
    assert max(errors.values()) < parity.LIMIT, errors
