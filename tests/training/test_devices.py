"""The device that was asked for, or a refusal."""

import jax
import pytest

from medtune_jax.errors import UserError
from medtune_jax.training import devices
from medtune_jax.training.devices import choice


def test_an_unknown_device_is_refused():
    with pytest.raises(UserError, match="device is 'cuda': give one of auto, cpu, gpu, tpu"):
        devices.start("cuda")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs a JAX without accelerators")
@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_an_accelerator_that_jax_does_not_have_is_refused(device):
    with pytest.raises(UserError, match=f"JAX has no {device} .*install.*device=cpu"):
        devices.start(device)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs a JAX without accelerators")
def test_a_gpu_that_jax_does_not_see_is_no_silent_fallback(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    devices.start("auto")
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(choice, "_NVIDIA", tmp_path / "nvidia0")
    with pytest.raises(UserError, match=r"has an NVIDIA GPU .*only has a CPU: install.*device=cpu"):
        devices.start("auto")
    devices.start("cpu")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    devices.start("auto")


def test_a_platform_of_the_environment_that_jax_does_not_have(monkeypatch):
    def absent():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "default_backend", absent)
    with pytest.raises(UserError, match=r"JAX has no cuda .JAX_PLATFORMS=cuda.*medtune-jax.cuda"):
        devices.start("auto")
