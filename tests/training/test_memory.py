"""Where data and features lie, what a device with too little memory does, and that no result depends on either."""

import dataclasses
import errno
import logging
import os

import jax
import numpy as np
import pytest

from medtune_jax.training import (
    Memory,
    PrefixCache,
    StageByStage,
    StepByStep,
    WholeEpoch,
    fit,
    predict,
)
from medtune_jax.training.inputs.disk import Disk, Entry
from medtune_jax.training.inputs.memory import EVERYTHING, within_memory
from medtune_jax.training.inputs.stream import Streamed
from tests.training import toy

SETTINGS = dataclasses.replace(toy.SETTINGS, epochs=3)
LARGE = 2**30


@pytest.fixture(scope="module")
def data():
    return toy.task()


def trained(data, memory, first="second", change=lambda runner: None, kind=None):
    images, labels = data
    inputs = toy.cache(images, labels, memory).inputs(first)
    kind = kind or (StepByStep if inputs.streamed else WholeEpoch)
    runner = toy.runner(inputs, first, kind)
    change(runner)
    one = toy.run(first)
    (fitted,) = fit(runner, [one], inputs, SETTINGS, toy.CAPACITY, toy.auc)
    assert fitted.failure is None
    params = {**one.params, **fitted.params}
    return fitted, predict(runner, params, inputs, np.arange(75), SETTINGS), inputs


def same(one, other, tolerance=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance),
        one[0].params,
        other[0].params,
    )
    np.testing.assert_allclose(one[1], other[1], atol=tolerance)


@pytest.fixture(scope="module")
def plain(data):
    return trained(data, Memory())


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "features", LARGE)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("device", WholeEpoch),
        ("device", StepByStep),
        ("host", StepByStep),
        ("host", StageByStage),
        ("disk", StepByStep),
        ("streamed patches", StepByStep),
        ("streamed patches", StageByStage),
    ],
)
def test_a_run_does_not_depend_on_where_its_data_lie(data, plain, disk, place, kind):
    memory = {
        "device": Memory(device=LARGE),
        "host": Memory(host=LARGE),
        "disk": Memory(disk=disk),
        "streamed patches": Memory(patches=0),
    }[place]
    found = trained(data, memory, kind=kind)
    assert found[2].start == ("first" if place == "streamed patches" else "second")
    assert isinstance(found[2].arrays, Streamed) == (place != "device")
    same(found, plain)


def test_one_pass_serves_every_depth_to_come(data, monkeypatch):
    passes = []
    whole = PrefixCache._pass
    monkeypatch.setattr(
        PrefixCache, "_pass", lambda self, wanted: passes.append(wanted) or whole(self, wanted)
    )
    cache = toy.cache(*data, LARGE)
    boundaries = cache.expect(["head", "second", "first"])
    assert [found.stage for found in boundaries] == ["head", "second", "first"]
    assert [found.place for found in boundaries] == ["device", "device", ""]
    for first in ("head", "second", "first"):
        assert cache.inputs(first).start == first
    assert [[found.stage for found in wanted] for wanted in passes] == [["second", "head"]]


def test_in_order_features_are_let_go_when_a_deeper_depth_begins(data):
    cache = toy.cache(*data, LARGE)
    cache.expect(["head", "second", "first"], in_order=True)
    kept = [(cache.inputs(first), list(cache._kept))[1] for first in ("head", "second", "first")]
    assert kept == [["second", "head"], ["second"], []]


def test_features_that_do_not_fit_together_are_made_in_two_passes(data):
    images, labels = data
    second, head = 80 * 5 * 5 * 4 * 4, 80 * 3 * 3 * 6 * 4
    cache = toy.cache(images, labels, max(second, head))
    cache.expect(["head", "second"])
    assert cache.inputs("head").start == "head"
    assert list(cache._kept) == ["head"]
    assert cache.inputs("second").start == "second"
    assert list(cache._kept) == ["second"]


def test_depths_may_come_in_any_order(data):
    images, labels = data
    cache = toy.cache(images, labels, 80 * 5 * 5 * 4 * 4)  # room for one boundary
    for first in ("second", "head", "second"):
        assert cache.inputs(first).start == first
        assert list(cache._kept) == [first]


def files(disk):
    return sorted(path for path in disk.folder.iterdir())


def refuse(*_):
    raise AssertionError("computed again")


def test_features_on_disk_are_used_again(data, disk, monkeypatch):
    first = toy.cache(*data, Memory(disk=disk)).inputs("second")
    monkeypatch.setattr(PrefixCache, "_pass", refuse)
    again = toy.cache(*data, Memory(disk=disk)).inputs("second")
    index = np.arange(7)
    np.testing.assert_array_equal(
        first.arrays.subset(index)["features"], again.arrays.subset(index)["features"]
    )


@pytest.mark.parametrize("change", ["weights", "patches", "dtype"])
def test_features_of_something_else_are_not_used(data, disk, monkeypatch, change):
    images, labels = data
    toy.cache(images, labels, Memory(disk=disk)).inputs("second")
    monkeypatch.setattr(PrefixCache, "_pass", refuse)
    other = toy.cache(
        toy.task(seed=1)[0] if change == "patches" else images,
        labels,
        Memory(disk=disk),
        toy.start(1) if change == "weights" else None,
    )
    other.dtype = np.dtype("float16" if change == "dtype" else "float32")
    with pytest.raises(AssertionError, match="computed again"):
        other.inputs("second")


@pytest.mark.parametrize("damage", ["cut", "bit", "header"])
def test_a_damaged_entry_is_made_again(data, plain, disk, damage):
    toy.cache(*data, Memory(disk=disk)).inputs("second")
    (path,) = files(disk)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-100]
    else:
        content[5000 if damage == "bit" else 0] ^= 1
    path.write_bytes(content)
    same(trained(data, Memory(disk=disk)), plain)
    assert path.read_bytes() != content


def test_the_folder_is_bounded_and_the_longest_unused_goes_first(tmp_path):
    disk = Disk(tmp_path, 2 * (4096 + 400))
    for number, key in enumerate("abc"):
        entry = disk.create(key, (100,), np.float32)
        entry.add(np.full(100, number, np.float32))
        entry.finish()
        os.utime(disk.folder / f"{key}.features", (number, number))
        if key == "b":
            held = disk.open("a", (100,), np.float32)  # used after b
    assert disk.open("b", (100,), np.float32) is None
    np.testing.assert_array_equal(disk.open("c", (100,), np.float32)[:], np.full(100, 2))
    np.testing.assert_array_equal(held[:], np.zeros(100))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= disk.limit


def test_two_makers_of_one_entry(tmp_path):
    disk = Disk(tmp_path, LARGE)
    entries = [disk.create("a", (10,), np.float32) for _ in range(2)]
    for entry in entries:
        entry.add(np.arange(10, dtype=np.float32))
    for entry in entries:
        entry.finish()
        np.testing.assert_array_equal(disk.open("a", (10,), np.float32)[:], np.arange(10))
    assert len(files(Disk(tmp_path, 0))) == 1


def test_a_full_disk_falls_back_to_computing(data, plain, disk, monkeypatch, caplog):
    def full(self, rows):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Entry, "add", full)
    found = trained(data, Memory(disk=disk))
    assert found[2].start == "first"
    same(found, plain)
    assert [record.message.count("No space left") for record in caplog.records] == [1]
    assert files(disk) == []


def test_a_folder_that_cannot_be_written_falls_back_to_computing(data, plain, tmp_path):
    (tmp_path / "file").write_text("")
    same(trained(data, Memory(disk=Disk(tmp_path / "file", LARGE))), plain)


def out_of_memory():
    return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")


@pytest.fixture(scope="module")
def undivided(data):
    """{first tuned stage: what is trained where all fits}."""
    return {first: trained(data, Memory(device=LARGE), first) for first in ("first", "second")}


@pytest.mark.parametrize("kind", [WholeEpoch, StepByStep, StageByStage])
@pytest.mark.parametrize("first", ["first", "second"])
def test_a_batch_that_does_not_fit_is_divided_with_the_same_result(
    data, undivided, caplog, first, kind
):
    """Dropout included; 8 rows in 4 parts, 60 patches: the last batch is padded."""

    def needs_four_parts(runner):
        epoch = runner.epoch

        def limited(*arguments):
            if runner.task.parts < 4:
                raise out_of_memory()
            return epoch(*arguments)

        runner.epoch = limited

    whole = undivided[first]
    with caplog.at_level(logging.WARNING):
        divided = trained(data, Memory(device=LARGE), first, needs_four_parts, kind)
    same(divided, whole)
    assert [e.batches for e in divided[0].history] == [e.batches for e in whole[0].history]
    assert [record.message for record in caplog.records] == [
        f"the device is out of memory: every batch is computed in {parts} parts, with the same result"
        for parts in (2, 4)
    ]


def test_a_single_row_that_does_not_fit_is_an_error(data):
    def always(runner):
        runner.epoch = lambda *_: (_ for _ in ()).throw(out_of_memory())

    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        trained(data, Memory(), change=always)


def test_a_device_that_does_not_say_what_it_has_is_no_empty_device(monkeypatch):
    class Silent:
        def memory_stats(self):
            return None

    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Silent()])
    found = Memory.of_this_machine(host=7)
    assert (found.patches, found.device, found.host) == (EVERYTHING, 2**29, 7)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken():
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        within_memory(broken, lambda: "again")


def test_features_are_made_in_smaller_batches_where_memory_is_short(data, monkeypatch):
    whole = PrefixCache._pass

    def limited(self, wanted):
        if self.batch > 8:
            raise out_of_memory()
        whole(self, wanted)

    want = toy.cache(*data, LARGE).inputs("second").arrays["features"]
    monkeypatch.setattr(PrefixCache, "_pass", limited)
    got = toy.cache(*data, LARGE).inputs("second").arrays["features"]
    np.testing.assert_allclose(got, want, atol=1e-5)
