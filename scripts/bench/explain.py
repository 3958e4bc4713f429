"""Do the maps find what decides? A study of generated lesions, whose places are known, and its networks' maps.

    python scripts/bench/explain.py --images 600 --size 131 --shown 24

Prints, over test images that are rightly called "lesion", by Grad-CAM at several stages and by occlusion: the share of
the map that lies in the lesion (a blind map has the lesion's share of the image), in how many the map's peak does, and
the rank correlation with occlusion; then the rank correlation with the maps of weights drawn at random, stage by stage
from the head downwards (Adebayo et al. 2018).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from medtune_jax import explanation
from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.mapping import Mapper
from medtune_jax.applications.predict import load_all
from medtune_jax.compilation import keep_programs
from medtune_jax.study import default_config, sweep

_SPREAD, _REACH = 7, 2.0  # of a lesion, a Gaussian: pixels, and where it ends in units of that


def write_lesions(folder: Path, count: int, side: int) -> np.ndarray:
    """Smooth noise, every second patient with a bright spot; float [count, 2], row and column of each (NaN: none)."""
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), ["image,label,patient"]
    places = np.full((count, 2), np.nan)
    grid = np.mgrid[:side, :side]
    for number in range(count):
        picture = 110 + gaussian_filter(rng.normal(0, 180, (side, side)), 3)
        if number // 2 % 2:
            places[number] = rng.integers(20, side - 20, 2)
            far = ((grid - places[number][:, None, None]) ** 2).sum(0)
            picture += 70 * np.exp(-far / (2 * _SPREAD**2))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        label = "lesion" if number // 2 % 2 else "clear"
        rows.append(f"{number}.png,{label},p{number // 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return places


def study_of(images: Path, size: int, output: Path) -> Path:
    config = default_config()
    config.data.dir, config.image_size = str(images), size
    config.sweep.depths, config.sweep.seeds, config.sweep.fractions = "fire8", 1, "1.0"
    config.training.epochs = 20
    return sweep(config, output, quiet=True)


def rightly_called(study: Path, most: int) -> list[str]:
    """Names of test images with a lesion and a probability of it above one half."""
    results = load_all([study]).results
    (run,), test = results.runs, results.test
    print(f"test AUC {run.test:.3f}, {len(test.names)} test images")
    lesion = results.classes.index("lesion")
    right = (test.labels == lesion) & (run.scores.argmax(axis=1) == lesion)
    return test.names[right][:most].tolist()


def inside(places: np.ndarray, side: int) -> np.ndarray:
    """bool [N,S,S]: the lesions."""
    far = ((np.mgrid[:side, :side][None] - places[:, :, None, None]) ** 2).sum(1)
    return far <= (_REACH * _SPREAD) ** 2


def print_found(name: str, maps: np.ndarray, where: np.ndarray, covered: np.ndarray) -> None:
    share = (maps * where).sum((1, 2)) / maps.sum((1, 2))
    peaks = np.where(maps == maps.max((1, 2), keepdims=True), where, 0).any((1, 2))
    agree = explanation.rank_correlation(maps, covered).mean()
    figures = f"{share.mean():.2f}, peak {peaks.mean():.2f}, with occlusion {agree:.2f}"
    print(f"{name:16} in the lesion {figures}")


def print_maps(ensemble: Ensemble, pixels: np.ndarray, where: np.ndarray) -> None:
    of = 1  # of clear, lesion
    print(f"{len(pixels)} images, of which lesions are {where.mean():.3f}")
    covered = Mapper(ensemble, "occlusion")(pixels, of)
    print_found("occlusion", covered, where, covered)
    for stage in ("fire9", "fire8", "fire5", "fire3"):
        print_found(f"Grad-CAM {stage}", Mapper(ensemble, stage=stage)(pixels, of), where, covered)
    mapper = Mapper(ensemble)
    trained = mapper.signed(mapper.params[0], pixels, of)
    for down_to in reversed(mapper.network.names):
        drawn = explanation.with_random(mapper.network, mapper.params[0], down_to, len(where[0]))
        maps = mapper.signed(drawn, pixels, of)
        values = explanation.rank_correlation(trained, maps)
        figures = f"rank correlation {values.mean():+.2f} (sd {values.std():.2f})"
        print(f"random down to {down_to:8} {figures}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size", type=int, default=131)
    parser.add_argument("--shown", type=int, default=24)
    given = parser.parse_args()
    keep_programs()
    with tempfile.TemporaryDirectory() as scratch:
        places = write_lesions(Path(scratch) / "images", given.images, given.size)
        study = study_of(Path(scratch) / "images", given.size, Path(scratch) / "study")
        names = rightly_called(study, given.shown)
        pixels = np.stack(
            [np.asarray(Image.open(Path(scratch) / "images" / n).convert("RGB")) for n in names]
        )
        where = inside(places[[int(Path(name).stem) for name in names]], given.size)
        print_maps(load_all([study]), pixels, where)


if __name__ == "__main__":
    main()
