"""The checks of the shell blocks refuse what a reader could not type."""

import pytest

from medtune_jax.errors import UserError
from tests.docs.commands import check, commands, config_fields, mentioned_fields

SWEEP = "medtune sweep --config=configs/image_folder.py --output=STUDY"


def test_commands_are_joined_and_without_comments():
    block = "medtune report A  # again\n\n# nothing\nmedtune data show B \\\n    --output c.png\n"
    assert commands(block) == [
        ["medtune", "report", "A"],
        ["medtune", "data", "show", "B", "--output", "c.png"],
    ]


@pytest.mark.parametrize(
    "line",
    [
        "medtune swep",
        "medtune report STUDY --html",
        "medtune sweep --config=configs/image_folder.py",
        f"{SWEEP} leftover",
        f"{SWEEP} --config.sweep.dephts=all",
        f"{SWEEP} --config.network=squeezenett",
        f"{SWEEP} --config.sweep.depths=conv11",
        f"{SWEEP} --config.sweep.fractions=2",
        "medtune predict --run RUN image.png --output DIR --no_such_option 1",
        "python scripts/parity.py --netwroks alexnet",
        "python scripts/no_such_file.py",
        "python -m medtune_jax.no_such_module",
        "rm -r STUDY",
    ],
)
def test_a_line_that_could_not_be_typed_is_refused(line):
    with pytest.raises((AssertionError, UserError, pytest.fail.Exception)):
        check(commands(line)[0])


def test_fields_are_found_in_prose_and_flags():
    text = "`data.dir`, `--config.memory.disk_gib=0`, `memory.py`, `--config.metric=auc`"
    assert mentioned_fields(text) == {"data.dir", "memory.disk_gib", "metric"}
    assert {"data", "data.dir", "metric"} <= config_fields()
