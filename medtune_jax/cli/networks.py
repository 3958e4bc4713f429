"""medtune networks, weights, predict, serve, export: trained networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medtune_jax.cli.parsing import parse
from medtune_jax.cli.verb import Verb, expect
from medtune_jax.errors import UserError

if TYPE_CHECKING:
    from absl import flags

    from medtune_jax.applications.ensemble import Ensemble

_HOST, _PORT = "127.0.0.1", 8080


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


def _prediction_options(values: flags.FlagValues) -> str:
    if not values.run or "" in values.run:
        return "an application has options of its own: add --run=RUN to see them\n\n"
    from medtune_jax.applications.predict import load_all, prediction_of

    options = prediction_of(load_all(values.run)).options
    rows = (f"  --{o.name}={o.default!r}: {o.help}\n" for o in options)
    return f"options of this run's application:\n{''.join(rows)}\n"


def _with_options(
    verb: str, ensemble: Ensemble, values: flags.FlagValues, arguments: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """What of the arguments is no flag, and the options of the ensemble's application."""
    from absl import flags

    from medtune_jax.applications.predict import prediction_of

    define: Mapping[type, Callable[..., object]]
    define = {
        str: flags.DEFINE_string,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_boolean,
    }
    options = prediction_of(ensemble).options
    for option in options:
        define[option.kind](option.name, option.default, option.help, flag_values=values)
    rest = parse(verb, values, arguments)
    return rest, {option.name: values[option.name].value for option in options}


def _predict(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    if not values.run or "" in values.run:
        raise UserError("no network given: add --run=STUDY, or --run=STUDY/runs/NAME")
    if not values.output:
        raise UserError("no output directory given: add --output=DIR")
    from medtune_jax.applications.predict import load_all, predict
    from medtune_jax.compilation import keep_programs

    keep_programs()
    ensemble = load_all(values.run)
    inputs, given = _with_options("predict", ensemble, values, arguments)
    found = predict(ensemble, inputs, values.output, **given)
    print(found.summary)
    if found.unreadable:
        raise UserError(found.unreadable)


def _serve(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    port = _port(values.port)
    runs = [argument for argument in arguments if not argument.startswith("-")]
    expect(runs, 1, "give one run, STUDY/runs/NAME, or STUDY for all that it kept")
    try:
        from medtune_jax.serving.page import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"the page needs {error.name}, which is not installed: pip install 'medtune-jax[serve]'"
        ) from error
    from medtune_jax.applications.predict import load_all
    from medtune_jax.compilation import keep_programs
    from medtune_jax.serving.answer import Served

    keep_programs()
    ensemble = load_all(runs)
    _, given = _with_options("serve", ensemble, values, arguments)
    served = Served(ensemble, {name: given[name] for name in given if values[name].present})
    serve(
        *(served, values.host or _HOST, port),
        lambda at: print(f"{at} (Ctrl-C ends it)", flush=True),
    )


def _port(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise UserError(f"--port={text} is no port: give 1 to 65535, or 0 for any that is free")
    return int(text or _PORT)


def _export(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    expect(arguments, 1, "give one run, STUDY/runs/NAME")
    if not values.output:
        raise UserError("no output directory given: add --output=DIR")
    from medtune_jax.export import export
    from medtune_jax.fields import items

    print(export(arguments[0], items(values.format), values.output))


VERBS: dict[str, Verb] = {
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
    "serve": Verb(
        "a page on this machine: drop an image on it, see what a study's networks say of it, and how good they are",
        "medtune serve STUDY",
        "RUN [--host=HOST] [--port=PORT]",
        _serve,
        {
            "host": f"address to listen at (default {_HOST}: this machine alone; whoever reaches another one sees all)",
            "port": f"port to listen at (default {_PORT}; 0: any that is free)",
        },
        notes=lambda values: (
            "options of medtune predict for the run's application may be given, too\n\n"
        ),
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
