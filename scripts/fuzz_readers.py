"""Feed mutated weight files to every reader, which must answer with layers or with one clear sentence.

    python scripts/fuzz_readers.py --count 200000 [--seed 0] [--workers 2]

Small valid files of every format are changed at random (seeded): bit flips, truncation, splices
with other files, edits of length fields, repeated and removed pieces. Each must be read or refused
within 5 seconds and 1 GiB. Exits with 1 on any defect.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import pickle
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import caffe_files
import numpy as np
from caffe_files import CaffeLayer

from medtune_jax.errors import UserError
from medtune_jax.weights.formats import caffe, deep_compression, onnx, onnx_pb2, torch

SECONDS_EACH = 5.0
MEMORY = 2**30
_SHAPES = {"conv1": (4, 3, 3, 3), "conv2": (6, 4, 1, 1)}
_LENGTHS = (b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80", b"\x00")


def _read_pickle(path: Path) -> Any:
    """A sound zip around a changed pickle: a zip's checksums would hide most changes."""
    whole = path.with_suffix(".pth")
    whole.write_bytes(pth_file(path.read_bytes()))
    return torch.read(whole)


READERS: dict[str, Callable[[Path], Any]] = {
    "caffemodel": caffe.read,
    "binaryproto": caffe.read_mean,
    "onnx": onnx.read,
    "safetensors": torch.read,
    "pth": torch.read,
    "pickle": _read_pickle,
    "net": lambda path: deep_compression.read(path, _SHAPES),
}


def small_layers() -> tuple[list[CaffeLayer], dict[str, tuple[np.ndarray, ...]]]:
    """A convolution, a grouped one and an inner product with random weights."""
    layers = [
        CaffeLayer("conv1", "Convolution", [], {"num_output": 4, "kernel_size": 3, "stride": 2}),
        CaffeLayer("relu1", "ReLU", []),
        CaffeLayer("conv2", "Convolution", [], {"num_output": 6, "kernel_size": 1, "group": 2}),
        CaffeLayer("fc", "InnerProduct", [], {"num_output": 5}),
    ]
    generator = np.random.default_rng(7)
    shapes = {"conv1": (4, 3, 3, 3), "conv2": (6, 2, 1, 1), "fc": (5, 24)}
    draw = generator.standard_normal
    weights = {k: (draw(v, np.float32), draw(v[0], np.float32)) for k, v in shapes.items()}
    return layers, weights


def onnx_model(raw: bool = True, trans_b: bool = True) -> bytes:
    """conv1 -> fc, written with our own minimal messages."""
    _, weights = small_layers()
    pb: Any = onnx_pb2
    model = pb.ModelProto(producer_name="test")
    arrays = {"conv1_w_0": weights["conv1"][0], "conv1_b_0": weights["conv1"][1]}
    matrix = weights["fc"][0]
    arrays |= {"fc_w_0": matrix if trans_b else matrix.T, "fc_b_0": weights["fc"][1]}
    for name, values in arrays.items():
        tensor = model.graph.initializer.add(name=name, data_type=1, dims=list(values.shape))
        if raw:
            tensor.raw_data = values.astype("<f4").tobytes()
        else:
            tensor.float_data.append(values.astype("<f4").tobytes())
    conv = model.graph.node.add(op_type="Conv", input=["x", "conv1_w_0", "conv1_b_0"], output=["y"])
    strides = conv.attribute.add(name="strides")
    strides.ints.extend([2, 2])
    gemm = model.graph.node.add(op_type="Gemm", input=["y", "fc_w_0", "fc_b_0"], output=["z"])
    gemm.attribute.add(name="transB", i=int(trans_b))
    return b"\x08\x08" + model.SerializeToString()  # ir_version = 8


def safetensors_file() -> bytes:
    _, weights = small_layers()
    header, data = {}, b""
    for name, (kernel, bias) in weights.items():
        for key, values in ((f"{name}.weight", kernel), (f"{name}.bias", bias)):
            raw = values.astype("<f4").tobytes()
            offsets = [len(data), len(data) + len(raw)]
            header[key] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
            data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


class _Named:
    """Pickles as a bare reference to a name, without the library that owns it."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Call:
    def __init__(self, function: _Named, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


class _Storage:
    def __init__(self, key: str, count: int) -> None:
        self.key, self.count = key, count


class _Pickler(pickle._Pickler):  # the Python one: its opcodes can be written by hand
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, _Storage):
            return ("storage", _Named("torch", "FloatStorage"), obj.key, "cpu", obj.count)
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Named):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def state_program() -> bytes:
    """The pickle of `pth_file`."""
    with zipfile.ZipFile(io.BytesIO(pth_file())) as archive:
        return archive.read("archive/data.pkl")


def pth_file(instead: bytes | None = None) -> bytes:
    """What torch.save writes for a state dict, without torch; `instead` replaces its pickle."""
    _, weights = small_layers()
    out, program = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        state: dict[str, Any] = {}
        for name, (kernel, bias) in weights.items():
            for key, values in ((f"{name}.weight", kernel), (f"{name}.bias", bias)):
                number = str(len(state))
                archive.writestr(f"archive/data/{number}", values.astype("<f4").tobytes())
                strides = tuple(n // values.itemsize for n in values.strides)
                state[key] = _Call(
                    _Named("torch._utils", "_rebuild_tensor_v2"),
                    *(_Storage(number, values.size), 0, values.shape, strides, False, {}),
                )
        _Pickler(program, 2).dump(state)
        archive.writestr("archive/data.pkl", program.getvalue() if instead is None else instead)
        archive.writestr("archive/byteorder", "little")
    return out.getvalue()


def net_file() -> bytes:
    """A Deep Compression file for the two layers of `_SHAPES`."""
    counts, body = [], b""
    generator = np.random.default_rng(3)
    for shape in _SHAPES.values():
        stored = int(np.prod(shape)) // 2
        codebook = np.r_[0, generator.standard_normal(255)].astype("<f4")
        bias = generator.standard_normal(shape[0]).astype("<f4")
        codes = generator.integers(1, 256, stored, np.uint8)
        body += codebook.tobytes() + bias.tobytes() + codes.tobytes()
        body += bytes([0x11] * ((stored + 1) // 2))  # every gap is 1: each second weight
        counts.append(stored)
    return np.array(counts, "<u4").tobytes() + body


def seeds() -> dict[str, list[bytes]]:
    """Valid files of every format."""
    layers, weights = small_layers()
    forms = [
        (version, {"packed": packed, "double": double})
        for version in (0, 1, 2)
        for packed in (True, False)
        for double in (False, True)
    ]
    models = [b"".join(caffe_files.caffemodel(layers, weights, v, **kw)) for v, kw in forms]
    mean = np.random.default_rng(1).uniform(0, 255, (1, 3, 6, 6))
    return {
        "caffemodel": models,
        "binaryproto": [caffe_files.blob(mean), caffe_files.blob(mean, old_shape=False)],
        "onnx": [onnx_model(raw, trans) for raw in (True, False) for trans in (True, False)],
        "safetensors": [safetensors_file()],
        "pth": [pth_file()],
        "pickle": [state_program()],
        "net": [net_file()],
    }


def mutate(data: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    """One to four random changes."""
    out = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        if not out:
            break
        at = int(generator.integers(len(out)))
        length = int(generator.integers(1, max(2, len(out) // 4)))
        match int(generator.integers(7)):
            case 0:
                out[at] ^= 1 << int(generator.integers(8))
            case 1:
                del out[at:]
            case 2:
                start = int(generator.integers(len(other)))
                out[at : at + length] = other[start : start + length]
            case 3:
                edit = _LENGTHS[int(generator.integers(len(_LENGTHS)))]
                out[at : at + int(generator.integers(1, 3))] = edit
            case 4:
                out[at:at] = out[at : at + length]
            case 5:
                del out[at : at + length]
            case 6:
                out[at] = int(generator.integers(256))
    return bytes(out)


def outcome(kind: str, data: bytes, path: Path) -> str:
    """`read`, `refused`, or what went wrong."""
    path.write_bytes(data)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
    try:
        READERS[kind](path)
    except UserError as error:
        text = str(error)
        clear = "\n" not in text and 20 < len(text) - len(str(path)) < 500
        return "refused" if clear else f"unclear message: {text!r}"
    except BaseException as error:  # whatever it is, it is a defect
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "read"


def _hang(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS_EACH} s")


def run_batch(seed: int, start: int, stop: int) -> tuple[Counter[str], list[str], int]:
    """Try inputs start..stop; counts, defects and the growth of the peak memory in bytes."""
    signal.signal(signal.SIGALRM, _hang)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bases = seeds()
    everything = [data for files in bases.values() for data in files]
    counts: Counter[str] = Counter()
    defects = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        for number in range(start, stop):
            generator = np.random.default_rng((seed, number))
            kind = list(bases)[number % len(bases)]
            base = bases[kind][int(generator.integers(len(bases[kind])))]
            other = everything[int(generator.integers(len(everything)))]
            result = outcome(kind, mutate(base, other, generator), path)
            state = result if result in ("read", "refused") else "defect"
            counts[f"{kind} {state}"] += 1
            if state == "defect":
                defects.append(f"input {number} ({kind}): {result}")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return counts, defects, grown * 1024


def run(
    count: int, seed: int = 0, workers: int = 1, batch: int = 2000
) -> tuple[Counter[str], list[str], int]:
    """Try `count` inputs in worker processes; a worker that dies is a defect too."""
    total: Counter[str] = Counter()
    defects: list[str] = []
    memory = 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        starts = range(0, count, batch)
        jobs = {s: pool.submit(run_batch, seed, s, min(s + batch, count)) for s in starts}
        for start, job in jobs.items():
            try:
                counts, new, grown = job.result()
            except Exception as error:
                defects.append(f"inputs from {start} on: the process died ({error})")
                continue
            total += counts
            defects += new
            memory = max(memory, grown)
    return total, defects, memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    began = time.monotonic()
    counts, defects, memory = run(arguments.count, arguments.seed, arguments.workers)
    for name in sorted(counts):
        print(f"{name:<24}{counts[name]:>8}")
    print("\n".join(defects[:20]))
    seconds = time.monotonic() - began
    print(
        f"{sum(counts.values())} inputs in {seconds:.0f} s, {len(defects)} defects, "
        f"memory grew by at most {memory / 2**20:.0f} MiB"
    )
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
