"""The training loop of the demo with its telemetry: what a user's own script would hold, and the faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from anomaly.demo.faults import POISONED, Injected, Scenario
from anomaly.demo.model import (
    BYTES,
    CLIP_NORM,
    CONTEXT,
    Moments,
    Parameters,
    adam,
    batch_of,
    initial,
    loss_of,
    no_moments,
)
from anomaly.jax import Watch, layer_statistics, layout_of

CHECKPOINT_EVERY = 50
LAYOUT = layout_of(jax.eval_shape(initial), activations=True)


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step as the screen shows it. `published` is when the hook took its record, on the monotonic clock."""

    step: int
    loss: float
    lr: float
    seconds: float
    published: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a restart begins with: the state after `step`."""

    step: int
    parameters: Parameters
    moments: Moments


class Trainer:
    """Trains scenarios one after another with one compiled step, each from the same start."""

    def __init__(self, text: NDArray[np.uint8], watch_run: Callable[[str], Watch]) -> None:
        self._text = text
        self._watch_run = watch_run
        parameters = initial()
        self._start = Checkpoint(0, parameters, no_moments(parameters))

    def compile(self, sizes: Iterable[int]) -> None:
        """Compile the step for each batch size now, so that no run waits for it."""
        for size in sizes:
            batch = batch_of(self._text, 0, size)
            train_step(self._start.parameters, self._start.moments, batch, 0, 0.0, Injected())

    def train(self, scenario: Scenario) -> Iterator[StepReport]:
        """Train one run; a report a step.

        A restart is what it is in real life: another process, so another hook, that reads a checkpoint and repeats the
        steps since then with the same batches.
        """
        begin, saved = self._start, [self._start]
        if scenario.restart_at is not None:
            yield from self._session(scenario, begin, scenario.restart_at, saved)
            begin = saved[-1]
        yield from self._session(scenario, begin, scenario.steps, saved)

    def _session(
        self, scenario: Scenario, begin: Checkpoint, end: int, saved: list[Checkpoint]
    ) -> Iterator[StepReport]:
        parameters, moments = begin.parameters, begin.moments
        with closing(
            self._watch_run(scenario.run)
        ) as run:  # not `with run`: a process that is killed says no farewell
            if begin.step:
                run.event("resume", step=begin.step)
            for step in range(begin.step + 1, end + 1):
                started = time.monotonic()
                lr, size = scenario.lr(step), scenario.batch_size(step)
                if size != scenario.batch_size(step - 1):
                    run.event("batch_size", value=size)
                batch = batch_of(self._text, step, size)
                parameters, moments, loss, matrix = train_step(
                    parameters, moments, batch, step, lr, scenario.injected(step)
                )
                shown = float(loss)
                # Two cores are shared with the broker and the worker: how long a step takes says nothing here.
                run.step(matrix, step=step, loss=loss, lr=lr, tokens=size * CONTEXT, step_seconds=None)
                published = time.monotonic()
                if step % CHECKPOINT_EVERY == 0:
                    saved.append(Checkpoint(step, parameters, moments))
                    run.event("checkpoint_end", step=step)
                yield StepReport(step, shown, lr, published - started, published)
            if end == scenario.steps:
                run.event("finished", outcome="completed")


@jax.jit
def train_step(
    parameters: Parameters,
    moments: Moments,
    batch: jax.Array,
    step: jax.Array,
    lr: jax.Array,
    injected: Injected,
) -> tuple[Parameters, Moments, jax.Array, jax.Array]:
    """One optimiser step, whatever is done to it, its loss and the statistics of its layers."""
    inputs, targets = batch[:, :-1], spoilt(batch[:, 1:], step, injected.noise)
    (loss, outputs), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters, inputs, targets)
    updates, moments = adam(clipped(gradients), moments, lr)
    poison = jnp.where(injected.poison > 0, jnp.nan, 0.0)
    updates = {**updates, POISONED: jax.tree.map(lambda update: update + poison, updates[POISONED])}
    matrix = layer_statistics(LAYOUT, gradients, parameters, updates, outputs)
    return jax.tree.map(jnp.add, parameters, updates), moments, loss, matrix


def clipped(gradients: Parameters) -> Parameters:
    """The gradients, scaled down where their norm is above `CLIP_NORM`."""
    squares = jax.tree.map(lambda gradient: jnp.sum(jnp.square(gradient)), gradients)
    norm = jnp.sqrt(jax.tree.reduce(jnp.add, squares))
    scaled: Parameters = jax.tree.map(
        lambda gradient: gradient * jnp.minimum(1.0, CLIP_NORM / norm), gradients
    )
    return scaled


def spoilt(targets: jax.Array, step: jax.Array, share: jax.Array | float) -> jax.Array:
    """`targets` with a share of them replaced by random bytes."""
    which, what = jax.random.split(jax.random.fold_in(jax.random.key(11), step))
    replaced = jax.random.uniform(which, targets.shape) < share
    return jnp.where(replaced, jax.random.randint(what, targets.shape, 0, BYTES), targets)
