"""The training loop of the demo, with its telemetry: what a user's own script would hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from anomaly.demo.faults import Injected, Scenario
from anomaly.demo.model import (
    BYTES,
    CLIP_NORM,
    CONTEXT,
    Moments,
    Parameters,
    adam,
    batch_of,
    initial,
    layer_names,
    loss_of,
    no_moments,
)
from anomaly.hook import Telemetry
from anomaly.records import Layout

POISONED = "block.2.mlp"
CHECKPOINT_EVERY = 50
SIGNALS = (
    "grad_norm",
    "weight_norm",
    "update_ratio",
    "act_rms",
    "act_absmax",
    "grad_nonfinite",
    "act_nonfinite",
    "weight_nonfinite",
)
LAYOUT = Layout(layer_names(), SIGNALS, ("loss", "lr", "grad_norm_total", "clip_coef", "tokens"))


def statistics(gradients, parameters, updates, outputs):
    def norm(tree):
        return jnp.sqrt(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)))

    def bad(tree):
        return sum(jnp.sum(~jnp.isfinite(x)) for x in jax.tree.leaves(tree)).astype(jnp.float32)

    rows = []
    for name in layer_names():
        w = norm(parameters[name])
        o = outputs[name]
        rows.append(
            jnp.stack(
                [
                    norm(gradients[name]),
                    w,
                    norm(updates[name]) / w,
                    jnp.sqrt(jnp.mean(o * o)),
                    jnp.max(jnp.abs(o)),
                    bad(gradients[name]),
                    bad(o),
                    bad(parameters[name]),
                ]
            )
        )
    return jnp.stack(rows)


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


class Measured(NamedTuple):
    """What one step tells its telemetry."""

    loss: jax.Array
    grad_norm_total: jax.Array
    clip_coef: jax.Array
    layers: jax.Array


class Trainer:
    """Trains scenarios one after another with one compiled step."""

    def __init__(self, text: NDArray[np.uint8]) -> None:
        self._text = text
        self._start = initial(seed=1)

    def compile(self, sizes: Iterable[int]) -> None:
        """Compile the step for each batch size now, so that no run waits for it."""
        for size in sizes:
            self._step(self._start, no_moments(self._start), 0, size, 0.0, Injected())

    def train(self, scenario: Scenario, new_telemetry: Callable[[], Telemetry]) -> Iterator[StepReport]:
        """Train one run from the same start as every other; a report a step.

        A restart is what it is in real life: another process, so another `Telemetry`, that reads a checkpoint and
        repeats the steps since then with the same batches.
        """
        begin = Checkpoint(0, self._start, no_moments(self._start))
        if scenario.restart_at is None:
            yield from self._session(scenario, new_telemetry, begin, scenario.steps, [])
            return
        saved: list[Checkpoint] = []
        yield from self._session(scenario, new_telemetry, begin, scenario.restart_at, saved)
        yield from self._session(scenario, new_telemetry, saved[-1], scenario.steps, saved)

    def _session(
        self,
        scenario: Scenario,
        new_telemetry: Callable[[], Telemetry],
        begin: Checkpoint,
        end: int,
        saved: list[Checkpoint],
    ) -> Iterator[StepReport]:
        parameters, moments = begin.parameters, begin.moments
        with new_telemetry() as telemetry:
            telemetry.layout(LAYOUT)
            if begin.step:
                telemetry.event("resume", step=begin.step)
            for step in range(begin.step + 1, end + 1):
                started = time.monotonic()
                size = scenario.batch_size(step)
                if size != scenario.batch_size(step - 1):
                    telemetry.event("batch_size", value=size)
                lr = scenario.lr(step)
                parameters, moments, measured = self._step(parameters, moments, step, size, lr, scenario.injected(step))
                loss = float(measured.loss)
                telemetry.step(
                    step,
                    loss=loss,
                    lr=lr,
                    layers=np.asarray(measured.layers),
                    grad_norm_total=float(measured.grad_norm_total),
                    clip_coef=float(measured.clip_coef),
                    tokens=size * CONTEXT,
                )
                published = time.monotonic()
                if step % CHECKPOINT_EVERY == 0:
                    saved.append(Checkpoint(step, parameters, moments))
                    telemetry.event("checkpoint_end", step=step)
                yield StepReport(step, loss, lr, published - started, published)

    def _step(
        self, parameters: Parameters, moments: Moments, step: int, size: int, lr: float, injected: Injected
    ) -> tuple[Parameters, Moments, Measured]:
        batch = batch_of(self._text, step, size)
        new, state, measured = train_step(parameters, moments, batch, np.int32(step), lr, injected)
        return new, state, jax.block_until_ready(measured)


@jax.jit
def train_step(
    parameters: Parameters, moments: Moments, batch: jax.Array, step: jax.Array, lr: jax.Array, injected: Injected
) -> tuple[Parameters, Moments, Measured]:
    """One optimiser step and its telemetry, with whatever is done to it."""
    inputs, targets = batch[:, :-1], spoilt(batch[:, 1:], step, injected.noise)
    (loss, outputs), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters, inputs, targets)
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradients)))
    clip = jnp.minimum(1.0, CLIP_NORM / (norm + 1e-6))
    updates, moments = adam(jax.tree.map(lambda leaf: leaf * clip, gradients), moments, lr)
    poison = jnp.where(injected.poison > 0, jnp.nan, 0.0)
    updates = {**updates, POISONED: jax.tree.map(lambda leaf: leaf + poison, updates[POISONED])}
    parameters = jax.tree.map(jnp.add, parameters, updates)
    layers = statistics(gradients, parameters, updates, outputs)
    return parameters, moments, Measured(loss, norm, clip, layers)


def spoilt(targets: jax.Array, step: jax.Array, share: jax.Array | float) -> jax.Array:
    """`targets` with a share of them replaced by random bytes."""
    which, what = jax.random.split(jax.random.fold_in(jax.random.key(11), step))
    replaced = jax.random.uniform(which, targets.shape) < share
    return jnp.where(replaced, jax.random.randint(what, targets.shape, 0, BYTES), targets)
