"""How much memory a study may fill, and what happens when a device has less."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import jax

from medtune_jax.training.devices import hosts
from medtune_jax.training.inputs.disk import Disk

T = TypeVar("T")
EVERYTHING = 2**62
_FEATURES = 2**29  # where a device does not say what it has, as a CPU
_SHARE = 3  # of an accelerator's memory: a part for patches, one for features, one for the step
_log = logging.getLogger("medtune_jax")


@dataclass(frozen=True)
class Memory:
    """Bytes for the patches on the device (more of them are streamed), and for features on the device, in the host's
    memory and on disk. On a CPU the device's memory is the host's, so that there `host` is not used.
    """

    patches: int = EVERYTHING
    device: int = 0
    host: int = 0
    disk: Disk | None = None

    @classmethod
    def of_this_machine(
        cls, patches: int = 0, device: int = 0, host: int = 0, disk: Disk | None = None
    ) -> Memory:
        """0 for patches and device: what the device has, in equal shares for patches, features and the step."""
        stats = jax.local_devices()[0].memory_stats() or {}
        share = hosts.least(stats.get("bytes_limit", 0)) // _SHARE
        beside = 0 if jax.default_backend() == "cpu" else host
        return cls(patches or share or EVERYTHING, device or share or _FEATURES, beside, disk)


def within_memory(attempt: Callable[[], T], need_less: Callable[[], str]) -> T:
    """The result of `attempt`, made again each time the device runs out of memory.

    need_less: makes the next attempt need less memory and says how, for the log; says nothing ('') when it cannot, and
    then the error is raised.
    """
    while True:
        try:
            return attempt()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            how = need_less()
            if not how:
                raise
        # Out of the handler, so that nothing holds what the failed attempt allocated.
        _log.warning("the device is out of memory: %s", how)
