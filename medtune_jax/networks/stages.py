"""A network is an ordered sequence of named stages; everything else follows from that sequence.

The tuning depth, the frozen prefix, the optimizer's partition, transplanting and the report's axis are all
read off `Network.stages`; nothing else may restate the order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from medtune_jax import compilation
from medtune_jax.errors import UserError
from medtune_jax.networks.layers import dropout

Params = dict[str, Any]
"""{stage: {"kernel", "bias"}} or {stage: {layer: {"kernel", "bias"}}}, all float32."""

_FIRST_SIDE = 1000  # side heads draw from their keys with numbers that no stage has


@dataclass(frozen=True)
class Stage:
    """One named step of a network.

    `then` are the parameter-free layers that end the stage (norm, pool): its output is what the next stage's first
    layer receives. `dropout` acts in training on the stage's INPUT. Caffe writes it at the end of the layer before;
    here it opens the next stage so that everything up to a stage boundary is deterministic and can be cached.
    """

    name: str
    module: nn.Module
    then: tuple[Callable[[Array], Array], ...] = ()
    dropout: float = 0.0

    def __call__(
        self, params: Params, x: Array, keys: Array | None = None, number: int | Array = 0
    ) -> Array:
        """keys: PRNG keys [N], one a row, switch dropout on (training); number: the stage's own, to draw from them."""
        if keys is not None and self.dropout:
            x = dropout(x, self.dropout, _fold_in(keys, number))
        x = jnp.asarray(self.module.apply({"params": params}, x))
        for layer in self.then:
            x = layer(x)
        return x

    def compiled(self, *arguments: Any) -> Array:
        """The same as a program of its own, which all who run the stage share."""
        return compilation.compiled(Stage.__call__, static=(0,))(self, *arguments)


@dataclass(frozen=True)
class Auxiliary:
    """A side classifier used only in training (GoogLeNet), fed by the output of stage `after`."""

    after: str
    stage: Stage
    weight: float

    def __call__(self, params: Params, x: Array, keys: Array, number: int | Array) -> Array:
        """Class scores in training. number: of the side head, to draw from the keys [N]."""
        keys = _fold_in(keys, _FIRST_SIDE + number)
        return jnp.asarray(self.stage.module.apply({"params": params}, x, keys))


@dataclass(frozen=True)
class Preprocessing:
    """How 8-bit RGB pixels become a network's input: channel order, then (x * scale - mean) / std per channel.

    mean and std are in the order of the network's own channels; `mean` may also be an image [size,size,3].
    """

    size: int
    order: str = "BGR"
    mean: Any = (104.007, 116.669, 122.679)
    scale: float = 1.0
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, x: Array, dtype: Any = jnp.float32) -> Array:
        """x [N,H,W,3] RGB, 0..255 of any dtype -> network input [N,H,W,3] of `dtype`."""
        x = x.astype(jnp.float32)
        x = x[..., ::-1] if self.order == "BGR" else x
        x = x * self.scale - self._mean_for(x.shape[1:3])
        return (x / jnp.asarray(self.std, jnp.float32)).astype(dtype)

    def _mean_for(self, shape: tuple[int, ...]) -> Array:
        mean = np.asarray(self.mean, np.float32)
        if mean.ndim == 3 and mean.shape[:2] != shape:
            mean = mean.mean((0, 1))  # a mean image only fits its own size
        return jnp.asarray(mean)


@dataclass(frozen=True)
class Rates:
    """Learning rates of weights (a bias gets twice as much) and where they come from."""

    tuned: float = 1e-3
    head: float = 1e-2
    scratch: float = 1e-3
    source: str = "Tajbakhsh et al. 2016, Table II"


@dataclass(frozen=True)
class Network:
    """An ordered sequence of named stages with its preprocessing and default rates."""

    name: str
    classes: int
    stages: tuple[Stage, ...]
    preprocessing: Preprocessing
    filler: str
    """The filler its authors trained it with: what plain `scratch` uses."""
    rates: Rates = Rates()
    auxiliary: tuple[Auxiliary, ...] = ()
    smallest: int = 0
    """Smallest input side in pixels; 0 where only `preprocessing.size` fits (fully connected stages)."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @property
    def head(self) -> str:
        """The last stage, whose outputs are the classes."""
        return self.stages[-1].name

    def index(self, name: str) -> int:
        """Position of a stage; UserError with the nearest name if there is none."""
        if name in self.names:
            return self.names.index(name)
        near = get_close_matches(name, self.names, 1, 0)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UserError(
            f"{self.name} has no stage '{name}'{hint} (its stages: {', '.join(self.names)})"
        )

    def check_size(self, size: int) -> None:
        own = self.preprocessing.size
        if not self.smallest and size != own:
            raise UserError(
                f"{self.name} takes images of {own} px only (its fully connected stages fix the size), not {size}; "
                f"leave image_size at 0"
            )
        if size < self.smallest:
            raise UserError(
                f"{self.name} needs images of at least {self.smallest} px, not {size}; raise image_size"
            )

    def apply(
        self,
        params: Params,
        x: Array,
        start: str | None = None,
        stop: str | None = None,
        keys: Array | None = None,
        taps: dict[str, Array] | None = None,
    ) -> Array:
        """Run the stages from `start` up to, not including, `stop`.

        x: input of `start` ([N,H,W,3] preprocessed pixels for the first stage). Without `start` from the first stage;
        without `stop` to the class scores [N, classes] (before the softmax).
        keys: PRNG keys [N], one a row, switch dropout on (training), frozen stages included, as in Caffe.
        taps: a dict that receives every stage's output by name.
        """
        first = self.index(start) if start else 0
        last = self.index(stop) if stop else len(self.stages)
        for position in range(first, last):
            stage = self.stages[position]
            x = stage(params[stage.name], x, keys, position)
            if taps is not None:
                taps[stage.name] = x
        return x.reshape(x.shape[0], -1) if last == len(self.stages) else x

    def run(
        self, params: Params, x: Array, start: str | None = None, stop: str | None = None
    ) -> Array:
        """`apply`, without dropout, by a program for each stage: whoever runs a stage on as many rows shares it."""
        first = self.index(start) if start else 0
        last = self.index(stop) if stop else len(self.stages)
        for stage in self.stages[first:last]:
            x = stage.compiled(params[stage.name], x)
        return x.reshape(x.shape[0], -1) if last == len(self.stages) else x

    def training_outputs(
        self, params: Params, x: Array, start: str | None, keys: Array
    ) -> list[tuple[float, Array]]:
        """(loss weight, class scores) of the main head and of every auxiliary head whose parameters are present."""
        taps: dict[str, Array] = {}
        outputs = [(1.0, self.apply(params, x, start=start, keys=keys, taps=taps))]
        for number, side in enumerate(self.auxiliary):
            if side.stage.name in params and side.after in taps:
                scores = side(params[side.stage.name], taps[side.after], keys, number)
                outputs.append((side.weight, scores))
        return outputs

    def shapes(self, size: int | None = None) -> dict[str, tuple[int, ...]]:
        """Output shape [h,w,c] or [c] of every stage, without computing anything."""
        return dict(_shapes(self.stages, size or self.preprocessing.size))

    def drawn(
        self, size: int | None = None, auxiliary: bool = False
    ) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
        """The module of every stage and the shape of its input, side heads after the others: all that initial
        parameters depend on.
        """
        size = size or self.preprocessing.size
        outputs = self.shapes(size)
        inputs = [(size, size, 3), *outputs.values()]
        found = {
            stage.name: (stage.module, x) for stage, x in zip(self.stages, inputs, strict=False)
        }
        if auxiliary:
            sides = {s.stage.name: (s.stage.module, outputs[s.after]) for s in self.auxiliary}
            found |= sides
        return found

    def abstract_params(self, size: int | None = None, auxiliary: bool = False) -> Params:
        """Shapes and dtypes of all parameters, without memory."""
        drawn = self.drawn(size, auxiliary).items()
        return {name: dict(_abstract_params(*stage)) for name, stage in drawn}

    def deterministic_prefix(self, first_tuned: str) -> str:
        """The stage at which the frozen, deterministic prefix of a tuning depth ends (its output feeds that stage).

        It ends at the first tuned stage or at the first stage with dropout on its input, whichever comes first:
        up to there the output for a fixed set of patches is a constant.
        """
        last = self.index(first_tuned)
        return next((stage.name for stage in self.stages[:last] if stage.dropout), self.names[last])


# Tracing takes longer than a step of a small study, and every run asks.
@lru_cache(maxsize=64)
def _shapes(stages: tuple[Stage, ...], size: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    found, shape = [], (size, size, 3)
    for stage in stages:
        shape = jax.eval_shape(partial(_output, stage), *_example(shape)).shape[1:]
        found.append((stage.name, shape))
    return tuple(found)


@lru_cache(maxsize=1024)
def _abstract_params(module: nn.Module, shape: tuple[int, ...]) -> Params:
    return jax.eval_shape(module.init, *_example(shape))["params"]


def _output(stage: Stage, key: Array, x: Array) -> Array:
    return stage(dict(stage.module.init(key, x)["params"]), x)


def _example(shape: tuple[int, ...]) -> tuple[Array, jax.ShapeDtypeStruct]:
    return jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32)


def _fold_in(keys: Array, number: int | Array) -> Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def parameter_count(params: Params) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
