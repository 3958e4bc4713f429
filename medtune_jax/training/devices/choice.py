"""Which devices a study runs on: what was asked for, or a plain refusal; never another one in silence."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from medtune_jax import heap
from medtune_jax.errors import UserError
from medtune_jax.training.devices import hosts

DEVICES = ("auto", "cpu", "gpu", "tpu")
_NVIDIA = Path("/dev/nvidia0")
_PLATFORMS = {"cuda": "gpu", "rocm": "gpu", "gpu": "gpu", "tpu": "tpu", "cpu": "cpu"}
_INSTALL = {"gpu": "pip install 'medtune-jax[cuda]'", "tpu": "pip install 'medtune-jax[tpu]'"}


def start(device: str = "auto") -> None:
    """Join the other hosts of a cluster job, if there are any, and check that JAX has the device asked for.

    device: one of DEVICES. To be called before anything is computed. Raises UserError for an unknown device, for other
    hosts that cannot be joined, for an accelerator that JAX does not have, and for one that the machine has and JAX
    does not (with 'auto').
    """
    if device not in DEVICES:
        raise UserError(f"device is '{device}': give one of {', '.join(DEVICES)}")
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    hosts.join()
    heap.keep_freed()
    _check(device, _backend(device))


def _backend(device: str) -> str:
    try:
        return jax.default_backend()
    except RuntimeError as error:  # JAX_PLATFORMS names one that it does not have
        named = os.environ.get("JAX_PLATFORMS", device)
        raise UserError(_absent(named, f"JAX_PLATFORMS={named} asks for it")) from error


def _check(device: str, backend: str) -> None:
    has = _PLATFORMS.get(backend, backend)
    if device in ("gpu", "tpu") and has != device:
        raise UserError(_absent(device, f"device={device} asks for it"))
    # Whoever names the CPU in the environment has chosen it.
    asked = device == "cpu" or os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
    if has == "cpu" and not asked and _NVIDIA.exists():
        raise UserError(
            f"this machine has an NVIDIA GPU ({_NVIDIA}), but JAX only has a CPU: "
            f"install {_INSTALL['gpu']}, or set --config.device=cpu to run without it"
        )


def _absent(device: str, why: str) -> str:
    kind = _PLATFORMS.get(device.split(",")[0], "")
    install = f"install {_INSTALL[kind]}" if kind in _INSTALL else "install JAX for it"
    return f"JAX has no {device} ({why}): {install}, or set --config.device=cpu to run on the CPU"
