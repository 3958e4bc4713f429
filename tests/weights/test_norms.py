"""Norms and scales of Caffe and ONNX files: folded exactly, or the file is refused by the layer's name."""

from pathlib import Path

import caffe_files
import numpy as np
import pytest
from caffe_files import CaffeLayer

from medtune_jax.errors import UserError
from medtune_jax.weights.convert import Conversion, convert
from medtune_jax.weights.files import convert_file
from medtune_jax.weights.formats import caffe, onnx

_CONV = {"num_output": 96, "kernel_size": 7, "stride": 2}
_RNG = np.random.default_rng(0)
_KERNEL = _RNG.standard_normal((96, 3, 7, 7)).astype(np.float32)
_BIAS, _SHIFT = _RNG.standard_normal((2, 96)).astype(np.float32)
_GAIN = _RNG.uniform(0.5, 2, 96).astype(np.float32)
_MEAN = _RNG.standard_normal(96).astype(np.float32) * 900
_VARIANCE = _RNG.uniform(500, 3000, 96).astype(np.float32)
_FACTOR = np.array([999.98], np.float32)
_WEIGHTS = {
    "conv1": (_KERNEL, _BIAS),
    "bn": (_MEAN, _VARIANCE, _FACTOR),
    "scale": (_GAIN, _SHIFT),
}


def _conv(bottom: str = "data") -> CaffeLayer:
    return CaffeLayer("conv1", "Convolution", [bottom], _CONV)


def _chain(*kinds: tuple[str, str, dict]) -> list[CaffeLayer]:
    """(name, kind, settings) after conv1, each in place, as Caffe's own nets have them."""
    return [
        _conv(),
        *(
            CaffeLayer(name, kind, ["conv1"], settings, top="conv1")
            for name, kind, settings in kinds
        ),
    ]


_BN, _SCALE, _RELU = ("bn", "BatchNorm", {}), ("scale", "Scale", {}), ("relu", "ReLU", {})


def _converted(
    folder: Path, layers: list[CaffeLayer], weights=_WEIGHTS, linked: bool = True
) -> Conversion:
    path = folder / "net.caffemodel"
    path.write_bytes(b"".join(caffe_files.caffemodel(layers, weights, 2, linked=linked)))
    return convert(caffe.read(path), "squeezenet", where="net.caffemodel")


def _expected(epsilon=1e-5, factor=_FACTOR[0], gain=_GAIN, shift=_SHIFT):
    """conv1 with BatchNorm and Scale, as Caffe's batch_norm_layer.cpp and scale_layer.cpp compute them."""
    factor = 1 / factor if factor else 0
    a = gain / np.sqrt(_VARIANCE * factor + epsilon)
    return _KERNEL * a[:, None, None, None], (_BIAS - _MEAN * factor) * a + shift


def _check(conversion: Conversion, expected) -> None:
    kernel, bias = expected
    ours = conversion.params["conv1"]
    np.testing.assert_allclose(ours["kernel"], kernel.transpose(2, 3, 1, 0), rtol=1e-5)
    np.testing.assert_allclose(ours["bias"], bias, rtol=1e-4, atol=1e-5)


def test_a_whole_network_with_norms_agrees_with_opencv(tmp_path):
    """BatchNorm and Scale after each of SqueezeNet's 26 convolutions, every stage."""
    pytest.importorskip("cv2")
    import parity

    net, random = caffe_files.squeezenet(), np.random.default_rng(1)
    weights = net.weights()
    for layer in [layer for layer in net.layers if layer.shape]:
        name, width = layer.name, layer.shape[0]
        at = net.layers.index(layer) + 1
        norm = CaffeLayer(f"{name}/bn", "BatchNorm", [name], {"eps": 0.001}, top=name)
        scale = CaffeLayer(f"{name}/scale", "Scale", [name], {"bias_term": True}, top=name)
        net.layers[at:at] = [norm, scale]
        first = 50 if name == "conv1" else 1  # pixels are large
        mean, variance = random.normal(0, 0.2, width) * first, random.uniform(0.3, 2, width)
        weights[norm.name] = mean * 3, variance * first**2 * 3, np.array([3.0])
        weights[scale.name] = random.uniform(0.5, 1.5, width), random.uniform(-0.2, 0.4, width)
    prototxt, model = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(net.prototxt())
    model.write_bytes(b"".join(caffe_files.caffemodel(net.layers, weights, 2)))
    _, conversion = convert_file(model, "squeezenet", tmp_path / "out")
    assert "52 norms and scales folded" in str(conversion)
    assert not conversion.names("new") and not conversion.names("left out")
    picture = parity.sample_image(tmp_path / "i.png", 227)
    reference = parity.opencv_stages(net, prototxt, model, [picture], (104.007, 116.669, 122.679))
    ours = parity.our_stages(tmp_path / "out", [picture])
    errors = {stage: parity.relative_error(ours[stage], out) for stage, out in reference.items()}
    assert max(errors.values()) < parity.LIMIT, errors


def test_norm_and_scale_in_place(tmp_path):
    _check(_converted(tmp_path, _chain(_BN, _SCALE, _RELU)), _expected())


def test_norm_and_scale_under_names_of_their_own(tmp_path):
    layers = [
        _conv(),
        CaffeLayer("bn", "BatchNorm", ["conv1"], {"use_global_stats": True, "eps": 1e-3}),
        CaffeLayer("scale", "Scale", ["bn"]),
        CaffeLayer("relu", "ReLU", ["scale"]),
    ]
    _check(_converted(tmp_path, layers), _expected(1e-3))


def test_a_file_that_does_not_say_what_layers_read(tmp_path):
    _check(_converted(tmp_path, _chain(_BN, _SCALE, _RELU), linked=False), _expected())
    with pytest.raises(UserError, match=r"'bn' .BatchNorm. does not directly follow"):
        _converted(tmp_path, _chain(_RELU, _BN, _SCALE), linked=False)


def test_norm_alone_and_scale_alone(tmp_path):
    _check(_converted(tmp_path, _chain(_BN)), _expected(gain=np.ones(96), shift=0))
    without_shift = {**_WEIGHTS, "scale": (_GAIN,)}
    plain = _KERNEL * _GAIN[:, None, None, None], _BIAS * _GAIN
    _check(_converted(tmp_path, _chain(_SCALE), without_shift), plain)


def test_no_average_yet(tmp_path):
    """A factor of 0 makes Caffe take mean and variance as 0."""
    weights = {**_WEIGHTS, "bn": (_MEAN, _VARIANCE, np.zeros(1, np.float32))}
    _check(_converted(tmp_path, _chain(_BN, _SCALE), weights), _expected(factor=0))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (_chain(("bn", "BatchNorm", {"use_global_stats": False})), r"'bn' \(BatchNorm with use_global"),
        (_chain(_RELU, _BN), r"'bn' \(BatchNorm\) does not directly follow"),
        ([CaffeLayer("bn", "BatchNorm", ["data"], top="n"), _conv("n")], r"'bn' .* directly follow"),
        ([*_chain(_BN)[:1], CaffeLayer("eltwise", "Eltwise", ["conv1", "data"]), *_chain(_BN)[1:]],
         r"'bn' .* alone"),
        (_chain(("scale", "Scale", {"axis": 0})), r"the layer 'scale' \(Scale\), which squeezenet does not"),
        (_chain(("relu", "ReLU", {"negative_slope": 0.125})), r"'relu' \(ReLU with a negative slope of 0.125"),
        (_chain(("prelu", "PReLU", {})), r"the layer 'prelu' \(PReLU\)"),
        (_chain(("elu", "ELU", {})), r"the layer 'elu' \(ELU\)"),
        (_chain(("shift", "Bias", {})), r"the layer 'shift' \(Bias\)"),
        ([CaffeLayer("first", "Convolution", ["data"], {"num_output": 3, "kernel_size": 1}), _conv("first")],
         r"the layer 'first' \(Convolution\)"),
        ([CaffeLayer("up", "Deconvolution", ["data"]), _conv("up")], r"the layer 'up' \(Deconvolution\)"),
        ([CaffeLayer("power", "Power", ["data"]), _conv("power")], r"the layer 'power' \(Power\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("linked", [True, False])
def test_refused_by_name(tmp_path, layers, says, linked):
    weights = {
        **_WEIGHTS,
        "prelu": (np.full(96, 0.25),),
        "shift": (_SHIFT,),
        "first": (np.ones((3, 3, 1, 1)), np.ones(3)),
        "up": (np.ones((3, 3, 2, 2)),),
    }
    if not linked:
        says = says.replace(" .* alone", " .* directly follow")
    with pytest.raises(UserError, match=says) as caught:
        _converted(tmp_path, layers, weights, linked)
    assert "\n" not in str(caught.value)


def test_norm_of_another_width(tmp_path):
    weights = {**_WEIGHTS, "bn": (_MEAN[:5], _VARIANCE[:5], _FACTOR)}
    with pytest.raises(UserError, match=r"'bn' has 5 channels but 'conv1' before it has 96"):
        _converted(tmp_path, _chain(_BN), weights)


def test_what_lies_beside_the_loaded_layers_is_left_out(tmp_path):
    """A detector's head on the same convolution, and what makes scores of the head."""
    net = caffe_files.squeezenet()
    net.layers.append(CaffeLayer("rpn", "Convolution", ["conv1/relu"], _CONV))
    net.layers.append(CaffeLayer("rpn/prelu", "PReLU", ["rpn"]))
    net.layers.append(CaffeLayer("prob", "Sigmoid", ["pool10"]))
    weights = net.weights() | {"rpn": (np.ones((96, 96, 7, 7)), _BIAS), "rpn/prelu": (_BIAS,)}
    conversion = _converted(tmp_path, net.layers, weights)
    assert conversion.names("left out") == ("rpn", "rpn/prelu") and not conversion.names("new")


def _onnx_file(folder: Path, *after) -> Path:
    """conv1 and what follows it: (operator, further inputs, attributes)."""
    library = pytest.importorskip("onnx")
    helper, tensor = library.helper, library.numpy_helper.from_array
    stored = {"conv1_w_0": _KERNEL, "conv1_b_0": _BIAS, "g": _GAIN, "s": _SHIFT, "m": _MEAN}
    stored |= {"v": _VARIANCE, "slope": _GAIN[:, None, None]}
    nodes = [helper.make_node("Conv", ["x", "conv1_w_0", "conv1_b_0"], ["0"], strides=[2, 2])]
    for n, (operator, inputs, attributes) in enumerate(after):
        names = [str(n), *inputs]
        nodes.append(helper.make_node(operator, names, [str(n + 1)], operator, **attributes))
    x = helper.make_tensor_value_info("x", 1, [1, 3, 21, 21])
    y = helper.make_tensor_value_info(str(len(after)), 1, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [tensor(v, k) for k, v in stored.items()])
    opset = [helper.make_opsetid("", 15)]
    path = folder / "net.onnx"
    library.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_batch_norm_of_onnx_agrees_with_onnxruntime(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    norm = ("BatchNormalization", ["g", "s", "m", "v"], {"epsilon": 1e-3})
    path = _onnx_file(tmp_path, norm)
    ours = convert(onnx.read(path), "squeezenet").params["conv1"]
    x = _RNG.standard_normal((1, 3, 21, 21)).astype(np.float32)
    (expected,) = runtime.InferenceSession(path).run(None, {"x": x})
    windows = np.lib.stride_tricks.sliding_window_view(x, (7, 7), (2, 3))[:, :, ::2, ::2]
    result = np.einsum("nchwij,ijco->nohw", windows, ours["kernel"]) + ours["bias"][:, None, None]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (("PRelu", ["slope"], {}), "PRelu"),
        (("LeakyRelu", [], {"alpha": 0.1}), "LeakyRelu"),
        (("Mul", ["slope"], {}), "Mul"),
        (("InstanceNormalization", ["g", "s"], {}), "InstanceNormalization"),
    ],
)
def test_unknown_nodes_of_onnx_are_refused(tmp_path, after, says):
    with pytest.raises(UserError, match=rf"the layer '{says}' \({says}\), which squeezenet"):
        convert(onnx.read(_onnx_file(tmp_path, after)), "squeezenet")
