"""A network is an ordered sequence of named stages; everything else follows from that sequence.

The tuning depth, the frozen prefix, the optimizer's partition, transplanting and the report's axis are all
read off `Network.stages`; nothing else may restate the order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from medtune_jax import compilation
from medtune_jax.errors import UserError
from medtune_jax.networks.layers import dropout, survivors
from medtune_jax.networks.norms import STATISTICS, has_statistics
from medtune_jax.networks.preprocessing import Preprocessing
from medtune_jax.networks.sources import Sources

Layers = tuple[Callable[[Array], Array], ...]
"""Layers without parameters, [N,...] -> [N,...]."""

Params = dict[str, Any]
"""{stage: {"kernel", "bias"}} or {stage: {layer: {"kernel", "bias"}}}, all float32; a norm has "scale" and "bias", and
a batch norm its averages "mean" and "variance"."""

Path = tuple[str, ...]
ModuleInput = tuple[nn.Module, tuple[int, ...]]

# Side heads and stochastic depth draw from their keys with numbers that no stage has.
_FIRST_SIDE = 1000
_FIRST_DEPTH = 2000


@dataclass(frozen=True)
class Stage:
    """One named step of a network.

    `then` are the parameter-free layers that end the stage (norm, pool): its output is what the next stage's first
    layer receives. `dropout` acts in training on the stage's INPUT. Caffe writes it at the end of the layer before;
    here it opens the next stage so that everything up to a stage boundary is deterministic and can be cached.
    `stochastic_depth` is the probability that, in training, a row passes the stage by, whose module adds to its input
    what `residual` is told to keep; frozen stages are run `at_full_depth`. `plain_loops`: how its programs are compiled
    (`compilation.options`), where that was measured.
    """

    name: str
    module: nn.Module
    then: Layers = ()
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    plain_loops: bool = False

    def __call__(
        self,
        params: Params,
        x: Array,
        keys: Array | None = None,
        number: int | Array = 0,
        counts: Array | None = None,
    ) -> Array:
        """keys: PRNG keys [N], one a row, switch dropout and stochastic depth on (training); number: the stage's own,
        to draw from them.
        counts: rows that count, float32 [N]; switches batch norms to the statistics of this batch.
        """
        if keys is not None and self.dropout:
            x = dropout(x, self.dropout, _fold_in(keys, number))
        batch = () if counts is None or not has_statistics(params) else (counts,)
        kept: dict[str, Any] = {}
        if keys is not None and self.stochastic_depth:
            draws = _fold_in(keys, _FIRST_DEPTH + number)
            kept = {"kept": survivors(self.stochastic_depth, draws)}
        x = jnp.asarray(self.module.apply({"params": params}, x, *batch, **kept))
        for layer in self.then:
            x = layer(x)
        return x

    def at_full_depth(self) -> Stage:
        """The stage without stochastic depth."""
        return replace(self, stochastic_depth=0.0)

    def compiled(self, *arguments: Any) -> Array:
        """The same as a program of its own, which all who run the stage share."""
        run = compilation.compiled(Stage.__call__, static=(0,), plain_loops=self.plain_loops)
        return run(self, *arguments)


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
    initializer: str
    """The one its authors trained it with: what plain `scratch` uses."""
    rates: Rates = Rates()
    auxiliary: tuple[Auxiliary, ...] = ()
    smallest: int = 1
    """Smallest input side in pixels."""
    released_head: Stage | None = None
    """The head that the released weights were trained with, where a new task wants another."""
    adapted: tuple[Path, ...] = ()
    """The inner products, by their path in a stage, that LoRA adds to (`low_rank`)."""
    sources: Sources = field(default=Sources(), compare=False, repr=False)

    def as_released(self) -> Network:
        """The network whose head is that of the released weights."""
        if self.released_head is None:
            return self
        return replace(self, stages=(*self.stages[:-1], self.released_head), released_head=None)

    def at_full_depth(self) -> Network:
        """The network without stochastic depth."""
        return replace(self, stages=tuple(stage.at_full_depth() for stage in self.stages))

    @property
    def stochastic_depth(self) -> float:
        """The largest probability with which a stage is passed by; 0: the network has no stochastic depth."""
        return max(stage.stochastic_depth for stage in self.stages)

    def in_training(self, position: int, tuned: Collection[str]) -> Stage:
        """A stage as a step runs it: one that is frozen at full depth."""
        stage = self.stages[position]
        return stage if stage.name in tuned else stage.at_full_depth()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @property
    def head(self) -> str:
        """The last stage, whose outputs are the classes."""
        return self.stages[-1].name

    @property
    def batch_norms(self) -> tuple[str, ...]:
        """The stages that have batch norms."""
        return tuple(name for name, p in self.abstract_params().items() if has_statistics(p))

    def index(self, name: str) -> int:
        """Position of a stage; UserError with the nearest name if there is none."""
        if name in self.names:
            return self.names.index(name)
        near = get_close_matches(name, self.names, 1, 0)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UserError(
            f"{self.name} has no stage '{name}'{hint} (its stages: {', '.join(self.names)})"
        )

    def of_size(self, size: int) -> Network:
        """The network whose own input side is `size`."""
        return replace(self, preprocessing=replace(self.preprocessing, size=size))

    def check_size(self, size: int) -> None:
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
        tuned: Collection[str] = (),
        counts: Array | None = None,
    ) -> Array:
        """Run the stages from `start` up to, not including, `stop`.

        x: input of `start` ([N,H,W,3] preprocessed pixels for the first stage). Without `start` from the first stage;
        without `stop` to the class scores [N, classes] (before the softmax).
        keys: PRNG keys [N], one a row, switch dropout on (training), frozen stages included, as in Caffe, and the
        stochastic depth of `tuned` stages.
        taps: a dict that receives every stage's output by name.
        counts: float32 [N], rows that count: the batch norms of `tuned` stages use the statistics of this batch. All
        others, those of frozen stages among them, use the stored ones.
        """

        def step(stage: Stage, position: int, x: Array) -> Array:
            x = self.in_training(position, tuned)(
                params[stage.name], x, keys, position, counts if stage.name in tuned else None
            )
            if taps is not None:
                taps[stage.name] = x
            return x

        return self._through(step, x, start, stop)

    def run(
        self, params: Params, x: Array, start: str | None = None, stop: str | None = None
    ) -> Array:
        """`apply`, without dropout, by a program for each stage: whoever runs a stage on as many rows shares it."""
        return self._through(lambda s, _, x: s.compiled(params[s.name], x), x, start, stop)

    def _through(
        self,
        step: Callable[[Stage, int, Array], Array],
        x: Array,
        start: str | None,
        stop: str | None,
    ) -> Array:
        first = self.index(start) if start else 0
        last = self.index(stop) if stop else len(self.stages)
        for position in range(first, last):
            x = step(self.stages[position], position, x)
        return x.reshape(x.shape[0], -1) if last == len(self.stages) else x

    def sides(self, params: Params) -> list[tuple[int, Auxiliary]]:
        """The auxiliary heads whose parameters are present, each with its number."""
        return [(n, s) for n, s in enumerate(self.auxiliary) if s.stage.name in params]

    def training_outputs(
        self,
        params: Params,
        x: Array,
        start: str | None,
        keys: Array,
        tuned: Collection[str] = (),
        counts: Array | None = None,
    ) -> list[tuple[float, Array]]:
        """(loss weight, class scores) of the main head and of every auxiliary head whose parameters are present."""
        taps: dict[str, Array] = {}
        scores = self.apply(
            params, x, start=start, keys=keys, taps=taps, tuned=tuned, counts=counts
        )
        outputs = [(1.0, scores)]
        for number, side in self.sides(params):
            if side.after in taps:
                scores = side(params[side.stage.name], taps[side.after], keys, number)
                outputs.append((side.weight, scores))
        return outputs

    def shapes(self, size: int | None = None, ended: bool = True) -> dict[str, tuple[int, ...]]:
        """Output shape [h,w,c] or [c] of every stage, without computing anything.

        ended: after the layers that end a stage (`then`); otherwise before them.
        """
        inputs = self.inputs(size)
        return {
            s.name: _traced(s.module, s.then if ended else (), inputs[s.name][1])[1]
            for s in self.stages
        }

    def inputs(self, size: int | None = None, auxiliary: bool = False) -> dict[str, ModuleInput]:
        """The module of every stage and the shape of its input, side heads after the others: all that initial
        parameters depend on.
        """
        side = size or self.preprocessing.size
        shape: tuple[int, ...] = (side, side, 3)
        inputs, outputs = {}, {}
        for stage in self.stages:
            inputs[stage.name] = stage.module, shape
            _, shape = _traced(stage.module, stage.then, shape)
            outputs[stage.name] = shape
        sides = self.auxiliary if auxiliary else ()
        return inputs | {s.stage.name: (s.stage.module, outputs[s.after]) for s in sides}

    def abstract_params(self, size: int | None = None, auxiliary: bool = False) -> Params:
        """Shapes and dtypes of all parameters, without memory. Layers are in the order in which modules define them."""
        then = {stage.name: stage.then for stage in self.stages}
        inputs = self.inputs(size, auxiliary)
        return {
            name: unflatten_dict(dict(_traced(module, then.get(name, ()), x)[0]))
            for name, (module, x) in inputs.items()
        }

    def deterministic_prefix(self, first_tuned: str) -> str:
        """The stage at which the frozen, deterministic prefix of a tuning depth ends (its output feeds that stage).

        It ends at the first tuned stage or at the first stage with dropout on its input, whichever comes first:
        up to there the output for a fixed set of patches is a constant. Stochastic depth is at work in tuned stages
        only, so it ends no prefix.
        """
        last = self.index(first_tuned)
        return next((stage.name for stage in self.stages[:last] if stage.dropout), self.names[last])


# Tracing takes longer than a step of a small study, and every run asks.
@lru_cache(maxsize=1024)
def _traced(
    module: nn.Module, then: Layers, shape: tuple[int, ...]
) -> tuple[tuple[tuple[Path, jax.ShapeDtypeStruct], ...], tuple[int, ...]]:
    """The parameters of a stage whose input has `shape`, in the order of their definition, and its output's shape."""
    paths: list[Path] = []

    def outputs(key: Array, x: Array) -> tuple[Array, list[Array]]:
        x, variables = module.init_with_output(key, x)
        params = flatten_dict(variables["params"])
        paths.extend(params)  # a tree that JAX returns has its keys sorted
        for layer in then:
            x = layer(x)
        return x, list(params.values())

    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    y, params = jax.eval_shape(outputs, jax.random.key(0), x)
    return tuple(zip(paths, params, strict=True)), y.shape[1:]


def _fold_in(keys: Array, number: int | Array) -> Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def parameter_count(params: Params) -> int:
    """Of what is learned: without the averages of batch norms."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return sum(int(np.prod(leaf.shape)) for path, leaf in leaves if path[-1].key not in STATISTICS)
