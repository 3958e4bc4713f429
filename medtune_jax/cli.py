"""medtune <verb>: the command line. Everything it does can be done from Python as well."""

from __future__ import annotations

import difflib
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from medtune_jax import signals
from medtune_jax.errors import UserError
from medtune_jax.fields import flat

# What takes long to import is imported where it is used, so that signals are obeyed from the start.
if TYPE_CHECKING:
    from absl import flags

BAD_INPUT = 2
_HELP = ("-h", "--help", "--helpfull")
_WATCH = 2.0  # seconds

Run: TypeAlias = "Callable[[flags.FlagValues, Sequence[str]], None]"


class FailureError(Exception):
    """The command did what it could, and nothing came of it: exit code 1, with this sentence."""


@dataclass(frozen=True)
class Verb:
    """One verb: what it does, an example, its arguments, the function that runs it.

    options: its flags with their help; late: those whose help takes long to import.
    repeated: those that may be given several times. switches: those that take no value.
    notes: what help says beside them, of those that were given. more: flags that depend on others are left among the
    arguments, and `run` parses them.
    """

    summary: str
    example: str
    arguments: str
    run: Run
    options: Mapping[str, str] = field(default_factory=dict)
    repeated: Mapping[str, str] = field(default_factory=dict)
    switches: Mapping[str, str] = field(default_factory=dict)
    late: Callable[[], Mapping[str, str]] = dict
    notes: Callable[[flags.FlagValues], str] = lambda values: ""
    more: bool = False

    def values(self) -> flags.FlagValues:
        """The flags, none of them given yet."""
        from absl import flags
        from ml_collections import config_flags

        values = flags.FlagValues()
        for name, text in {**self.options, **self.late()}.items():
            if name == "config":
                config_flags.DEFINE_config_file(name, None, text, flag_values=values)
            else:
                flags.DEFINE_string(name, "", text, flag_values=values)
        for name, text in self.repeated.items():
            flags.DEFINE_multi_string(name, [], text, flag_values=values)
        for name, text in self.switches.items():
            flags.DEFINE_boolean(name, False, text, flag_values=values)
        return values


def main() -> None:
    """The console command."""
    try:
        signals.listen()
        code = run(sys.argv[1:])
        signals.over()
    except KeyboardInterrupt:  # before `run` or behind it
        code = signals.farewell()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code.

    0, 1 when no run of a sweep succeeded, 2 for bad input, and for the signals those of `signals.CODES`.
    """
    try:
        return _dispatch(list(arguments))
    except UserError as error:
        print(f"medtune: {error}", file=sys.stderr)
        return BAD_INPUT
    except FailureError as error:
        print(f"medtune: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return signals.farewell()
    except BrokenPipeError:
        return 0


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in (*_HELP, "help"):
        print(_overview())
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, 1, 0)[0]
        raise UserError(f"unknown verb '{name}'; did you mean 'medtune {near}'?")
    verb = VERBS[name]
    values = verb.values()
    given = [_at_home(argument) for argument in rest if argument not in _HELP]
    arguments = _parse(name, values, given, verb.more)
    if len(given) < len(rest):
        print(_help(name, verb, values))
    else:
        verb.run(values, arguments)
    return 0


def _at_home(argument: str) -> str:
    """~ in a path, which a shell leaves as it is behind --flag=."""
    return re.sub(
        r"^(--[\w.]+=)?~(?=/|$)", lambda found: f"{found[1] or ''}{Path.home()}", argument
    )


def _parse(
    name: str, values: flags.FlagValues, rest: Sequence[str], known_only: bool = False
) -> list[str]:
    """Positional arguments; flags go into `values`. Any trouble becomes one sentence."""
    from absl import flags

    argv = [f"medtune {name}", *rest]
    sys.argv = argv  # ml_collections looks there for the overrides of a config
    try:
        positional = values(argv, known_only)[1:]
        if "config" in values and values.config is not None:
            values.config.to_dict()  # a config that failed to load says so only when it is read
        return positional
    except flags.Error as error:
        raise UserError(_flag_trouble(str(error), values)) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(_config_trouble(str(error), argv)) from error
    except (OSError, SyntaxError, ImportError) as error:
        raise UserError(
            f"the config file cannot be read ({_last_line(error)}): give --config=configs/NAME.py"
        ) from error


def _flag_trouble(message: str, values: flags.FlagValues) -> str:
    if "get_config() takes 0 positional arguments" in message:
        return "this config has no presets: leave out the colon and what follows it"
    if "Error whilst parsing config file" in message:
        return f"the config file fails: {_last_line(message)}"
    unknown = re.search(r"Unknown command line flag '([^']+)'", message)
    if not unknown:
        return _first_line(message)
    return _unknown(unknown[1], [*_config_fields(values), *values])


def _config_trouble(message: str, argv: Sequence[str]) -> str:
    """A config refused an override: its field is unknown, or the value does not fit."""
    values = VERBS["sweep"].values()
    sys.argv = [argument for argument in argv if not argument.startswith("--config.")]
    values(sys.argv, known_only=True)
    fields = _config_fields(values)
    for given in re.findall(r"--(config\.[\w.]+)", " ".join(argv)):
        if not any(f"{field}.".startswith(f"{given}.") for field in fields):
            return _unknown(given, fields)
    return f"a config field does not fit: {' '.join(message.split())}"


def _unknown(flag: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(flag, known, 1, 0)
    hint = f"; did you mean --{near[0]}?" if near else ": this verb takes none"
    return f"there is no flag --{flag}{hint}"


def _config_fields(values: flags.FlagValues) -> list[str]:
    if "config" not in values or values["config"].value is None:
        return []
    return [f"config.{name}" for name in flat(values["config"].value.to_dict())]


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _last_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


def _overview() -> str:
    rows = "\n".join(f"  {name:<10} {verb.summary}" for name, verb in VERBS.items())
    return (
        "medtune <verb> [flags]: how deep should I fine-tune a pre-trained CNN on my images?\n\n"
        f"{rows}\n\n`medtune <verb> --help` shows a verb's flags and an example."
    )


def _help(name: str, verb: Verb, values: flags.FlagValues) -> str:
    described = "\n".join(f"  --{flag}: {values[flag].help}" for flag in values)
    usage = f"medtune {name} {verb.arguments}".rstrip()
    return (
        f"{usage}: {verb.summary}\n\nflags:\n{described or '  none'}\n\n"
        f"{verb.notes(values)}example:\n  {verb.example}"
    )


# --- verbs; each imports what it needs, so that `medtune --help` answers at once ---


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
        print(_reported(report(study)))
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
    print(f"{_reported(report(output))}\nnetwork: {tuned.network}")
    if tuned.failure:
        raise FailureError(f"the final network failed: {tuned.failure}")


def _expect_study(values: flags.FlagValues, arguments: Sequence[str], verb: str) -> None:
    if values.config is None:
        raise UserError("no config given: add --config=configs/image_folder.py")
    if not values.output:
        raise UserError("no output directory given: add --output=DIR")
    _expect(arguments, 0, f"{verb} takes flags only")


def _probe(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    if values.config is None:
        raise UserError("no config given: add --config=configs/image_folder.py")
    _expect(arguments, 0, "probe takes flags only")
    from medtune_jax.compilation import keep_programs
    from medtune_jax.study.foresight import TABLE, probe

    keep_programs()
    print(probe(values.config, values.output).text)
    if values.output:
        print(f"table: {Path(values.output) / TABLE}")


def _check(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    if values.config is None:
        _expect(arguments, 1, "give the folder of your data, or --config=FILE")
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
        _expect(arguments, 1, "give the folder of your data")
        config.data.dir = arguments[0]
    from medtune_jax.study.check import check

    print(check(config, values.output))


def _executor_flags() -> dict[str, str]:
    from medtune_jax.executors.options import fields

    return {f"executor.{name}": text for name, text in fields().items()}


def _executor_options(values: flags.FlagValues) -> dict[str, str]:
    """Those that were given."""
    given = {name.partition(".")[2]: values[name].value for name in _executor_flags()}
    return {name: value for name, value in given.items() if value}


def _report(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    del values
    _expect(arguments, 1, "give the directory of one study")
    from medtune_jax.study import report

    print(_reported(report(arguments[0])))


def _reported(page: Path) -> str:
    """What the study says, and where the rest stands."""
    from medtune_jax.report import ANSWER

    return f"{page.with_name(ANSWER).read_text(encoding='utf-8')}report: {page}"


def _plan(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    _expect(arguments, 1, "give the directory of one finished study")
    if not values.detect:
        raise UserError(
            "no difference given: add --detect=0.02, in the units of the figure that the study's answer is in"
        )
    from medtune_jax.study import next_study

    detect = _number("detect", values.detect)
    options = {"power": _number("power", values.power)} if values.power else {}
    print(next_study(arguments[0], detect, **options).text)


def _compare(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    _expect(arguments, 2, "give the directories of two studies")
    from medtune_jax.report.compared import answer, table
    from medtune_jax.study import compare

    found = compare(arguments[0], arguments[1], values.output or None)
    print(f"{table(found)}\n\n{answer(found)}")
    if values.output:
        print(f"report: {Path(values.output) / 'report.html'}")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"--{name}={text} is no number: give one, say --{name}=0.8") from error


def _status(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    _expect(arguments, 1, "give the directory of one study")
    from medtune_jax.sharing.status import described, status

    found = status(arguments[0])
    print(described(found), flush=True)
    while values.watch and found.left:
        time.sleep(_WATCH)
        found = status(arguments[0])
        print(f"\n{described(found)}", flush=True)


def _retry(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    _expect(arguments, 1, "give the directory of one study")
    if not values.failed:
        raise UserError("say which runs: add --failed")
    from medtune_jax.sharing.status import retry_failed

    count = retry_failed(arguments[0])
    print(f"{count} failed runs wait again: the next `medtune sweep` of {arguments[0]} runs them")


def _cancel(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    del values
    _expect(arguments, 1, "give the directory of one study")
    from medtune_jax.executors.cancel import cancel_study

    print(cancel_study(arguments[0]))


def _merge(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    if not values.output:
        raise UserError("no output directory given: add --output=DIR")
    from medtune_jax.study.merge import merge

    print(merge(arguments, values.output))


def _networks(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    del values
    from medtune_jax.networks.describe import describe

    print(describe(arguments))


def _weights(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    from medtune_jax.weights.verbs import weights_verb

    print(
        weights_verb(
            list(arguments),
            values.image,
            values.output,
            values.url,
            values.network,
            {
                "order": values.order,
                "mean": values.mean,
                "std": values.std,
                "scale": values.scale,
            },
        )
    )


def _data(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    match list(arguments):
        case ["list"]:
            from medtune_jax.datasets.verbs import listing

            print(listing())
        case ["prepare", name]:
            from medtune_jax.datasets.verbs import prepare

            print(prepare(name, values.dir, values.output))
        case ["show", name]:
            from medtune_jax.applications.show import show

            print(show(name, values.dir, values.output))
        case _:
            got = " ".join(arguments) or "nothing"
            raise UserError(f"medtune data takes {VERBS['data'].arguments} (got {got})")


def _prediction_options(values: flags.FlagValues) -> str:
    if not values.run:
        return "an application has options of its own: add --run=RUN to see them\n\n"
    from medtune_jax.applications.predict import load_all, prediction_of

    options = prediction_of(load_all(values.run)).options
    rows = (f"  --{o.name}={o.default!r}: {o.help}\n" for o in options)
    return f"options of this run's application:\n{''.join(rows)}\n"


def _predict(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    if not values.run:
        raise UserError("no network given: add --run=STUDY/runs/NAME, or a checkpoint")
    if not values.output:
        raise UserError("no output directory given: add --output=DIR")
    from absl import flags

    from medtune_jax.applications.predict import load_all, predict, prediction_of

    define: Mapping[type, Callable[..., object]]
    define = {
        str: flags.DEFINE_string,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_boolean,
    }

    from medtune_jax.compilation import keep_programs

    keep_programs()
    ensemble = load_all(values.run)
    options = prediction_of(ensemble).options
    for option in options:
        define[option.kind](option.name, option.default, option.help, flag_values=values)
    inputs = _parse("predict", values, arguments)
    given = {option.name: values[option.name].value for option in options}
    found = predict(ensemble, inputs, values.output, **given)
    print(found.summary)
    if found.unreadable:
        raise UserError(found.unreadable)


def _prune(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    _expect(arguments, 1, "give the directory of one finished study")
    from medtune_jax.study.prune import prune

    print(prune(arguments[0], values.keep))


def _export(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    _expect(arguments, 1, "give one run, STUDY/runs/NAME")
    if not values.output:
        raise UserError("no output directory given: add --output=DIR")
    from medtune_jax.export import export
    from medtune_jax.fields import items

    print(export(arguments[0], items(values.format), values.output))


def _expect(arguments: Sequence[str], count: int, message: str) -> None:
    if len(arguments) != count:
        raise UserError(f"{message} (got {' '.join(arguments) or 'nothing'})")


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
        "DIR [--keep=DEPTH_OR_RUN,...]",
        _prune,
        {
            "keep": "depths and runs whose weights stay beside the recommended ones; all removes nothing"
        },
    ),
    "merge": Verb(
        "join studies that ran apart with the same config and data",
        "medtune merge A B --output C",
        "DIR DIR ... --output=DIR",
        _merge,
        {"output": "directory to make"},
    ),
    "networks": Verb(
        "list the networks: stages, parameters, input, preprocessing, weights at hand",
        "medtune networks squeezenet",
        "[NAME ...]",
        _networks,
    ),
    "weights": Verb(
        "list known weights, fetch and convert them, show a checkpoint, run an image through one",
        "medtune weights run CHECKPOINT --image photo.jpg --output acts.npz",
        "list | fetch NAME --output DIR | convert FILE --network NAME --output DIR | show DIR | "
        "run DIR --image FILE --output FILE",
        _weights,
        {
            "image": "image file to run",
            "output": "where to write",
            "url": "another address to fetch from",
            "network": "the network that a file to convert holds: alexnet, ...",
            "order": "how the weights were trained, if their file does not tell: RGB or BGR",
            "mean": "what is subtracted then: three numbers in that order, or a mean image (.binaryproto, .npy)",
            "std": "what is divided by at last: three numbers, or one (default 1)",
            "scale": "what pixels 0..255 are multiplied by at first: a number or a quotient, 1/255 (default 1)",
        },
    ),
    "data": Verb(
        "list public data sets, prepare a downloaded one, draw a contact sheet of any data",
        "medtune data prepare nerthus --dir nerthus-dataset-frames --output DATA && "
        "medtune data show nerthus --dir DATA --output sheet.png",
        "list | prepare NAME --dir RAW --output DIR | show NAME_OR_DIR --output sheet.png",
        _data,
        {
            "dir": "downloaded folder (prepare), or where sets were prepared (show)",
            "output": "where to write",
        },
    ),
    "predict": Verb(
        "use a study's networks on new images, videos or volumes; with labels, how good they are there",
        "medtune predict --run=STUDY IMAGES --output=DIR",
        "--run=RUN FILE_OR_DIR ... --output=DIR",
        _predict,
        {"output": "directory to write into"},
        repeated={
            "run": "STUDY/runs/NAME with kept weights, several seeds of one depth, or STUDY for all that it kept"
        },
        notes=_prediction_options,
        more=True,
    ),
    "export": Verb(
        "a run's network for use elsewhere, checked against the run, with a model card",
        "medtune export STUDY/runs/NAME --format=stablehlo,onnx --output=DIR",
        "RUN --format=FORMAT[,FORMAT] --output=DIR",
        _export,
        {
            "format": "stablehlo, onnx (8-bit RGB in, probabilities out), safetensors (PyTorch), orbax (JAX)",
            "output": "directory to make",
        },
    ),
}

if __name__ == "__main__":
    main()
