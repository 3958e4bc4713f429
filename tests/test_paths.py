"""Files and folders that appear whole or not at all."""

import shutil
from pathlib import Path

import pytest

from medtune_jax.paths import (
    SUMS,
    csv_bytes,
    damaged,
    discard,
    remove_damaged,
    scratch_beside,
    seal,
    write_whole,
)


def test_what_is_still_being_written_goes_too(tmp_path, monkeypatch):
    """Orbax's threads write on for a moment after a refused write."""
    folder = tmp_path / "half"
    folder.mkdir()
    remove, late = shutil.rmtree, ["second", "first"]

    def overtaken(directory, **options):
        remove(directory, **options)
        if late:
            directory.mkdir()
            (directory / late.pop()).touch()

    monkeypatch.setattr(shutil, "rmtree", overtaken)
    discard(folder)
    assert not folder.exists() and not late


def test_what_cannot_be_removed_is_left_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda directory, **options: None)
    discard(tmp_path, patience=0.2)
    assert tmp_path.exists()


def test_a_scratch_folder_is_gone_unless_renamed(tmp_path):
    with scratch_beside(tmp_path / "new" / "out") as scratch:
        (scratch / "part").write_text("whole")
        scratch.rename(tmp_path / "new" / "out")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]
    with pytest.raises(KeyboardInterrupt), scratch_beside(tmp_path / "new" / "other") as scratch:
        (scratch / "part").write_text("half")
        raise KeyboardInterrupt
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "new" / "table.csv"
    write_whole(path, b"old")
    write = Path.write_bytes

    def full(self, content):
        write(self, content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"changed")
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


def test_a_table_as_bytes():
    assert csv_bytes([("a", "b"), (1, None), ("x,y", 0.5)]) == b'a,b\n1,\n"x,y",0.5\n'


@pytest.mark.parametrize("name", ["../precious", "{outside}", "", ".", "a/../../precious", "a\0b"])
def test_sums_that_lead_outside_are_damaged_and_nothing_there_is_removed(tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text("x")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.csv").write_text("1\n")
    seal(folder)
    with (folder / SUMS).open("a") as stream:
        stream.write(f"{'0' * 64}  {name.format(outside=precious)}\n")
    assert damaged(folder) == folder / SUMS
    remove_damaged(folder)
    assert [path.name for path in folder.iterdir()] == ["a.csv"] and precious.is_file()


def test_sums_that_were_cut_at_the_end_of_a_line_are_damaged(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    seal(tmp_path)
    lines = (tmp_path / SUMS).read_text().splitlines(keepends=True)
    assert damaged(tmp_path) is None and len(lines) == 3
    for kept in range(3):
        (tmp_path / SUMS).write_text("".join(lines[:kept]))
        assert damaged(tmp_path) == tmp_path / SUMS
    (tmp_path / SUMS).write_text("".join(lines[1:]))  # of an earlier version
    assert damaged(tmp_path) is None


def test_the_last_damaged_file_takes_the_sums_along(tmp_path):
    (tmp_path / "a").write_text("a")
    seal(tmp_path)
    (tmp_path / "a").write_text("b")
    remove_damaged(tmp_path)
    assert not list(tmp_path.iterdir())
