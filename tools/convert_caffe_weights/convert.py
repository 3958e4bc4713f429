"""Convert pre-trained weights into a checkpoint of this package.

Reads Caffe's .caffemodel (all three forms), ONNX, safetensors, .pth and Deep Compression files;
needs none of those programs. Example:

    python tools/convert_caffe_weights/convert.py --weights bvlc_alexnet.caffemodel \\
        --network alexnet --mean imagenet_mean.binaryproto --output weights/alexnet
"""

from __future__ import annotations

import sys

from absl import app, flags, logging

from medtune_jax.errors import UserError
from medtune_jax.weights.files import convert_file

_WEIGHTS = flags.DEFINE_string("weights", None, "The file to convert.", required=True)
_NETWORK = flags.DEFINE_string("network", None, "The network it holds: alexnet, ...", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The directory to make.", required=True)
_MEAN = flags.DEFINE_string("mean", None, "A mean image (.binaryproto) to subtract.")


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected argument {arguments[1]!r}; see --help")
    logging.set_verbosity(logging.FATAL)  # Orbax logs what is reported below in one sentence
    try:
        source, conversion = convert_file(
            _WEIGHTS.value, _NETWORK.value, _OUTPUT.value, _MEAN.value
        )
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(conversion)
    counts = {state: len(conversion.names(state)) for state in ("loaded", "new", "left out")}
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    known = "not a known release"
    if source.release:
        _, release = source.release
        known = f"the released {release.file} ({release.accuracy})"
    print(f"{source.format} file, sha1 {source.sha1}: {known}.")
    print(f"Checkpoint written to {_OUTPUT.value}.")


if __name__ == "__main__":
    app.run(main)
