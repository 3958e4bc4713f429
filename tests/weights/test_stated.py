"""A preprocessing in the user's words."""

import caffe_files
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.cli import run
from medtune_jax.errors import UserError
from medtune_jax.weights import checkpoint
from medtune_jax.weights.files import convert_file
from medtune_jax.weights.stated import read_mean, stated

_OWN = networks.get("squeezenet").preprocessing
_RGB = networks.get("squeezenet").sources.formats["torchvision"].preprocessing


def test_what_is_said_is_what_is_applied():
    said = stated("rgb", "123.68, 116.779, 103.939").preprocessing(_OWN, _RGB)
    pixel = np.full((1, 1, 1, 3), (200, 150, 100), np.uint8)
    np.testing.assert_allclose(said(pixel)[0, 0, 0], [76.32, 33.221, -3.939], atol=1e-4)
    said = stated("BGR", "1", "0.5,1,2", "1/127.5").preprocessing(_OWN, None)
    b, g, r = np.array([100, 150, 200]) / 127.5 - 1
    np.testing.assert_allclose(said(pixel)[0, 0, 0], [b / 0.5, g, r / 2], atol=1e-5)
    assert stated() is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"order": "RBG", "mean": "1,2,3"}, "--order is 'RBG': give RGB or BGR"),
        ({"order": "RGB"}, "stated whole: add --mean"),
        ({"scale": "1/255"}, "stated whole: add --mean"),
        ({"mean": "1,2,3"}, "stated whole: add --order"),
        ({"order": "RGB", "mean": "1,2"}, "--mean is '1,2': give three numbers, or one"),
        ({"order": "RGB", "mean": "123,116,103", "scale": "1/255"}, "lie between 0 and 1: the mean"),
        ({"order": "RGB", "mean": "0.4", "scale": "1/0"}, "--scale is '1/0', which is no number"),
        ({"order": "RGB", "mean": "0.4", "scale": "-1"}, "give a number above 0, such as 1/255"),
        ({"order": "RGB", "mean": "0.4", "std": "0.2,0,0.2"}, "--std is 0.2,0,0.2: give numbers above 0"),
        ({"order": "RGB", "mean": "0.4", "std": "wide"}, "--std is 'wide', which is no number"),
        ({"order": "RGB", "mean": "0.4", "std": "nan"}, "--std is 'nan', which is no number"),
        ({"mean": "absent.binaryproto"}, "Cannot read absent.binaryproto"),
        ({"mean": "absent.npy"}, "cannot read the mean image absent.npy"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(words, says):
    with pytest.raises(UserError) as caught:
        stated(**words)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_mean_image_of_numpy_is_caffes(tmp_path):
    """pycaffe keeps the very array of the .binaryproto, 3 x height x width in BGR."""
    mean = np.random.default_rng(0).uniform(90, 130, (3, 256, 240)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    (tmp_path / "mean.binaryproto").write_bytes(caffe_files.blob(mean))
    images = [read_mean(tmp_path / f"mean.{end}") for end in ("npy", "binaryproto")]
    np.testing.assert_array_equal(*images)
    np.testing.assert_array_equal(images[0][3, 5], mean[:, 3, 5])
    said = stated("RGB", str(tmp_path / "mean.npy")).preprocessing(_OWN, _RGB)
    np.testing.assert_array_equal(said.mean, images[0][14:241, 6:233, ::-1])
    np.save(tmp_path / "other.npy", mean.transpose(1, 2, 0))
    with pytest.raises(UserError, match=r"no mean image: its shape is \(256, 240, 3\), not \(3, h"):
        read_mean(tmp_path / "other.npy")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"cannot read the mean image .*objects\.npy"):
        read_mean(tmp_path / "objects.npy")


def test_caffes_mean_image_does_not_fit_torchvisions_names(tmp_path):
    np.save(tmp_path / "mean.npy", np.full((3, 256, 256), 110))
    alone = stated(mean=str(tmp_path / "mean.npy"))
    assert alone.preprocessing(_OWN, _OWN).order == "BGR"
    np.save(tmp_path / "shares.npy", np.full((3, 256, 256), 0.45))
    with pytest.raises(
        UserError, match=r"0\.45 and 0\.45, but .* up to 255: state .*--scale=1/255"
    ):
        stated("BGR", str(tmp_path / "shares.npy")).preprocessing(_OWN, _OWN)
    with pytest.raises(UserError, match="the names of these layers are not Caffe's: state --order"):
        alone.preprocessing(_OWN, _RGB)


def test_from_the_command_line_into_the_checkpoint(tmp_path, capsys):
    _, model = caffe_files.write(caffe_files.squeezenet(), tmp_path)
    out = tmp_path / "out"
    flags = ["--order=RGB", "--mean=0.485,0.456,0.406", "--scale=1/255", "--std=0.229,0.224,0.225"]
    command = ["weights", "convert", str(model), "--network=squeezenet", f"--output={out}"]
    assert run([*command, *flags]) == 0
    assert (
        "preprocessing: 227 x 227 RGB, mean 0.485 0.456 0.406, scale 0.0039"
        in capsys.readouterr().out
    )
    assert checkpoint.load(out).preprocessing == _RGB
    assert run(command[:-1]) == 2
    assert "add --output=DIR" in capsys.readouterr().err
    assert run(["weights", "fetch", "squeezenet", f"--output={tmp_path / 'o'}", *flags]) == 2
    assert (
        "comes with the package and its preprocessing is known: leave out --order"
        in capsys.readouterr().err
    )


def test_a_mean_image_given_by_its_path(tmp_path):
    _, model = caffe_files.write(caffe_files.squeezenet(), tmp_path)
    np.save(tmp_path / "mean.npy", np.full((3, 256, 256), 110))
    convert_file(model, "squeezenet", tmp_path / "out", tmp_path / "mean.npy")
    assert checkpoint.load(tmp_path / "out").preprocessing.mean.shape == (227, 227, 3)
