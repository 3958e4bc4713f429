"""Every stage agrees with OpenCV's Caffe importer and with onnxruntime, from an image file on."""

import caffe_files
import pytest

from medtune_jax.weights.files import convert_file

pytest.importorskip("cv2")
import parity


@pytest.mark.parametrize(
    ("network", "version"),
    [
        ("squeezenet", 1),
        ("squeezenet", 2),
        ("googlenet", 1),
        ("googlenet", 2),
        ("alexnet", 1),
        ("caffenet", 2),
    ],
)
def test_every_stage_agrees_with_opencv(tmp_path, network, version):
    """The other forms of alexnet and caffenet run in scripts/parity.py, vgg16 beside this."""
    errors = dict(parity.compare(network, version, tmp_path))
    net = caffe_files.googlenet(True) if network == "googlenet" else caffe_files.NETS[network]()
    assert list(errors) == list(net.stages)
    assert max(errors.values()) < parity.LIMIT, errors


def test_the_comparison_can_fail(tmp_path):
    """A mean subtracted in the wrong channel order, the commonest mistake, must show."""
    net = caffe_files.squeezenet()
    picture = parity.sample_image(tmp_path / "i.png", 227)
    prototxt, model = caffe_files.write(net, tmp_path)
    convert_file(model, "squeezenet", tmp_path / "out")
    reference = parity.opencv_stages(net, prototxt, model, [picture], (122.679, 116.669, 104.007))
    ours = parity.our_stages(tmp_path / "out", [picture])
    assert parity.relative_error(ours["conv1"], reference["conv1"]) > 100 * parity.LIMIT


def _onnx_nodes(net: caffe_files.CaffeNet, helper) -> list:
    """The Caffe layers of SqueezeNet as ONNX nodes, with Caffe2's names for weights."""
    nodes = []
    for layer in net.layers:
        numbers, operator, settings = layer.settings, layer.kind, {}
        inputs = list(layer.bottoms)
        if layer.kind == "Convolution":
            operator = "Conv"
            inputs += [f"{layer.name}_w_0", f"{layer.name}_b_0"]
            settings = {
                "kernel_shape": [numbers["kernel_size"]] * 2,
                "strides": [numbers["stride"]] * 2,
                "pads": [numbers["pad"]] * 4,
            }
        elif layer.kind == "Pooling":
            operator = {"MAX": "MaxPool", "AVE": "AveragePool"}[numbers["pool"]]
            sizes = {"kernel_shape": [numbers["kernel_size"]] * 2}
            settings = {**sizes, "strides": [numbers["stride"]] * 2, "ceil_mode": 1}
        elif layer.kind == "ReLU":
            operator = "Relu"
        elif layer.kind == "Concat":
            settings = {"axis": 1}
        nodes.append(helper.make_node(operator, inputs, [layer.name], **settings))
    return nodes


def test_every_stage_agrees_with_onnxruntime(tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper, net = onnx.helper, caffe_files.squeezenet()
    tensors = [
        onnx.numpy_helper.from_array(values, f"{name}_{letter}_0")
        for name, pair in net.weights(5).items()
        for letter, values in zip("wb", pair, strict=True)
    ]
    inputs = [helper.make_tensor_value_info("data", 1, [1, 3, 227, 227])]
    inputs += [helper.make_tensor_value_info(t.name, 1, t.dims) for t in tensors]  # as Caffe2 does
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in net.stages.values()]
    graph = helper.make_graph(_onnx_nodes(net, helper), "net", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    path = tmp_path / "squeezenet.onnx"
    onnx.save(model, path)

    picture = parity.sample_image(tmp_path / "i.png", 227)
    convert_file(path, "squeezenet", tmp_path / "out")
    ours = parity.our_stages(tmp_path / "out", [picture])
    mean = (104.007, 116.669, 122.679)
    blob = parity.cv2.dnn.blobFromImage(parity.cv2.imread(str(picture)), 1.0, (227, 227), mean)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    results = session.run(list(net.stages.values()), {"data": blob})
    for stage, result in zip(net.stages, results, strict=True):
        assert parity.relative_error(ours[stage], result.transpose(0, 2, 3, 1)) < parity.LIMIT
