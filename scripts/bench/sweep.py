"""A whole study, every depth of a network for a fixed number of epochs, against a clean PyTorch script doing the same.

    taskset -c 0,1 python scripts/bench/sweep.py --size 67 --epochs 5 --json out.json

Both start from the bundled SqueezeNet and use the same patches, split, rates, batch, epochs and snapshot of the
best validation AUC. Ours is `medtune_jax.study.sweep` from reading the images to the last result file, first with
nothing compiled yet, then with the programs that the first has kept. PyTorch gets the finished patches as uint8 in
memory and a DataLoader, in a process of its own; its frozen stages run under no_grad. Data: generated colonoscopy
frames, or `--data` with any image folder.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import common
import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import torch
import torch_side
from jax._src import compilation_cache
from ml_collections import ConfigDict
from torch.utils.data import DataLoader, TensorDataset

from medtune_jax import compilation, study, tuning
from medtune_jax.evaluation import AUC, log_odds
from medtune_jax.networks import Rates
from medtune_jax.phantoms.colonoscopy import write_image_folder
from medtune_jax.study.prepare import Study, prepare
from medtune_jax.study.start import starting_params

_TORCH_SCORES = "torch.json"


@dataclass(frozen=True)
class Score:
    """Of one depth."""

    validation: float
    test: float


def main() -> None:
    arguments = common.parser(__doc__, "squeezenet")
    arguments.add_argument("--data", default="", help="an image folder; empty: generated frames")
    arguments.add_argument("--videos", type=int, default=12, help="generated videos")
    arguments.add_argument("--weights", default="", help="a checkpoint; empty: bundled ones")
    arguments.add_argument("--epochs", type=int, default=5)
    arguments.set_defaults(size=67, repeats=1)
    options = arguments.parse_args()
    clock = common.CLOCKS[options.clock](common.use_all_allowed_cores())
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = options.data or str(write_image_folder(folder / "frames", videos=options.videos))
        for name in options.networks.split(","):
            config = _config(options, name, data)
            ours = _Ours(config, folder)
            with torch_side.Apart(
                options.clock,
                theirs,
                config.to_json(),
                folder,
                keep_memory=options.torch_keeps_memory,
            ) as others:
                sides = {"medtune": ours.cold, "kept": ours.warm, **others}
                seconds = common.alternate(sides, options.repeats, clock, warm_up=False)
            scores = ours.scores(), _torch_scores(folder)
            rows += _rows(name, config, seconds, float(np.median(ours.compiling)), *scores)
    common.report(f"A study of {options.epochs} epochs a depth", rows, options.json)


class _Ours:
    """The study by `medtune_jax.study.sweep`, in a new folder each time."""

    def __init__(self, config: ConfigDict, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._runs = 0
        self._compiled = 0.0
        self.compiling: list[float] = []  # seconds of each cold run
        compilation.keep_programs()
        jax.monitoring.register_event_duration_secs_listener(self._note)

    @property
    def _output(self) -> Path:
        return self._folder / f"{self._config.network}-{self._runs}"

    def cold(self) -> None:
        """Every program is compiled, and kept."""
        programs = self._folder / f"{self._config.network}-programs-{self._runs}"
        jax.config.update("jax_compilation_cache_dir", str(programs))
        before = self._compiled
        self.warm()
        self.compiling.append(self._compiled - before)

    def warm(self) -> None:
        """As a new process that finds the programs of the last cold run."""
        jax.clear_caches()
        compilation_cache.reset_cache()
        self._runs += 1
        study.sweep(self._config, self._output, quiet=True)

    def _note(self, event: str, seconds: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self._compiled += seconds

    def scores(self) -> dict[str, Score]:
        results = [json.loads(p.read_text()) for p in self._output.glob("runs/*/result.json")]
        return {r["depth"]: Score(r["validation"], r["test"]) for r in results if r["validation"]}


def theirs(config_json: str, folder: Path) -> dict[str, Callable[[], None]]:
    """The study in PyTorch, in channels_last, its faster format for convolutions; its scores go to a file."""
    config = ConfigDict(json.loads(config_json))
    planned = prepare(config, folder / f"{config.network}-plan")
    patches = planned.dataset.patches
    arrays = jax.tree.map(jnp.asarray, patches.arrays())
    take = jax.jit(patches.take)
    parts = np.array_split(np.arange(len(patches)), -(-len(patches) // 256))
    pixels = np.concatenate([np.asarray(take(arrays, jnp.asarray(part))) for part in parts])
    pixels = np.round(pixels).astype(np.uint8)

    def run() -> None:
        scores = {
            depth.name: asdict(_torch_run(planned, depth, pixels)) for depth in planned.plan.depths
        }
        (folder / _TORCH_SCORES).write_text(json.dumps(scores))

    return {"torch": run}


def _torch_scores(folder: Path) -> dict[str, Score]:
    scores = json.loads((folder / _TORCH_SCORES).read_text())
    return {depth: Score(**score) for depth, score in scores.items()}


def _torch_run(planned: Study, depth: tuning.Depth, pixels: np.ndarray) -> Score:
    network, config, labels = planned.network, planned.config, planned.dataset.labels
    params, _ = starting_params(network, planned.source, depth, 0, planned.plan.size, False)
    rates = _rates(planned, depth)
    trainer = torch_side.Trainer(
        network,
        params,
        planned.plan.size,
        depth.tuned[0],
        channels_last=True,
        rate=rates[0],
        head_rate=rates[1],
    )
    subset = planned.subsets[1.0, 0]
    torch.manual_seed(0)
    batches = {
        name: DataLoader(
            TensorDataset(torch.from_numpy(pixels[index]), torch.from_numpy(labels[index]).long()),
            config.training.batch,
            shuffle=name == "train",
        )
        for name, index in (
            ("train", subset.train),
            ("valid", subset.valid),
            ("test", planned.test),
        )
    }

    def prepared(x: torch.Tensor) -> torch.Tensor:
        return trainer.place(torch_side.preprocessed(network, x.to(torch_side.DEVICE)))

    def auc(name: str) -> float:
        scores = torch.cat([trainer.predict(prepared(x)) for x, _ in batches[name]])
        if not scores.isfinite().all():  # diverged; it goes on, since its time is measured
            return float("nan")
        truth = torch.cat([y for _, y in batches[name]])
        return AUC(truth.numpy(), log_odds.of_probabilities(scores.cpu().numpy()))

    schedule = torch.optim.lr_scheduler.ExponentialLR(trainer.optimizer, config.training.rate_decay)
    best, snapshot = float("-inf"), trainer.model.state_dict()
    for _ in range(config.training.epochs):
        for x, y in batches["train"]:
            trainer.step(prepared(x), y.to(torch_side.DEVICE))
        schedule.step()
        figure = auc("valid")
        if figure > best:
            best, snapshot = figure, copy.deepcopy(trainer.model.state_dict())
    trainer.model.load_state_dict(snapshot)
    return Score(best, auc("test"))


def _rates(planned: Study, depth: tuning.Depth) -> tuple[float, float]:
    """(tuned, head) of weights."""
    own: Rates = planned.network.rates
    return (own.scratch, own.scratch) if depth.scratch else (own.tuned, own.head)


def _config(options, network: str, data: str) -> ConfigDict:
    config = study.default_config()
    config.augment.depths = "none"  # as the other side
    config.network, config.weights = network, options.weights
    config.image_size = options.size
    config.data.dir = data
    config.sweep.depths, config.sweep.seeds = options.depths or "all", 1
    config.training.batch = options.batch
    config.training.epochs = config.training.patience = options.epochs
    config.training.auxiliary = False  # the PyTorch twins have no side heads
    return config


def _rows(
    name: str,
    config: ConfigDict,
    seconds: common.Seconds,
    compiling: float,
    ours: dict[str, Score],
    theirs: dict[str, Score],
) -> list[common.Row]:
    cold, kept, other = (float(np.median(seconds[s])) for s in ("medtune", "kept", "torch"))
    wide = max(common.spread(values) for values in seconds.values())
    case = f"{len(theirs)} depths x 1 seed, {config.image_size} px"
    repeats = len(seconds["medtune"])
    rows = [
        common.Row(name, label, one, other, other / one, "s", repeats, wide, note)
        for label, one, note in (
            (case, cold, f"of which {compiling:.1f} s compiling"),
            (f"{case}, programs kept", kept, ""),
        )
    ]
    rows += [_scores_row(name, depth, ours.get(depth), theirs[depth]) for depth in theirs]
    means = [float(np.mean([s.test for s in side.values()])) for side in (ours, theirs)]
    rows.append(common.Row(name, "mean over depths", *means, None, "test AUC"))
    return rows


def _scores_row(name: str, depth: str, ours: Score | None, theirs: Score) -> common.Row:
    if ours is None:
        return common.Row(name, depth, float("nan"), None, None, "test AUC", note="failed")
    note = f"best validation AUC {ours.validation:.3f} and {theirs.validation:.3f}"
    return common.Row(name, depth, ours.test, theirs.test, None, "test AUC", note=note)


if __name__ == "__main__":
    main()
