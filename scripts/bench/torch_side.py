"""A clean PyTorch training loop on tensors in memory, in every setting that may be its fastest.

It runs in a process of its own: neither side's allocator and threads get into the other's way.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import common
import torch
import torch_networks
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from medtune_jax.networks import Network

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Trainer:
    """Fine-tuning from stage `first_tuned` on: the stages before it run under no_grad and have no gradients."""

    def __init__(
        self,
        network: Network,
        params: dict[str, Any],
        size: int,
        first_tuned: str,
        channels_last: bool = False,
        compiled: bool = False,
        amp: bool = False,
        rate: float = 1e-6,
        head_rate: float | None = None,
    ) -> None:
        model = torch_networks.build(network, params, size).to(DEVICE)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.format)
        depth = network.index(first_tuned)
        self.frozen, tuned = self.model[:depth], self.model[depth:]
        self.frozen.requires_grad_(False)
        self.optimizer = torch.optim.SGD(
            _groups(tuned, rate, rate if head_rate is None else head_rate), momentum=0.9, fused=True
        )
        self.tuned = torch.compile(tuned) if compiled else tuned
        self.prefix = torch.compile(self.frozen) if compiled and depth else self.frozen
        self.amp = amp

    def place(self, x: Tensor) -> Tensor:
        # Mixed precision would narrow every batch anew.
        dtype = torch.bfloat16 if self.amp else x.dtype
        return x.to(DEVICE, dtype, memory_format=self.format, non_blocking=True)

    def scores(self, x: Tensor) -> Tensor:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.amp):
            with torch.no_grad():
                x = self.prefix(x)
            return self.tuned(x)

    def step(self, x: Tensor, target: Tensor) -> Tensor:
        self.model.train()
        loss = cross_entropy(self.scores(x).float(), target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def predict(self, x: Tensor) -> Tensor:
        self.model.eval()
        return self.scores(x).float().softmax(-1)


def _groups(tuned: nn.Sequential, rate: float, head_rate: float) -> list[dict[str, Any]]:
    """Weights and biases of the head and of the rest; a bias learns twice as fast."""
    last = len(tuned) - 1
    return [
        {
            "params": [
                p
                for position, stage in enumerate(tuned)
                if (position == last) == is_head
                for name, p in stage.named_parameters()
                if name.endswith("bias") == is_bias
            ],
            "lr": (head_rate if is_head else rate) * (2 if is_bias else 1),
        }
        for is_head in (False, True)
        for is_bias in (False, True)
        if is_head or last
    ]


def settings(compiled: bool, amp: bool) -> dict[str, dict[str, bool]]:
    """The settings to try: both memory formats, and compilation and mixed precision where asked for.

    On a GPU the two that have a chance of being its fastest, since each costs the visit half a minute.
    """
    last = {"channels_last": True}
    if DEVICE == "cuda" and not (compiled or amp):
        mixed = {**last, "amp": True}
        return {
            "channels_last amp": mixed,
            "channels_last amp compiled": {**mixed, "compiled": True},
        }
    found = {"plain": {}, "channels_last": last}
    if compiled:
        found |= {f"{name} compiled": {**s, "compiled": True} for name, s in found.items()}
    if amp:
        found |= {f"{name} amp": {**s, "amp": True} for name, s in found.items()}
    return found


def preprocessed(network: Network, pixels: Tensor) -> Tensor:
    """uint8 RGB [N,S,S,3] -> the network's input float32 [N,3,S,S], on the device of the pixels."""
    made = network.preprocessing
    mean, std = (
        torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (made.mean, made.std)
    )
    x = pixels.permute(0, 3, 1, 2).float()
    x = x.flip(1) if made.order == "BGR" else x
    return (x * made.scale - mean) / std


def epoch(trainer: Trainer, x: Tensor, target: Tensor, batch: int) -> Callable[[], None]:
    """One pass in a new random order."""

    def run() -> None:
        order = torch.randperm(len(x), device=DEVICE)
        for rows in order.split(batch):
            loss = trainer.step(x[rows], target[rows])
        loss.item()

    return run


def forward(trainer: Trainer, x: Tensor, batch: int) -> Callable[[], None]:
    def run() -> None:
        scores = torch.cat([trainer.predict(part) for part in x.split(batch)])
        scores.cpu()

    return run


class Apart:
    """What `make` of the arguments finds to call, in another process, to be called in turn with ours.

    Each call returns its own seconds by the clock. make: a function of a module, -> {name: call}. keep_memory: with our
    setting of the C library, which PyTorch does not choose by itself.
    """

    def __init__(
        self,
        clock: str,
        make: Callable[..., dict[str, Callable[[], None]]],
        *arguments: Any,
        keep_memory: bool = False,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        served = (other, clock, make, arguments, keep_memory)
        self._process = context.Process(target=_serve, args=served, daemon=True)
        with _jax_on_cpu():
            self._process.start()
        other.close()  # its own alone is left, so that reading ends where it has died
        self._names = self._pipe.recv()

    def __enter__(self) -> dict[str, Callable[[], float]]:
        return {name: partial(self._call, name) for name in self._names}

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def _call(self, name: str) -> float:
        self._pipe.send(name)
        return self._pipe.recv()


@contextmanager
def _jax_on_cpu() -> Iterator[None]:
    """For a process that begins here: it only reads networks with JAX, which would take the accelerator's memory."""
    before = os.environ.get("JAX_PLATFORMS")
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        yield
    finally:
        del os.environ["JAX_PLATFORMS"]
        if before is not None:
            os.environ["JAX_PLATFORMS"] = before


def _serve(
    pipe: Connection,
    clock: str,
    make: Callable[..., dict[str, Callable[[], None]]],
    arguments: tuple[Any, ...],
    keep_memory: bool,
) -> None:
    own = common.CLOCKS[clock](common.use_all_allowed_cores(keep_memory))
    if DEVICE == "cuda":  # what its users set
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    found = make(*arguments)
    pipe.send(list(found))
    while True:
        name = pipe.recv()
        pipe.send(common.timed(found[name], own))


def calls(case: str, *arguments: Any, **options: Any) -> dict[str, Callable[[], None]]:
    """`calls_by_case` of one case, {SETTING: call}."""
    found = calls_by_case(case, *arguments, **options)
    return {key.removeprefix(f"{case}: "): run for key, run in found.items()}


def calls_by_case(
    cases: str,
    name: str,
    size: int,
    first_tuned: str,
    batch: int,
    count: int,
    compiled: bool = False,
    amp: bool = False,
) -> dict[str, Callable[[], None]]:
    """{"CASE: SETTING": call} of 'forward', 'training' or both, comma-separated, on `count` random patches.

    The cases share their models.
    """
    network, params, size = common.network_and_params(name, size)
    patches, labels = common.random_patches(count, size)
    target = torch.tensor(labels, device=DEVICE)
    result = {}
    for key, setting in settings(compiled, amp).items():
        trainer = Trainer(network, params, size, first_tuned, **setting)
        # A batch at a time, made on the device before any clock runs: on the host it takes minutes.
        parts = torch.from_numpy(patches.pixels).split(batch)
        x = torch.cat([trainer.place(preprocessed(network, part.to(DEVICE))) for part in parts])
        makers = {
            "training": partial(epoch, trainer, x, target, batch),
            "forward": partial(forward, trainer, x, batch),
        }
        result |= {f"{case}: {key}": makers[case]() for case in cases.split(",")}
    return result
