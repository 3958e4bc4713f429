"""A clean PyTorch training loop on tensors in memory, in every setting that may be its fastest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
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
        return x.to(DEVICE, memory_format=self.format, non_blocking=True)

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
    """The settings to try: both memory formats, and compilation and mixed precision where asked for or on a GPU."""
    found = {"plain": {}, "channels_last": {"channels_last": True}}
    if compiled or DEVICE == "cuda":
        found |= {f"{name} compiled": {**s, "compiled": True} for name, s in found.items()}
    if amp or DEVICE == "cuda":
        found |= {f"{name} amp": {**s, "amp": True} for name, s in found.items()}
    return found


def preprocessed(network: Network, pixels: np.ndarray) -> Tensor:
    """uint8 RGB [N,S,S,3] -> the network's input float32 [N,3,S,S], made before any clock runs."""
    x = np.asarray(network.preprocessing(pixels)).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(x))


def epoch(trainer: Trainer, x: Tensor, target: Tensor, batch: int) -> Callable[[], None]:
    """One pass in a new random order."""
    x, target = trainer.place(x), target.to(DEVICE)

    def run() -> None:
        order = torch.randperm(len(x), device=DEVICE)
        for rows in order.split(batch):
            loss = trainer.step(x[rows], target[rows])
        loss.item()

    return run


def forward(trainer: Trainer, x: Tensor, batch: int) -> Callable[[], None]:
    x = trainer.place(x)

    def run() -> None:
        scores = torch.cat([trainer.predict(part) for part in x.split(batch)])
        scores.cpu()

    return run
