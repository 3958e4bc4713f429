import numpy as np
import pytest
import scipy.fft
import scipy.ndimage as ndi
from PIL import Image
from sklearn.metrics import roc_auc_score

from medtune_jax.applications.frame_quality.baseline import fit, informative
from medtune_jax.applications.frame_quality.features import quality_features, reconstruction_errors
from medtune_jax.errors import UserError


def frame(rng, blur, height=140, width=200):
    """Texture under uneven light; a blurred frame is a bad one."""
    row, col = np.mgrid[:height, :width]
    light = 150 * np.exp(-((row - rng.uniform(0, 140)) ** 2 + (col - 100) ** 2) / 2e4)
    texture = ndi.gaussian_filter(rng.normal(size=(height, width)), 1) * 60
    sharp = light + texture * (light / 150)
    noisy = ndi.gaussian_filter(sharp, blur) + rng.normal(0, 1, (height, width))
    return np.repeat(np.clip(noisy + 40, 0, 255).astype(np.uint8)[..., None], 3, -1)


def frames(seed, count=40):
    rng = np.random.default_rng(seed)
    quality = np.arange(count) % 2
    images = [frame(rng, rng.uniform(0, 0.7) if q else rng.uniform(2, 5)) for q in quality]
    return np.stack([quality_features(image) for image in images]), quality


def test_errors_are_those_of_the_reconstruction_itself():
    image = np.random.default_rng(0).integers(0, 256, (64, 256, 3), dtype=np.uint8)
    gray = np.asarray(Image.fromarray(image).convert("L"), float)
    errors = reconstruction_errors(image)
    assert errors.shape == (3, 8, 32)
    cell = gray[8:16, 24:32]
    spectrum = scipy.fft.dctn(cell, norm="ortho")
    for level, kept in enumerate((1, 4, 12)):
        threshold = np.sort(np.abs(spectrum).ravel())[-kept]
        rebuilt = scipy.fft.idctn(
            np.where(np.abs(spectrum) >= threshold, spectrum, 0), norm="ortho"
        )
        expected = np.sqrt(np.mean((cell - rebuilt) ** 2))
        np.testing.assert_allclose(errors[level, 1, 3], expected, rtol=1e-4)


def test_a_flat_cell_has_no_error_and_detail_has():
    image = np.full((256, 256, 3), 90, np.uint8)
    image[:128] = np.random.default_rng(0).integers(0, 256, (128, 256, 1))
    errors = reconstruction_errors(image)
    assert errors[:, 17:].max() < 1e-2 and errors[:, :15].min() > 10
    assert (np.diff(errors[:, :15], axis=0) < 0).all()  # more coefficients, less error


def test_local_pooling_says_where():
    image = np.full((256, 256, 3), 90, np.uint8)
    image[:64, 64:128] = np.random.default_rng(0).integers(0, 256, (64, 64, 1))
    mean = quality_features(image)[:16].reshape(4, 4)
    assert np.unravel_index(mean.argmax(), (4, 4)) == (0, 1)
    assert np.isfinite(quality_features(image)).all()


def test_sharp_and_blurred_frames_are_told_apart():
    training = frames(0)
    judge = fit(training[0], training[1], seed=1)
    features, quality = frames(1)
    probability = informative(judge, features)
    assert probability.min() >= 0 and probability.max() <= 1
    assert roc_auc_score(quality, probability) > 0.97
    refit = fit(training[0], training[1], seed=1)
    np.testing.assert_array_equal(informative(refit, features), probability)


def test_frames_of_any_size_give_the_same_number_of_features():
    rng = np.random.default_rng(0)
    sizes = [(9, 7), (50, 300), (350, 500)]
    features = [quality_features(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in sizes]
    assert len({f.shape for f in features}) == 1
    assert all(np.isfinite(f).all() for f in features)


def test_one_class_empty():
    features, _ = frames(0, 4)
    with pytest.raises(UserError, match="no non-informative frame"):
        fit(features, [1] * 4)
    with pytest.raises(UserError, match="no informative frame"):
        fit(features, [0] * 4)
