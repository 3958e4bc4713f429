"""On paper: where one run over several accelerators stops paying, and runs side by side begin.

python scripts/bench/scaling.py

A step takes its computing, divided among N devices, and an all-reduce of the gradients of every tuned parameter in
float32: a ring sends 2 (N - 1) / N times their bytes from each device. Neither overlap nor latency is counted.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from medtune_jax import networks
from medtune_jax.networks import forms

NETWORKS = ("alexnet", "googlenet", "squeezenet", "vgg16", "resnet50", "vit_base_patch16")
TRAINING = 3  # times the products of a forward pass: forward, gradients of inputs, of weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument(
        "--tflops", type=float, default=137, help="that training sustains, TFLOP/s a device"
    )
    parser.add_argument(
        "--inside", type=float, default=450, help="GB/s a device sends inside a host"
    )
    parser.add_argument(
        "--between", type=float, default=50, help="GB/s a device sends to other hosts"
    )
    parser.add_argument("--host", type=int, default=8, help="devices of a host")
    given = parser.parse_args()
    table = Table(title=f"a step of {given.batch} images, every stage tuned")
    for name in (
        "network",
        "devices",
        "MB sent",
        "computing, ms",
        "all-reduce, ms",
        "times as fast",
        "efficiency",
    ):
        table.add_column(name, justify="left" if name == "network" else "right")
    for name in NETWORKS:
        parameters, flops = size_of(name)
        alone = 1e3 * given.batch * TRAINING * flops / (1e12 * given.tflops)
        for devices in (1, given.host, 64, 512):
            sent = 4 * parameters * 2 * (devices - 1) / devices / 1e6
            computing = alone / devices
            moving = sent / (given.inside if devices <= given.host else given.between)
            faster = alone / (computing + moving)
            numbers = (
                f"{sent:.1f}",
                f"{computing:.2f}",
                f"{moving:.2f}",
                f"{faster:.1f}",
                f"{faster / devices:.0%}",
            )
            table.add_row(name, str(devices), *numbers)
    Console(width=100).print(table)


def size_of(name: str) -> tuple[int, float]:
    """(parameters with a head of two classes, FLOPs of one image forward, as XLA counts them before it compiles)."""
    forms.BY_BACKEND["cpu"] = replace(forms.ACCELERATOR, space_to_depth=False)  # plain convolutions
    network = networks.get(name, 2)
    side = network.preprocessing.size
    params = network.abstract_params(side)
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    counted = jax.jit(network.apply).lower(params, image).cost_analysis()
    return networks.parameter_count(params), counted["flops"]


if __name__ == "__main__":
    main()
