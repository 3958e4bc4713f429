"""medtune sweep, tune, check, probe: what reads a config and data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medtune_jax.cli.verb import FailureError, Verb, expect, reported
from medtune_jax.errors import UserError
from medtune_jax.fields import flat
from medtune_jax.signals import RUNS_KEPT

if TYPE_CHECKING:
    from absl import flags


def _sweep_fields(values: flags.FlagValues) -> str:
    from medtune_jax.study.config import MEANINGS, shared_fields

    config, whose = values.config, "fields of this config"
    if config is None:
        config = shared_fields()
        whose = "fields all configs share (--config=FILE --help: all of one)"
    fields = flat(config.to_dict()).items()
    said = {name: f"  # {meaning}" for name, meaning in MEANINGS.items()}
    rows = "\n".join(f"  --config.{name}={value!r}{said.get(name, '')}" for name, value in fields)
    return f"{whose}, with their defaults:\n{rows}\n\n"


def _sweep(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    _expect_study(values, arguments, "sweep")
    from medtune_jax.compilation import keep_programs
    from medtune_jax.executors.launch import launch
    from medtune_jax.executors.options import chosen
    from medtune_jax.sharing.cancel import obey_cancel, times_cancelled
    from medtune_jax.sharing.status import status
    from medtune_jax.study import report, sweep
    from medtune_jax.training.devices import hosts

    keep_programs()
    executor = chosen(values.executor, _executor_options(values))
    output = Path(values.output)
    if values["dry-run"].value:
        from medtune_jax.executors.dry_run import dry_run

        print(dry_run(values.config, output, executor))
        return
    if executor.in_process:
        obey_cancel(output, times_cancelled(output))
        study = sweep(values.config, output)
        hosts.leave()
    else:
        study = launch(values.config, output, executor)
    if hosts.first():
        print(reported(report(study)))
    found = status(study)
    if found.all_failed:
        reason = next(iter(found.failed.values()))
        raise FailureError(f"all {len(found.failed)} runs failed, the first for this: {reason}")


def _tune(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    _expect_study(values, arguments, "tune")
    from medtune_jax.compilation import keep_programs
    from medtune_jax.sharing.cancel import obey_cancel, times_cancelled
    from medtune_jax.study import report, tune

    keep_programs()
    output = Path(values.output)
    obey_cancel(output, times_cancelled(output))
    tuned = tune(values.config, output)
    print(f"{reported(report(output))}\nnetwork: {tuned.network}")
    if tuned.failure:
        raise FailureError(f"the final network failed: {tuned.failure}")


def _expect_study(values: flags.FlagValues, arguments: Sequence[str], verb: str) -> None:
    if values.config is None:
        raise UserError("no config given: add --config=configs/image_folder.py")
    if not values.output:
        raise UserError("no output directory given: add --output=DIR")
    expect(arguments, 0, f"{verb} takes flags only")


def _probe(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    if values.config is None:
        raise UserError("no config given: add --config=configs/image_folder.py")
    expect(arguments, 0, "probe takes flags only")
    from medtune_jax.compilation import keep_programs
    from medtune_jax.study.foresight import TABLE, probe

    keep_programs()
    print(probe(values.config, values.output).text)
    if values.output:
        print(f"table: {Path(values.output) / TABLE}")


def _check(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    if values.config is None:
        expect(arguments, 1, "give the folder of your data, or --config=FILE")
        from medtune_jax.applications.show import known_by
        from medtune_jax.study import default_config

        folder = Path(arguments[0])
        arrays = folder.suffix == ".npz" and folder.is_file()
        if not folder.is_dir() and not arrays:
            raise UserError(f"there is no folder {folder}: give the folder of your data")
        config = default_config("image_folder" if arrays else known_by(folder)[0])
    else:
        config = values.config
    if arguments:
        expect(arguments, 1, "give the folder of your data")
        config.data.dir = arguments[0]
    from medtune_jax.study.check import check

    print(check(config, values.output))


def _executor_flags() -> dict[str, str]:
    from medtune_jax.executors.options import fields

    return {f"executor.{name}": text for name, text in fields().items()}


def _executor_options(values: flags.FlagValues) -> dict[str, str]:
    """Those that were given."""
    given = [name for name in _executor_flags() if values[name].present]
    return {name.partition(".")[2]: str(values[name].value) for name in given}


VERBS: dict[str, Verb] = {
    "sweep": Verb(
        "run a layer-wise tuning study, or go on with one, and write its report",
        "medtune sweep --config=configs/image_folder.py --config.data.dir=DIR --output=STUDY "
        "--config.sweep.depths=conv10,fire5,scratch --config.sweep.fractions=1.0,0.25",
        "--config=FILE --output=DIR",
        _sweep,
        {
            "config": "the study, a get_config() file; override with --config.FIELD=VALUE",
            "output": "directory of the study (made or continued)",
            "executor": "what starts the workers: local (this process, or several of this machine), slurm or ray",
        },
        late=_executor_flags,
        switches={
            "dry-run": "print the jobs, their sizes and the device hours they may take; train nothing"
        },
        notes=_sweep_fields,
        interrupted=RUNS_KEPT,
    ),
    "tune": Verb(
        "choose the depth without training all of them, and train the final network on all data",
        "medtune tune --config=configs/image_folder.py --config.data.dir=DIR --output=TUNED",
        "--config=FILE --output=DIR",
        _tune,
        {
            "config": "the study, a get_config() file; override with --config.FIELD=VALUE",
            "output": "directory of the search and its network (made or continued)",
        },
        notes=_sweep_fields,
        interrupted=RUNS_KEPT,
    ),
    "check": Verb(
        "what a sweep would make of your data: classes, patients, files, copies, splits, warnings; trains nothing",
        "medtune check DIR --config=configs/image_folder.py --output=CHECK",
        "DIR [--config=FILE] [--output=DIR]",
        _check,
        {
            "config": "the study, as of a sweep; without it the application that knows the folder, with its defaults",
            "output": "directory for check.txt, sheet.png (some images of each class) and splits.csv",
        },
        notes=_sweep_fields,
    ),
    "probe": Verb(
        "what each stage of the frozen network already knows of your classes, in one pass; trains no network",
        "medtune probe --config=configs/image_folder.py --config.data.dir=DIR --output=PROBE",
        "--config=FILE [--output=DIR]",
        _probe,
        {
            "config": "the study, as of a sweep; override with --config.FIELD=VALUE",
            "output": "directory for probe.csv and its figure; without it nothing is written",
        },
        notes=_sweep_fields,
    ),
}
