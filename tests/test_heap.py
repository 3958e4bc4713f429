"""Memory that is freed is kept, whichever thread asks for it."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")

_FAULTS = """
import resource, sys, threading

def block(): bytes(2**27 - 64) + b"."

def apart():
    thread = threading.Thread(target=block)
    thread.start()
    thread.join()

if "first" in sys.argv: import medtune_jax
if "thread" in sys.argv: apart()  # where it may, it has a heap of its own, which the next thread takes over
from medtune_jax import heap
if "kept" in sys.argv: heap.keep_freed()
for last in (False, False, True):
    if last and "given back" in sys.argv: heap.give_back_freed()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    (apart if "thread" in sys.argv else block)()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*words: str) -> int:
    """Page faults of the third of three large blocks."""
    environment = {**os.environ, "GLIBC_TUNABLES": "", "MALLOC_ARENA_MAX": ""}
    command = [sys.executable, "-c", _FAULTS, *words]
    return int(subprocess.check_output(command, env=environment, text=True))


def test_freed_memory_is_kept():
    assert faults("kept") < 100 < min(faults(), faults("kept", "given back"))


def test_threads_share_one_heap_if_the_package_comes_before_them():
    assert faults("kept", "thread", "first") < 100 < faults("kept", "thread")
