"""What a reader finds in a report, and damage to the study that it is made of."""

import csv
import re


def text_of(html):
    """What a reader sees, whitespace folded."""
    body = re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def table_rows(directory):
    with (directory / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def damage(directory, name, change, run="conv10*"):
    path = next(iter(sorted((directory / "runs").glob(run)))) / name
    path.write_text(change(path.read_text()))
    return path.parent.name
