"""Pictures as a viewer shows them: upright, at their depth, white where white."""

import struct
import zlib

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from medtune_jax import images
from medtune_jax.errors import UserError

# 12 x 8, brighter to the right and downwards: every turn of it is another picture.
RAMP = (8 * np.arange(12)[None] + 11 * np.arange(8)[:, None]).astype(np.uint8)
TURNS = {
    1: RAMP,
    2: RAMP[:, ::-1],
    3: RAMP[::-1, ::-1],
    4: RAMP[::-1],
    5: RAMP.T,
    6: np.rot90(RAMP),
    7: RAMP[::-1, ::-1].T,
    8: np.rot90(RAMP, -1),
}
"""How a picture is stored that a viewer, by the orientation of this number, shows as RAMP."""


def gray(path):
    return np.asarray(images.rgb(path))[..., 0]


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_a_turned_picture_is_shown_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    picture = Image.fromarray(np.ascontiguousarray(TURNS[orientation])).convert("RGB")
    kind = {"lossless": True} if name.endswith("webp") else {"quality": 100}
    picture.save(tmp_path / name, exif=exif, **kind)
    np.testing.assert_allclose(gray(tmp_path / name).astype(int), RAMP, atol=2)


@pytest.mark.parametrize("orientation", TURNS)
def test_a_turned_deep_tiff_is_shown_upright(tmp_path, orientation):
    stored = np.ascontiguousarray(TURNS[orientation]).astype(np.uint16) * 3
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", stored, extratags=[tag])
    np.testing.assert_array_equal(gray(tmp_path / "a.tif"), images.stretched(RAMP))


COLOUR = np.stack([RAMP, 2 * RAMP, RAMP[::-1]], -1).astype(np.uint16) * 150 + 1000


def save_colour(path, kind):
    if kind == "png":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(COLOUR, isVector=True), str(path))
    elif kind == "planes":
        planes = np.moveaxis(COLOUR, -1, 0)
        tifffile.imwrite(path, planes, planarconfig="separate", photometric="rgb")
    elif kind == "float":
        tifffile.imwrite(path, (COLOUR / 65535).astype(np.float32), photometric="rgb")
    elif kind == "lzw":  # by ITK, since tifffile would want another package
        image = SimpleITK.GetImageFromArray(COLOUR, isVector=True)
        writer = SimpleITK.ImageFileWriter()
        writer.SetUseCompression(True)
        writer.SetCompressor("LZW")
        writer.SetFileName(str(path))
        writer.Execute(image)
    else:
        tifffile.imwrite(path, COLOUR, photometric="rgb", compression=kind)


@pytest.mark.parametrize("kind", ["png", None, "zlib", "lzw", "planes", "float"])
def test_deep_colour_is_scaled_as_deep_gray_is(tmp_path, kind):
    path = tmp_path / ("a.png" if kind == "png" else "a.tif")
    save_colour(path, kind)
    low, high = int(COLOUR.min()), int(COLOUR.max())
    want = np.rint((COLOUR.astype(float) - low) * 255 / (high - low))
    assert np.abs(np.asarray(images.rgb(path)).astype(int) - want).max() <= 1
    with pytest.raises(UserError, match="more than 8 bits a channel"):
        images.eight_bit(path)


@pytest.mark.parametrize(
    "kind", [np.uint8, np.uint16, np.uint32, np.int16, np.float16, np.float32, np.float64]
)
def test_white_as_the_low_values(tmp_path, kind):
    full = (RAMP - RAMP.min()) * (255 / np.ptp(RAMP))
    stored = np.rint(255 - full).astype(kind) if kind == np.uint8 else (-full).astype(np.float64)
    if kind != np.uint8:
        stored = (stored - (stored.min() if np.issubdtype(kind, np.unsignedinteger) else 0)) * 100
    tifffile.imwrite(tmp_path / "white.tif", stored.astype(kind), photometric="miniswhite")
    np.testing.assert_allclose(gray(tmp_path / "white.tif"), full, atol=1)
    tifffile.imwrite(tmp_path / "black.tif", stored.astype(kind), photometric="minisblack")
    np.testing.assert_allclose(gray(tmp_path / "black.tif"), 255 - full, atol=1)


def test_one_bit_and_palette(tmp_path):
    Image.fromarray(RAMP > 90).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(gray(tmp_path / "bit.png"), np.where(RAMP > 90, 255, 0))
    picture = Image.fromarray((RAMP > 90).astype(np.uint8), "P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    for name in ("p.png", "p.tif", "p.gif"):
        picture.save(tmp_path / name)
        got = np.asarray(images.rgb(tmp_path / name))
        np.testing.assert_array_equal(got[0, 0], [10, 20, 30])
        np.testing.assert_array_equal(got[-1, -1], [200, 100, 50])


@pytest.mark.parametrize("mode", ["LA", "RGBA", "CMYK", "I;16"])
def test_other_modes(tmp_path, mode):
    full = images.stretched(RAMP)
    picture = Image.fromarray(full if mode != "I;16" else full.astype(np.uint16) * 257)
    (picture if mode == "I;16" else picture.convert(mode)).save(tmp_path / "a.tif")
    np.testing.assert_allclose(gray(tmp_path / "a.tif").astype(int), full, atol=1)


HALF = np.stack([RAMP, 2 * RAMP, RAMP[::-1], np.full_like(RAMP, 255)], -1)
HALF[:4, :, 3], HALF[0, :6, 3] = 0, 51  # hidden, and a fifth of the ink


def on_white(rgba):
    share = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * share + 255 * (1 - share))


@pytest.mark.parametrize(
    "name", ["a.png", "a.webp", "a.tif", "a.jp2", "premultiplied.tif", "rgba64.tif"]
)
def test_what_is_transparent_is_white_and_hides_its_colours(tmp_path, name):
    path = tmp_path / name
    if name == "premultiplied.tif":
        ink = np.rint(HALF[..., :3] * (HALF[..., 3:] / 255)).astype(np.uint8)
        both = np.concatenate([ink, HALF[..., 3:]], -1)
        tifffile.imwrite(path, both, photometric="rgb", extrasamples=["assocalpha"])
    elif name == "rgba64.tif":
        tifffile.imwrite(path, HALF, photometric="rgb", extrasamples=["unassalpha"])
    else:
        more = {"lossless": True, "exact": True} if name == "a.webp" else {}
        Image.fromarray(HALF).save(path, **more)
    for read in (images.rgb, images.eight_bit):
        np.testing.assert_allclose(np.asarray(read(path)), on_white(HALF), atol=2)


@pytest.mark.parametrize("kind", ["LA", "palette", "gif", "colour", "value", "deep value", "bit"])
def test_every_way_to_say_transparent(tmp_path, kind):
    bright, hidden = np.where(RAMP > 90, 200, 7).astype(np.uint8), RAMP > 90
    want = np.where(hidden, 255, 7)
    path = tmp_path / ("a.gif" if kind == "gif" else "a.png")
    if kind == "LA":
        alpha = np.where(hidden, 0, 255).astype(np.uint8)
        Image.fromarray(np.stack([bright, alpha], -1)).save(path)
    elif kind in ("palette", "gif"):
        picture = Image.fromarray(hidden.astype(np.uint8), "P")
        picture.putpalette([7, 7, 7, 200, 200, 200])
        picture.save(path, transparency=1)
    elif kind == "colour":
        Image.fromarray(bright).convert("RGB").save(path, transparency=(200, 200, 200))
    elif kind == "value":
        Image.fromarray(bright).save(path, transparency=200)
    elif kind == "deep value":  # what is seen has one value, the darkest
        Image.fromarray(np.where(hidden, 60000, 7000).astype(np.uint16)).save(path)
        splice_png(path, b"tRNS", struct.pack(">H", 60000))
        want = np.where(hidden, 255, 0)
    else:
        Image.fromarray(hidden).save(path, transparency=1)
        want = np.where(hidden, 255, 0)
    np.testing.assert_array_equal(gray(path), want)


def splice_png(path, name, data):
    """Puts a chunk behind the header of a PNG."""
    whole = path.read_bytes()
    body = name + data
    chunk = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(whole[:33] + chunk + whole[33:])


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "float", "uint32", "png", "gray"])
def test_hidden_colours_take_no_part_in_the_range_of_deep_pictures(tmp_path, kind):
    deep = HALF.astype(np.float64) / 255
    deep[2:4, :, :3] = 1  # hidden, and brighter than what is seen
    seen = deep[..., 3] > 0
    low, high = deep[seen][:, :3].min(), deep[seen][:, :3].max()
    share = deep[..., 3:]
    want = (deep[..., :3] - low) / (high - low) * 255 * share + 255 * (1 - share)
    whole = np.rint(deep * 65535).astype(np.uint16)
    path = tmp_path / "a.tif"
    if kind == "png":
        path = tmp_path / "a.png"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(whole, isVector=True), str(path))
    elif kind == "assocalpha":
        whole[..., :3] = np.rint(whole[..., :3] * share)
        tifffile.imwrite(path, whole, photometric="rgb", extrasamples=[kind])
    elif kind == "gray":
        tags = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(path, whole[..., [1, 3]], extrasamples=["unassalpha"], **tags)
        low, high = deep[seen][:, 1].min(), deep[seen][:, 1].max()
        want = (deep[..., 1:2] - low) / (high - low) * 255 * share + 255 * (1 - share)
    else:
        numbers = {"float": deep.astype(np.float32), "uint32": (deep * (2**32 - 1)).astype("u4")}
        tifffile.imwrite(path, numbers.get(kind, whole), photometric="rgb")
    got = np.asarray(images.rgb(path)).astype(float)
    np.testing.assert_allclose(got[seen], np.broadcast_to(want, got.shape)[seen], atol=1)
    assert (got[~seen] == 255).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_picture_of_which_nothing_is_seen_is_refused(tmp_path, kind):
    tifffile.imwrite(
        tmp_path / "a.tif", HALF.astype(kind) * np.array([1, 1, 1, 0], kind), photometric="rgb"
    )
    with pytest.raises(UserError, match=r"a\.tif: is transparent everywhere"):
        images.rgb(tmp_path / "a.tif")


def test_channels_that_are_no_alpha_hide_nothing(tmp_path):
    deep = HALF.astype(np.uint16) * 100
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(
        np.asarray(images.rgb(tmp_path / "a.tif")), images.stretched(deep[..., :3])
    )
    for name, colour in (("five.tif", "minisblack"), ("cmyk.tif", "separated")):
        values = np.concatenate([deep, deep], -1)[..., : 5 if colour == "minisblack" else 4]
        tifffile.imwrite(tmp_path / name, values, photometric=colour, planarconfig="contig")
        with pytest.raises(UserError, match=rf"{name}: holds \d channels .* not known"):
            images.rgb(tmp_path / name)


def test_twelve_bits_in_one_and_a_half_bytes(tmp_path):
    deep = (RAMP.astype(np.uint16) * 20)[:, :10]
    pairs = deep.reshape(-1, 2).astype(int)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1
    )
    tags = [(256, 3, 1, 10), (257, 3, 1, 8), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, packed.size)]
    body = packed.astype(np.uint8).tobytes()
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(body)) + body + ifd)
    np.testing.assert_array_equal(gray(tmp_path / "a.tif"), images.stretched(deep))


def test_what_is_not_finite_never_blackens_a_picture(tmp_path):
    values = RAMP.astype(np.float32)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    got = gray(tmp_path / "a.tif")
    assert got[0, :3].tolist() == [0, 255, 0]
    finite = np.isfinite(values)
    np.testing.assert_array_equal(got[finite], images.stretched(values[finite]))
    values[0, :3] = (
        np.nan,
        np.finfo(np.float32).max,
        np.finfo(np.float32).min,
    )  # as programs mark no value
    tifffile.imwrite(tmp_path / "c.tif", values)
    np.testing.assert_array_equal(gray(tmp_path / "c.tif"), got)
    tifffile.imwrite(tmp_path / "d.tif", RAMP.astype(np.complex64))
    with pytest.raises(UserError, match=r"d\.tif: holds .*complex64 values"):
        images.rgb(tmp_path / "d.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(UserError, match=r"b\.tif: no pixel has a finite value"):
        images.rgb(tmp_path / "b.tif")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_several_pages_are_refused_by_name(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 9), kind), photometric="minisblack")
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP), Image.fromarray(RAMP // 2)]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    for name in ("a.tif", "a.gif", "a.webp", "a.png"):
        with pytest.raises(UserError, match=rf"{name}: holds 3 pages"):
            images.rgb(tmp_path / name)


def test_a_small_copy_inside_a_tiff_is_no_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RAMP, subfiletype=0)
        writer.write(RAMP[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(gray(tmp_path / "a.tif"), RAMP)


@pytest.mark.parametrize("name", ["a.webp", "a.jp2", "a.gif"])
def test_further_kinds(tmp_path, name):
    Image.fromarray(RAMP).save(tmp_path / name)
    assert images.images_in(tmp_path) == [tmp_path / name]
    np.testing.assert_allclose(gray(tmp_path / name).astype(int), RAMP, atol=6)


@pytest.mark.parametrize(("kind", "name"), [("a.jpg", "b.tif"), ("a.tif", "b.png")])
def test_content_counts_and_not_the_suffix(tmp_path, kind, name):
    Image.fromarray(RAMP).save(tmp_path / kind, quality=100)
    (tmp_path / kind).rename(tmp_path / name)
    np.testing.assert_allclose(gray(tmp_path / name).astype(int), RAMP, atol=2)


def test_hidden_files_are_no_images(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"Mac OS X")
    assert images.images_in(tmp_path) == [tmp_path / "a.png"]


def test_damaged_tiffs_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "whole.tif", RAMP.astype(np.uint16))
    whole = (tmp_path / "whole.tif").read_bytes()
    for size in (0, 6, 60, 200, len(whole) - 20):
        (tmp_path / "cut.tif").write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.tif: not a readable image"):
            images.rgb(tmp_path / "cut.tif")


def test_which_pictures_have_alpha_by_their_headers(tmp_path, monkeypatch):
    rgba = np.full((8, 12, 4), 255, np.uint8)
    Image.fromarray(rgba).save(tmp_path / "opaque.png")
    Image.fromarray(RAMP).save(tmp_path / "gray.png")
    rgba[2, 3, 3] = 250
    Image.fromarray(rgba).save(tmp_path / "one.png")
    Image.fromarray(RAMP).convert("P").save(tmp_path / "palette.png", transparency=int(RAMP[0, 5]))
    deep = np.full((8, 12, 4), 65535, np.uint16)
    deep[0, 0, 3] = 0
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "deep_rgb.tif", deep[..., :3], photometric="rgb")
    tifffile.imwrite(
        tmp_path / "float.tif",
        deep.astype(np.float32),
        photometric="rgb",
        extrasamples=["unassalpha"],
    )
    (tmp_path / "none.txt").write_text("no picture")

    def refuse(*_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(Image.Image, "load", refuse)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    found = {path.stem for path in tmp_path.iterdir() if images.has_alpha(path)}
    assert found == {"opaque", "one", "palette", "deep", "float"}
