"""How the epochs of a task are dispatched, and the one place that chooses.

On an accelerator an epoch is one dispatch, for one run or for a stack of them. Data that are streamed come a batch at a
time, and every step is a dispatch. On XLA's CPU backend the gradients of convolutions take three to twenty times as
long inside a loop as outside, and a whole step takes seconds to compile, for every depth anew: there a task that
convolves neighbouring pixels runs by the programs of its stages, which all depths share (docs/benchmarks.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from medtune_jax import compilation, tuning
from medtune_jax.networks import Params, parameter_count
from medtune_jax.training import stages
from medtune_jax.training.devices import hosts
from medtune_jax.training.devices.mesh import Layout
from medtune_jax.training.epoch import EpochPlan
from medtune_jax.training.inputs.batch import Arrays, Batch, Inputs
from medtune_jax.training.step import Task, TrainState, scores, step
from medtune_jax.tuning import StageRates

_AHEAD = 2  # dispatches that wait on the device, when each brings its own data
Rates = Mapping[str, StageRates]
_Figures = Sequence[Array] | Array
Trained = tuple[TrainState, _Figures, _Figures]
"""State, losses [S], logits [E, B', C]. Of rows that do not count nothing is said."""

# Three seeds, batch 32, cached features, two CPU cores, seconds alone / together (scripts/bench/stacking.py):
#   AlexNet fc8 (8 thousand tuned parameters)            1.39
#   SqueezeNet conv10, 67 px (1 thousand)                1.15
#   SqueezeNet fire9, 67 px (190 thousand)               0.93
#   AlexNet fc7 (17 million)                             0.65
# A small head is all overhead, and a stack pays it once; with more parameters every run must stream its own.
_CPU_PARAMETERS = 2**16
_STATE = 4  # parameters, momentum, gradients, best snapshot
_ACTIVATIONS = 3  # forward, backward, workspace: a rough bound
_MEMORY_SHARE = 0.5


def runner_for(
    task: Task, params: Params, inputs: Inputs, runs: int = 1, batch: int = 32
) -> Runner:
    """The runner that is fastest for a task on this machine.

    params: that its runs start from (shapes are enough). runs: how many differ only in seed and rates, and may train
    together. batch: patches a step.
    """
    cpu = jax.default_backend() == "cpu"
    if cpu and (inputs.streamed or _convolves(task, params)):
        return StageByStage(task)
    if inputs.streamed:
        return StepByStep(task)  # a stack would move the batches of each of its runs
    tuned = parameter_count(tuning.split(params, task.tuned)[0])
    pays = tuned <= _CPU_PARAMETERS if cpu else runs * _bytes(task, tuned, inputs, batch) <= _free()
    return WholeEpoch(task, stacks=runs > 1 and pays)


def _convolves(task: Task, params: Params) -> bool:
    """Whether a stage that runs has a kernel over neighbouring pixels."""
    running = task.network.names[task.network.index(task.start) :]
    leaves = jax.tree.leaves([params[name] for name in running])
    return any(leaf.ndim == 4 and leaf.shape[0] > 1 for leaf in leaves)


def _free() -> int:
    """Bytes of the device's memory that a stack may take; of several hosts the least."""
    memory = jax.local_devices()[0].memory_stats() or {}
    free = memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0)
    return hosts.least(int(_MEMORY_SHARE * free))


def _bytes(task: Task, tuned: int, inputs: Inputs, batch: int) -> int:
    """Of one run. Of activations only the stages' outputs are known without compiling, here in float32."""
    network, rows = task.network, jax.ShapeDtypeStruct((batch,), np.int32)
    shape = jax.eval_shape(inputs.take, inputs.arrays, rows)
    outputs = int(shape.size)
    if task.start == network.names[0]:
        sizes = network.shapes(shape.shape[1])
        outputs += batch * sum(int(np.prod(sizes[name])) for name in network.names)
    return 4 * (_STATE * tuned + _ACTIVATIONS * outputs)


class Shared(NamedTuple):
    """What all epochs of a stack read: parameters of frozen stages, data, and how both lie on the devices."""

    frozen: Params
    inputs: Inputs
    layout: Layout


class Runner(ABC):
    """Runs the epochs of a task.

    stacks: whether several runs train faster together than one after another. least: runs that a dispatch computes at
    the least. by_steps: whether a signal stops it
    between two steps, and an epoch goes on from there.
    """

    stacks = False
    least = 1
    by_steps = False

    def __init__(self, task: Task) -> None:
        self.task = task
        self._compile()

    def divide(self) -> None:
        """Compute every batch in twice as many parts from now on, to the same result.

        For a device that runs out of memory.
        """
        self.task = replace(self.task, parts=2 * self.task.parts)
        self._compile()

    def _compile(self) -> None:
        self._read = _program(self.task.inputs)

    @abstractmethod
    def epoch(
        self, state: TrainState, rates: Rates, plan: EpochPlan, shared: Shared, begun: int = 0
    ) -> Trained:
        """Train and validate. `state` is donated. In a stacked layout state, rates and plan have a leading run axis.

        begun: steps that the state has taken of this epoch; only of a runner `by_steps`.
        """

    def scores(self, params: Params, batches: Iterable[Batch]) -> list[Array]:
        """Logits float32 [B, C] of every batch, by the programs of the stages, which all depths share.

        Fewer of them where a signal asks to stop.
        """
        logits: list[Array] = []
        for batch in batches:
            if hosts.asked_here():
                break
            logits.append(stages.scores(self.task, self._read, params, batch))
            _wait(logits)
        return logits


class WholeEpoch(Runner):
    """One dispatch an epoch, also for a stack of runs."""

    def __init__(self, task: Task, stacks: bool = False) -> None:
        super().__init__(task)
        self.stacks = stacks
        if stacks and jax.default_backend() == "cpu":
            # XLA sums in another order without a run axis. The last seed of a stack, where the others are done already,
            # must end in the bits that it has beside them; its head is small, and the copy costs little.
            self.least = 2

    def _compile(self) -> None:
        super()._compile()
        alone = partial(train_and_validate, self.task)
        self._alone = _program(alone, donated=0)
        axes = (0, None, 0, None, None, 0)
        self._stacked = _program(jax.vmap(alone, in_axes=axes), donated=0)

    def epoch(
        self, state: TrainState, rates: Rates, plan: EpochPlan, shared: Shared, begun: int = 0
    ) -> Trained:
        assert not begun
        frozen, inputs, layout = shared
        program = self._stacked if layout.stacked else self._alone
        trained: Trained = program(
            state, frozen, rates, inputs.arrays, inputs.labels, layout.plan(plan)
        )
        return trained


def train_and_validate(
    task: Task,
    state: TrainState,
    frozen: Params,
    rates: Rates,
    arrays: Arrays,
    labels: Array,
    plan: EpochPlan,
) -> tuple[TrainState, Array, Array]:
    def train(number: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        state, losses = carry
        batch = Batch(arrays, labels, plan.order[number], draw=draw, weights=plan.weights)
        key = jax.random.fold_in(plan.key, number)
        state, loss = step(task, state, frozen, rates, batch, key)
        return state, losses.at[number].set(loss)

    def validate(number: Array, logits: Array) -> Array:
        batch = Batch(arrays, labels, plan.score[number])
        return logits.at[number].set(scores(task, {**state.params, **frozen}, batch))

    draw = task.draw(plan.key)
    losses = jnp.zeros(plan.order.shape[0], jnp.float32)
    state, losses = lax.fori_loop(0, plan.steps, train, (state, losses))
    logits = jnp.zeros((*plan.score.shape, task.network.classes), jnp.float32)
    return state, losses, lax.fori_loop(0, plan.batches, validate, logits)


class StepByStep(Runner):
    """One dispatch a batch: for streamed data."""

    by_steps = True

    def _compile(self) -> None:
        super()._compile()
        self._step = _program(partial(step, self.task), donated=0)

    def epoch(
        self, state: TrainState, rates: Rates, plan: EpochPlan, shared: Shared, begun: int = 0
    ) -> Trained:
        frozen, inputs, layout = shared
        order, score = (np.asarray(rows) for rows in (plan.order, plan.score))
        epoch_key = layout.everywhere(plan.key)
        draw = self.task.draw(epoch_key, compilation.compiled(jax.random.fold_in))
        losses: list[Array] = []
        for number, batch in enumerate(inputs.batches(order[begun : int(plan.steps)]), begun):
            if hosts.asked_here():
                return state, losses, []
            key = compilation.compiled(jax.random.fold_in)(epoch_key, np.int32(number))
            laid = layout.batch(batch._replace(weights=plan.weights))._replace(draw=draw)
            state, loss = self._step(state, frozen, rates, laid, key)
            losses.append(loss)
            _wait(losses)
        validation = map(layout.batch, inputs.batches(score[: int(plan.batches)]))
        return state, losses, self.scores({**state.params, **frozen}, validation)


class StageByStage(StepByStep):
    """Several dispatches a step, by the programs of its stages: how a CPU trains. None is for this task alone."""

    def _compile(self) -> None:
        Runner._compile(self)
        self._step = partial(stages.step, self.task, self._read)


def _program(function: Callable[..., Any], donated: int | tuple[int, ...] = ()) -> Any:
    """Of one runner: its task holds data, which go when the runner goes."""
    return jax.jit(function, donate_argnums=donated, compiler_options=compilation.options())


def _wait(results: list[Array]) -> None:
    """Until few dispatches are left: or else the batches that wait for their step fill the device."""
    if len(results) > _AHEAD:
        results[-1 - _AHEAD].block_until_ready()
