"""Train a network from scratch on a folder of real images and say whether it learned anything.

    python scripts/scratch_check.py --data DIR --network googlenet --size 96 --rate 1e-2
    python scripts/scratch_check.py --data DIR --network alexnet --depth scratch-xavier --rate 1e-3

DIR is an image folder with patients (labels.csv). Prints the loss of every epoch and the AUC on held-out
patients with a 95% interval by patient. GoogLeNet's side heads are part of its loss. Exits with 1 unless the loss fell
and the interval is above chance.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

from ml_collections import ConfigDict

from medtune_jax.evaluation import interval
from medtune_jax.report.load import load_study
from medtune_jax.study import default_config, sweep


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--network", default="googlenet")
    parser.add_argument("--depth", default="scratch", help="scratch or scratch-INITIALIZER")
    parser.add_argument("--size", type=int, default=0, help="input side; 0: the network's own")
    parser.add_argument("--rate", type=float, default=0.0, help="0: the network's own")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the training patients")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _check(sweep(_config(arguments), Path(folder) / "study", quiet=True))


def _config(arguments: argparse.Namespace) -> ConfigDict:
    config = default_config()
    config.data.dir = arguments.data
    config.network, config.image_size = arguments.network, arguments.size
    config.sweep.depths, config.sweep.seeds = arguments.depth, 1
    config.sweep.fractions = str(arguments.fraction)
    config.training.epochs = config.training.patience = arguments.epochs
    config.rates.scratch = arguments.rate
    config.augment.depths = "none"  # the check is of the gradients, on what the reference saw
    return config


def _check(study: Path) -> int:
    results = load_study(study)
    (run,) = results.runs
    if run.scores is None or results.test is None:
        print(f"the run failed: {run.result['reason']}")
        return 1
    with (study / "runs" / run.run / "history.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    test, metric = results.test, results.metric
    found = interval(metric, test.labels, run.scores[None], test.groups)
    if found.low is None:
        print(f"no interval: {found.why}")
        return 1
    print("loss by epoch: " + " ".join(f"{loss:.3f}" for loss in losses))
    print(
        f"{run.result['train_images']} training images, {len(run.scores)} test images of "
        f"{len(set(test.groups))} patients: {metric.title} {found.estimate:.3f} "
        f"(95% {found.low:.3f} to {found.high:.3f})"
    )
    learned = losses[-1] < losses[0] and found.low > 0.5
    print("learned" if learned else "NOT learned")
    return 0 if learned else 1


if __name__ == "__main__":
    sys.exit(main())
