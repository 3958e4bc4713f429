"""Masks of every tool: what is not background is lesion; true shades are refused with what was seen."""

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image, ImageFilter

from medtune_jax.datasets.colonoscopy import plain
from medtune_jax.errors import UserError
from medtune_jax.masks import read_lesions

TWO = np.zeros((64, 64), np.uint8)
TWO[10:25, 10:25], TWO[40:55, 40:55] = 1, 2
ONE = (TWO == 1).astype(np.uint8)


def palette(index, *colours):
    image = Image.fromarray(index, "P")
    image.putpalette([value for colour in colours for value in colour])
    return image


def coloured(*colours):
    return Image.fromarray(np.array(colours, np.uint8)[TWO])


MASKS = {
    "bits": (Image.fromarray(ONE > 0), ONE),
    "0 and 1": (Image.fromarray(ONE), ONE),
    "0 and 255": (Image.fromarray(255 * ONE), ONE),
    "0 and 100": (Image.fromarray(100 * ONE), ONE),
    "numbered": (Image.fromarray(TWO), TWO),
    "numbered with a gap": (Image.fromarray(7 * TWO), TWO),
    "sixteen bits": (Image.fromarray(TWO.astype(np.uint16) * 1000), TWO),
    "palette (128,0,0)": (palette(ONE, (0, 0, 0), (128, 0, 0)), ONE),
    "palette (0,0,40)": (palette(ONE, (0, 0, 0), (0, 0, 40)), ONE),
    "palette with black last": (palette(1 - ONE, (255, 255, 0), (0, 0, 0)), ONE),
    "palette without colours": (palette(TWO, (0, 0, 0), (0, 0, 0), (0, 0, 0)), TWO),
    "palette without black": (palette(TWO, (68, 1, 84), (33, 145, 140), (253, 231, 37)), TWO),
    "red and dark green": (coloured((0, 0, 0), (255, 0, 0), (0, 60, 0)), TWO),
    "rgb numbers": (coloured((0, 0, 0), (1, 1, 1), (2, 2, 2)), TWO),
    "opaque on transparent": (
        coloured((255, 255, 255, 0), (255, 255, 255, 255), (255, 255, 255, 255)),
        TWO,
    ),
    "black on transparent": (coloured((0, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 128)), TWO),
    "opaque everywhere": (coloured((0, 0, 0, 255), (9, 0, 0, 255), (0, 9, 0, 255)), TWO),
    "overlay on opaque black": (coloured((0, 0, 0, 255), (255, 0, 0, 100), (255, 0, 0, 100)), TWO),
    "empty": (Image.fromarray(0 * ONE), 0 * ONE),
}


@pytest.mark.parametrize("kind", MASKS)
def test_what_is_not_background_is_lesion(tmp_path, kind):
    image, labels = MASKS[kind]
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_lesions(tmp_path / "m.png"), labels > 0)


def test_gif_and_tiff(tmp_path):
    palette(ONE, (0, 0, 0), (200, 0, 0)).save(tmp_path / "m.gif")
    tifffile.imwrite(tmp_path / "m.tif", TWO.astype(np.float64))
    np.testing.assert_array_equal(read_lesions(tmp_path / "m.gif"), ONE > 0)
    np.testing.assert_array_equal(read_lesions(tmp_path / "m.tif"), TWO > 0)


def test_sixteen_bit_colour_below_256_is_not_empty(tmp_path):
    # Pillow keeps the high byte only: it would read this mask as black.
    colour = np.repeat(TWO[..., None].astype(np.uint16), 3, -1)
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(colour, isVector=True), str(tmp_path / "m.png")
    )
    assert not np.asarray(Image.open(tmp_path / "m.png")).any()
    np.testing.assert_array_equal(read_lesions(tmp_path / "m.png"), TWO > 0)


@pytest.mark.parametrize("level", [255, 100])
@pytest.mark.parametrize("colour", [(1, 1, 1), (1, 0, 0)])
def test_jpeg_is_cut_halfway(tmp_path, level, colour):
    mask = np.array(colour, np.uint8) * (ONE * level)[..., None]
    Image.fromarray(mask).save(tmp_path / "m.jpg", quality=80)
    wrong = read_lesions(tmp_path / "m.jpg") != (ONE > 0)
    assert wrong.sum() <= 60  # the rim of 15 x 15 pixels: chroma is kept at half resolution


def test_a_smoothed_mask_is_cut_halfway(tmp_path):
    smooth = Image.fromarray(255 * ONE).resize((256, 256), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "m.png")
    area = read_lesions(tmp_path / "m.png").sum() / 16
    assert abs(area - ONE.sum()) < 0.05 * ONE.sum()


def test_a_png_that_was_a_jpeg_is_cut_halfway(tmp_path):
    row, col = np.mgrid[:256, :256]
    disc = np.hypot(row - 128, col - 128) < 70
    Image.fromarray(disc).convert("L").save(tmp_path / "m.jpg", quality=60)
    Image.open(tmp_path / "m.jpg").save(tmp_path / "m.png")
    assert (np.asarray(Image.open(tmp_path / "m.png"))[~disc] > 0).sum() > 300  # ringing
    assert (read_lesions(tmp_path / "m.png") != disc).sum() < 100


def test_forty_numbered_lesions(tmp_path):
    cells = np.arange(64).repeat(8).reshape(1, -1) // 8
    labels = np.tile(cells, (8, 1)).astype(np.uint8)[:, : 8 * 40]
    labels = np.pad(labels, 4)
    for image in (Image.fromarray(labels), palette(labels, *[(0, 0, 0)] * 40)):
        image.save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_lesions(tmp_path / "m.png"), labels > 0)


@pytest.mark.parametrize(
    ("gray", "seen"),
    [
        (np.tile(np.arange(64, dtype=np.uint8), (64, 1)) * 4, "64 values from 0 to 252"),
        (np.random.default_rng(0).integers(0, 6, (64, 64), np.uint8), "6 values from 0 to 5"),
        (ONE + 1, "2 values from 1 to 2"),
        (np.where(ONE, np.nan, 0).astype(np.float32), "finite values"),
        (np.where(ONE, -1, 0).astype(np.float32), "2 values from -1 to 0"),
    ],
)
def test_true_gray_is_refused_with_what_was_seen(tmp_path, gray, seen):
    Image.fromarray(gray).save(tmp_path / "m.tif")
    with pytest.raises(UserError, match=rf"m\.tif: cannot be read as a mask.*{seen}"):
        read_lesions(tmp_path / "m.tif")


def test_a_photograph_and_a_heat_map_are_refused(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    noise.filter(ImageFilter.GaussianBlur(2)).save(tmp_path / "photo.png")
    row, col = np.mgrid[:64, :64]
    heat = 255 * np.exp(-((row - 32) ** 2 + (col - 32) ** 2) / 200)
    Image.fromarray(heat.astype(np.uint8)).save(tmp_path / "heat.png")
    for name in ("photo.png", "heat.png"):
        with pytest.raises(UserError, match="shades of gray"):
            read_lesions(tmp_path / name)


def test_colours_without_black_are_refused(tmp_path):
    red_on_white = np.where(ONE[..., None], (255, 0, 0), (255, 255, 255)).astype(np.uint8)
    Image.fromarray(red_on_white).save(tmp_path / "red.png")
    with pytest.raises(UserError, match=r"red\.png.*several colours and none is black"):
        read_lesions(tmp_path / "red.png")
    np.testing.assert_array_equal(read_lesions(tmp_path / "red.png", "white"), ONE > 0)


INVERTED = {
    "0 on 255": (Image.fromarray(255 * (1 - ONE)), ONE),
    "0 on 1": (Image.fromarray(1 - ONE), ONE),
    "bits": (Image.fromarray(ONE == 0), ONE),
    "sixteen bits": (Image.fromarray(np.uint16(65535) * (1 - ONE)), ONE),
    "two grays on white": (Image.fromarray(255 - 40 * TWO), TWO),
    "black and red on white": (coloured((255, 255, 255), (0, 0, 0), (255, 0, 0)), TWO),
    "black on opaque white": (coloured((255, 255, 255, 255), (0, 0, 0, 255), (0, 0, 0, 255)), TWO),
    "palette": (palette(TWO, (255, 255, 255), (0, 0, 0), (128, 0, 0)), TWO),
    "none on white": (Image.fromarray(0 * ONE + 255), 0 * ONE),
}


@pytest.mark.parametrize("kind", INVERTED)
def test_lesions_on_white_are_read_where_that_is_said_and_else_refused(tmp_path, kind):
    image, labels = INVERTED[kind]
    image.save(tmp_path / "m.png")
    with pytest.raises(
        UserError, match=r"m\.png: (its lesion would fill|cannot be read as a mask)"
    ):
        read_lesions(tmp_path / "m.png")
    np.testing.assert_array_equal(read_lesions(tmp_path / "m.png", "white"), labels > 0)


def test_lesions_on_white_of_jpeg(tmp_path):
    Image.fromarray(255 * (1 - ONE)).save(tmp_path / "m.jpg", quality=80)
    with pytest.raises(
        UserError, match=r"m\.jpg: its lesion would fill 95%.*mask_background=white"
    ):
        read_lesions(tmp_path / "m.jpg")
    assert (read_lesions(tmp_path / "m.jpg", "white") != (ONE > 0)).sum() <= 60


def test_lesions_on_white_within_a_round_picture(tmp_path):
    row, col = np.mgrid[:64, :64]
    scene = np.hypot(row - 31.5, col - 31.5) < 32
    Image.fromarray(255 * (scene & (ONE == 0)).astype(np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=r"73% of the frame and 19% of its border"):
        read_lesions(tmp_path / "m.png")


def test_a_large_lesion_is_one_and_a_full_frame_where_that_is_said(tmp_path):
    row, col = np.mgrid[:100, :100]
    large = np.hypot(row - 50, col - 35) < 54  # of the frame 77%, of its border 44%
    for name, mask in (("large", large), ("full", np.ones((64, 64), bool))):
        Image.fromarray(255 * mask.astype(np.uint8)).save(tmp_path / f"{name}.png")
    np.testing.assert_array_equal(read_lesions(tmp_path / "large.png"), large)
    with pytest.raises(UserError, match=r"100% of the frame and 100% of its border.*=black"):
        read_lesions(tmp_path / "full.png")
    assert read_lesions(tmp_path / "full.png", "black").all()
    with pytest.raises(UserError, match="mask_background is 'grey': give black, white or nothing"):
        read_lesions(tmp_path / "full.png", "grey")


def test_the_same_in_a_video_folder(tmp_path):
    (tmp_path / "v" / "masks").mkdir(parents=True)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "v" / "f.png")
    coloured((0, 0, 0), (255, 0, 0), (0, 0, 60)).save(tmp_path / "v" / "masks" / "f.png")
    np.testing.assert_array_equal(plain.read(tmp_path)[0].mask, TWO > 0)
