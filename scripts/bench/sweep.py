"""A whole study, every depth of a network for a fixed number of epochs, against a clean PyTorch script doing the same.

    taskset -c 0,1 python scripts/bench/sweep.py --size 67 --epochs 5 --json out.json

Both start from the bundled SqueezeNet and use the same patches, split, rates, batch, epochs and snapshot of the
best validation AUC. Ours is `medtune_jax.study.sweep` from reading the images to the last result file, compilation
included. PyTorch gets the finished patches as uint8 in memory and a DataLoader; its frozen stages run under no_grad.
Data: generated colonoscopy frames, or `--data` with any image folder.
"""

from __future__ import annotations

import copy
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_side
from torch.utils.data import DataLoader, TensorDataset

from medtune_jax import study, tuning
from medtune_jax.evaluation.roc import one_vs_rest_auc
from medtune_jax.networks import Rates
from medtune_jax.phantoms.colonoscopy import write_image_folder
from medtune_jax.study.prepare import Study, prepare
from medtune_jax.study.runs import starting_params


@dataclass(frozen=True)
class Score:
    """Of one depth."""

    val_auc: float
    test_auc: float


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
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or str(
            write_image_folder(Path(folder) / "frames", videos=options.videos)
        )
        for name in options.networks.split(","):
            config = _config(options, name, data)
            pair = _Pair(config, Path(folder))
            seconds = common.alternate(
                {"medtune": pair.ours, **pair.theirs()}, options.repeats, clock, warm_up=False
            )
            rows += _rows(name, config, pair, seconds)
    common.report(f"A study of {options.epochs} epochs a depth", rows, options.json)


class _Pair:
    """The study, run by either side; keeps the last scores of both."""

    def __init__(self, config, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.scores: dict[str, dict[str, Score]] = {}
        self._runs = 0

    def ours(self) -> None:
        jax.clear_caches()  # every repeat compiles
        self._runs += 1
        output = self.folder / f"{self.config.network}-{self._runs}"
        study.sweep(self.config, output, quiet=True)
        results = [json.loads(p.read_text()) for p in output.glob("runs/*/result.json")]
        self.scores["medtune"] = {
            r["depth"]: Score(r["val_auc"], r["test_auc"]) for r in results if r["val_auc"]
        }

    def theirs(self) -> dict[str, Any]:
        """PyTorch in channels_last, its faster format for convolutions on CPUs and GPUs."""
        planned = prepare(self.config, self.folder / f"{self.config.network}-plan")
        patches = planned.dataset.patches
        fetch = jax.jit(patches.fetch)
        arrays = jax.tree.map(jnp.asarray, patches.arrays())
        parts = np.array_split(np.arange(len(patches)), -(-len(patches) // 256))
        pixels = np.concatenate([np.asarray(fetch(arrays, jnp.asarray(part))) for part in parts])
        pixels = np.round(pixels).astype(np.uint8)

        def run() -> None:
            self.scores["torch"] = {
                depth.name: _torch_run(planned, depth, pixels) for depth in planned.plan.depths
            }

        return {"torch": run}


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
    mean = torch.tensor(network.preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(network.preprocessing.std).view(1, 3, 1, 1)

    def prepared(x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2).float()
        x = x.flip(1) if network.preprocessing.order == "BGR" else x
        return trainer.place((x * network.preprocessing.scale - mean) / std)

    def auc(name: str) -> float:
        scores = torch.cat([trainer.predict(prepared(x)) for x, _ in batches[name]])
        truth = torch.cat([y for _, y in batches[name]])
        return one_vs_rest_auc(truth.numpy(), scores.cpu().numpy())

    schedule = torch.optim.lr_scheduler.ExponentialLR(trainer.optimizer, config.training.rate_decay)
    best, snapshot = -1.0, None
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


def _config(options, network: str, data: str):
    config = study.default_config()
    config.network, config.weights = network, options.weights
    config.image_size = options.size
    config.data.dir, config.data.patient_pattern = data, ""
    config.sweep.depths, config.sweep.seeds = options.depths or "all", 1
    config.training.batch = options.batch
    config.training.epochs = config.training.patience = options.epochs
    config.training.auxiliary = False  # the PyTorch twins have no side heads
    return config


def _rows(name: str, config, pair: _Pair, seconds: common.Seconds) -> list[common.Row]:
    (ours, theirs) = (float(np.median(seconds[side])) for side in ("medtune", "torch"))
    wide = max(common.spread(values) for values in seconds.values())
    depths = list(pair.scores["torch"])
    case = f"{len(depths)} depths x 1 seed, {config.image_size} px"
    repeats = len(seconds["medtune"])
    rows = [common.Row(name, case, ours, theirs, theirs / ours, "s", repeats, wide)]
    for depth in depths:
        one, other = (pair.scores[side].get(depth) for side in ("medtune", "torch"))
        if one is None:
            rows.append(
                common.Row(name, depth, float("nan"), None, None, "test AUC", note="failed")
            )
            continue
        note = f"best validation AUC {one.val_auc:.3f} and {other.val_auc:.3f}"
        rows.append(
            common.Row(name, depth, one.test_auc, other.test_auc, None, "test AUC", note=note)
        )
    both = [[s[d].test_auc for d in depths if d in s] for s in pair.scores.values()]
    means = {side: float(np.mean(v)) for side, v in zip(pair.scores, both, strict=True)}
    rows.append(
        common.Row(name, "mean over depths", means["medtune"], means["torch"], None, "test AUC")
    )
    return rows


if __name__ == "__main__":
    main()
