"""medtune data: what it lists, prepares, shows and refuses."""

import numpy as np
import pytest
from PIL import Image

from medtune_jax import cli
from medtune_jax.applications import show
from medtune_jax.datasets.sheet import TRUTH_COLOUR
from medtune_jax.datasets.store import every_builder
from tests.datasets.dataset_files import disc, picture, save, save_video


def medtune(capsys, *arguments):
    """(exit code, stdout, stderr) of one command line."""
    code = cli.run([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def outlined_tiles(path):
    """How many tiles of a sheet of 176 x 132 pictures show a lesion's outline."""
    pixels = np.asarray(Image.open(path))
    marked = (pixels == TRUTH_COLOUR).all(-1)
    rows, columns = np.arange(6, len(pixels), 164), np.arange(6, pixels.shape[1], 182)
    return sum(bool(marked[r : r + 132, c : c + 176].any()) for r in rows for c in columns)


def test_every_set_is_listed_with_its_layout(capsys):
    code, out, _ = medtune(capsys, "data", "list")
    assert code == 0
    assert {"kvasir_seg", "nerthus", "cad_pe", "cubs"} <= set(every_builder())
    for name, builder in every_builder().items():
        assert f"{name}\n    {builder.__doc__}" in out and builder.layout in out


def test_prepare_then_show_by_name_and_by_folder(tmp_path, capsys):
    for number in (1, 2, 3):
        save(tmp_path / "raw/images" / f"{number}.png", picture(number))
        save(tmp_path / "raw/masks" / f"{number}.png", disc())
    command = ("prepare", "kvasir_seg", "--dir", tmp_path / "raw", "--output", tmp_path / "out")
    code, out, _ = medtune(capsys, "data", *command)
    assert code == 0 and out.startswith(f"prepared: {tmp_path / 'out' / 'kvasir_seg'}")
    shown = (
        ("kvasir_seg", "--dir", tmp_path / "out"),
        (tmp_path / "out/kvasir_seg",),
        (tmp_path / "raw",),
    )
    for number, source in enumerate(shown):
        sheet = tmp_path / f"{number}.png"
        code, out, _ = medtune(capsys, "data", "show", *source, "--output", sheet)
        assert code == 0 and out == f"sheet: {sheet}\n"
        assert outlined_tiles(sheet) == 3


def test_a_prepared_set_of_another_kind(tmp_path, capsys):
    for label in ("bbps-0-1", "bbps-2-3", "impacted-stool"):
        save(tmp_path / "raw" / label / f"{label}.jpg", picture(1))
    raw, out = tmp_path / "raw", tmp_path / "out"
    medtune(capsys, "data", "prepare", "hyper_kvasir_quality", "--dir", raw, "--output", out)
    picture_ = show.picture_of(out / "hyper_kvasir_quality")
    assert picture_.size == (3 * 182 + 6, 132 + 26 + 12)


def test_plain_videos_with_and_without_a_split(tmp_path):
    for side in ("train", "test"):
        save(tmp_path / side / f"{side}one" / "a.png", picture(0))
        save(tmp_path / side / f"{side}one" / "masks" / "a.png", disc())
        save_video(tmp_path / side / f"{side}two.mp4", [30] * 10)
    for folder, count in ((tmp_path / "train", 2), (tmp_path, 4)):
        assert show.picture_of(folder).width == count * 182 + 6


def test_folders_of_images(tmp_path):
    for label in ("ill", "well"):
        save(tmp_path / "classes" / label / f"{label}.png", picture(1))
        save(tmp_path / "classes" / label / f"{label}2.png", picture(1))
        save(tmp_path / "listed" / f"{label}.png", picture(1))
        save(tmp_path / "listed" / f"{label}2.png", picture(1))
    rows = [f"{label}{k}.png,{label},p{label}{k}" for label in ("ill", "well") for k in ("", "2")]
    (tmp_path / "listed/labels.csv").write_text("\n".join(["image,label,patient", *rows]))
    for folder in ("classes", "listed"):
        assert show.picture_of(tmp_path / folder).size == (4 * 182 + 6, 176 + 26 + 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "medtune data takes list | prepare NAME"),
        (("list", "all"), "got list all"),
        (("prepare", "nerthu", "--dir", "a", "--output", "b"), "unknown data set 'nerthu'; choose"),
        (("prepare", "nerthus"), "give its downloaded folder and where to put it"),
        (("prepare", "nerthus", "--dir", "{empty}", "--output", "{empty}/b"), "no such folder, or"),
        (("show", "nowhere", "--output", "a.png"), "there is no folder nowhere"),
        (("show", "nerthus", "--dir", "{empty}", "--output", "a.png"), "is not prepared there"),
        (("show", "{empty}", "--output", "a.jpg"), "name a PNG file"),
        (("show", "{empty}", "--output", "{empty}/a.png"), "no data set that medtune knows"),
    ],
)
def test_bad_requests_get_one_sentence(tmp_path, capsys, arguments, message):
    code, _, err = medtune(capsys, "data", *(a.format(empty=tmp_path) for a in arguments))
    assert code == cli.BAD_INPUT
    assert message in err and err.startswith("medtune: ") and err.count("\n") == 1


def test_help_has_an_example(capsys):
    code, out, _ = medtune(capsys, "data", "--help")
    assert code == 0 and "medtune data prepare nerthus --dir" in out and "--output" in out
