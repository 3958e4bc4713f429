"""What reads or changes a study on disk: medtune report, plan, compare, status, retry, cancel, prune, merge."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medtune_jax.cli.verb import Verb, expect, number, reported
from medtune_jax.errors import UserError

if TYPE_CHECKING:
    from absl import flags

_WATCH = 2.0  # seconds


def _report(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    del values
    expect(arguments, 1, "give the directory of one study")
    from medtune_jax.study import report

    print(reported(report(arguments[0])))


def _plan(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    expect(arguments, 1, "give the directory of one finished study")
    if not values.detect:
        raise UserError(
            "no difference given: add --detect=0.02, in the units of the figure that the study's answer is in"
        )
    from medtune_jax.study import next_study

    detect = number("detect", values.detect)
    options = {"power": number("power", values.power)} if values.power else {}
    print(next_study(arguments[0], detect, **options).text)


def _compare(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    expect(arguments, 2, "give the directories of two studies")
    from medtune_jax.report.compared import answer, table
    from medtune_jax.study import compare

    found = compare(arguments[0], arguments[1], values.output or None)
    print(f"{table(found)}\n\n{answer(found)}")
    if values.output:
        print(f"report: {Path(values.output) / 'report.html'}")


def _status(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    expect(arguments, 1, "give the directory of one study")
    from medtune_jax.sharing.status import described, status

    found = status(arguments[0])
    print(described(found), flush=True)
    while values.watch and found.left:
        time.sleep(_WATCH)
        found = status(arguments[0])
        print(f"\n{described(found)}", flush=True)


def _retry(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    expect(arguments, 1, "give the directory of one study")
    if not values.failed:
        raise UserError("say which runs: add --failed")
    from medtune_jax.sharing.status import retry_failed

    count = retry_failed(arguments[0])
    print(f"{count} failed runs wait again: the next `medtune sweep` of {arguments[0]} runs them")


def _cancel(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    del values
    expect(arguments, 1, "give the directory of one study")
    from medtune_jax.executors.cancel import cancel_study

    print(cancel_study(arguments[0]))


def _merge(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    if not values.output:
        raise UserError("no output directory given: add --output=DIR")
    from medtune_jax.study.merge import merge

    print(merge(arguments, values.output))


def _prune(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    expect(arguments, 1, "give the directory of one finished study")
    from medtune_jax.study.prune import prune

    print(prune(arguments[0], values.keep, _bytes(values.budget)))


def _bytes(budget: str) -> int | None:
    """Of --budget in GiB; None where none was given."""
    if not budget:
        return None
    gib = number("budget", budget)
    if not 0 < gib < float("inf"):
        raise UserError(f"--budget={budget} is no size: give the GiB of the whole study, say 0.5")
    return int(gib * 2**30)


VERBS: dict[str, Verb] = {
    "report": Verb(
        "write results.csv and report.html of a study", "medtune report STUDY", "DIR", _report
    ),
    "plan": Verb(
        "how many test patients and seeds would show a difference, from a finished study",
        "medtune plan STUDY --detect=0.02 --power=0.8",
        "DIR --detect=DIFFERENCE",
        _plan,
        {
            "detect": "the difference between two depths, in the units of the figure of the study's answer",
            "power": "the chance to find it (default 0.8)",
        },
    ),
    "compare": Verb(
        "two studies on one test set, their recommended and common depths, with intervals and p",
        "medtune compare STUDY OTHER --output=DIR",
        "DIR DIR [--output=DIR]",
        _compare,
        {
            "output": "directory for report.html, answer.txt and compare.csv; without it nothing is written"
        },
    ),
    "status": Verb(
        "how far a study is, from its files: done, running and where, failed and why, time left",
        "medtune status STUDY --watch",
        "DIR",
        _status,
        switches={"watch": "go on until nothing is left to do; Ctrl-C ends it, not the study"},
    ),
    "retry": Verb(
        "have the next sweep run again what failed, those that diverged too",
        "medtune retry STUDY --failed",
        "DIR --failed",
        _retry,
        switches={"failed": "all failed runs"},
    ),
    "cancel": Verb(
        "end all who work at a study, here, in Slurm and in Ray, with their state saved",
        "medtune cancel STUDY",
        "DIR",
        _cancel,
    ),
    "prune": Verb(
        "remove the weights of a finished study's runs but those of the recommended depth, and those named",
        "medtune prune STUDY --keep=conv10",
        "DIR [--keep=DEPTH_OR_RUN,...] [--budget=GIB]",
        _prune,
        {
            "keep": "depths and runs whose weights stay beside the recommended ones; all removes nothing",
            "budget": "GiB that the whole study may take: no more weights are removed than that needs",
        },
    ),
    "merge": Verb(
        "join studies that ran apart with the same config and data",
        "medtune merge A B --output C",
        "DIR DIR ... --output=DIR",
        _merge,
        {"output": "directory to make"},
    ),
}
