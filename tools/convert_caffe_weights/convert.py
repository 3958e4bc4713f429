"""Convert pre-trained weights into a checkpoint of this package.

Reads Caffe's .caffemodel (all three forms), ONNX, safetensors, .pth and Deep Compression files;
needs none of those programs. Example:

    python tools/convert_caffe_weights/convert.py --weights bvlc_alexnet.caffemodel \\
        --network alexnet --mean imagenet_mean.binaryproto --output weights/alexnet
    python tools/convert_caffe_weights/convert.py --weights features.safetensors --network vgg16 \\
        --order RGB --mean 123.68,116.779,103.939 --output weights/vgg16
"""

from __future__ import annotations

import sys

from absl import app, flags, logging

from medtune_jax.cli import VERBS
from medtune_jax.errors import UserError
from medtune_jax.weights.files import convert_file, described

_WEIGHTS = flags.DEFINE_string("weights", None, "The file to convert.", required=True)
_NETWORK = flags.DEFINE_string("network", None, "The network it holds: alexnet, ...", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The directory to make.", required=True)
_ORDER, _MEAN, _STD, _SCALE = (
    flags.DEFINE_string(name, "", VERBS["weights"].options[name])
    for name in ("order", "mean", "std", "scale")
)


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected argument {arguments[1]!r}; see --help")
    logging.set_verbosity(logging.FATAL)  # Orbax logs what is reported below in one sentence
    try:
        source, conversion = convert_file(
            _WEIGHTS.value,
            _NETWORK.value,
            _OUTPUT.value,
            in_words={
                "order": _ORDER.value,
                "mean": _MEAN.value,
                "std": _STD.value,
                "scale": _SCALE.value,
            },
        )
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(described(source, conversion))
    print(f"Checkpoint written to {_OUTPUT.value}.")


if __name__ == "__main__":
    app.run(main)
