"""Measure a JAX training: a jittable function to a matrix, and `Watch`, which reports it without waiting.

layout = layout_of(params)

@jax.jit
def train_step(params, optimizer_state, batch):
    loss, grads = jax.value_and_grad(loss_of)(params, batch)
    updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
    matrix = layer_statistics(layout, grads, params, updates)  # the parameters this loss used
    return optax.apply_updates(params, updates), optimizer_state, loss, matrix

with watch(layout, run="gpt-7b") as run:
    for batch in batches:
        params, optimizer_state, loss, matrix = train_step(params, optimizer_state, batch)
        run.step(matrix, loss=loss)
"""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Any, Self

from anomaly.errors import MissingExtraError

try:
    import jax
except ImportError:
    raise MissingExtraError("jax", "jax") from None

import numpy as np
from numpy.typing import NDArray

from anomaly.hook import Telemetry
from anomaly.jax_statistics import layer_statistics, layout_of
from anomaly.pending import Pending
from anomaly.records import NOT_MEASURED_BITS, Layout, Place

__all__ = ["Watch", "layer_statistics", "layout_of", "watch"]

_log = logging.getLogger(__name__)


def watch(layout: Layout, run: str, **telemetry: Any) -> Watch:
    """Report a training whose layers are `layout` as run `run`; all else goes to `anomaly.Telemetry`."""
    if jax.process_count() > 1:
        telemetry.setdefault("rank", jax.process_index())
        telemetry.setdefault("place", Place(world_size=jax.process_count()))
    sink = Telemetry(run, **telemetry)
    sink.layout(layout)
    return Watch(sink, layout)


class Watch:
    """A training being reported; made by `watch`. Never waits for the device, never raises."""

    def __init__(self, telemetry: Telemetry, layout: Layout) -> None:
        self.telemetry = telemetry
        self._gradient = layout.signals.index("grad_norm")
        self._pending = Pending(telemetry)
        self._next = 0
        self._stepped_at: float | None = None
        self._warned = False

    def step(self, matrix: jax.Array | None = None, *, step: int | None = None, **signals: Any) -> None:
        """Report the step whose statistics `matrix` holds, as `layer_statistics` made it.

        `step` is its number, by default one more than the last (0 at first). Whole-model signals (``loss=…``, ``lr=…``)
        may be numbers or arrays of one element. They and the matrix are read when they have been computed, at the
        latest with one of the next steps, so do not donate them.
        """
        try:
            self._step(matrix, self._next if step is None else int(step), signals)
        except Exception as error:
            self._warn(error)

    def _step(self, matrix: jax.Array | None, step: int, signals: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._stepped_at is not None:
            signals.setdefault("step_seconds", now - self._stepped_at)
        self._stepped_at, self._next = now, step + 1
        arrays = {
            name: value for name, value in signals.items() if isinstance(value, jax.Array) and value.size == 1
        }
        for name in arrays:
            del signals[name]
        self._pending.add(step, signals, _Reading(matrix, arrays, self._gradient))

    def event(self, kind: str, **fields: Any) -> None:
        """Say that something happened, as `anomaly.Telemetry.event`; the time until the next step is not its step's."""
        self._pending.drain()
        self._stepped_at = None
        self.telemetry.event(kind, **fields)

    def close(self, timeout: float = 5.0) -> bool:
        """Report what is still being computed, send it; True if all was acknowledged."""
        self._pending.finish(1.0)
        return self.telemetry.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Report how the run ended, as `anomaly.Telemetry` does, and close."""
        self._pending.finish(1.0)
        self.telemetry.__exit__(kind, error, trace)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "run %s: a step is not reported: %r (further ones are silent)", self.telemetry.run, error
            )


class _Reading:
    """One step's arrays on their way to the host."""

    def __init__(self, matrix: jax.Array | None, scalars: dict[str, jax.Array], gradient: int) -> None:
        self._matrix = None if matrix is None else _here(matrix)
        self._scalars = {name: _here(scalar) for name, scalar in scalars.items()}
        self._gradient = gradient
        for array in self._arrays():
            array.copy_to_host_async()

    def _arrays(self) -> list[jax.Array]:
        return [*self._scalars.values(), *([] if self._matrix is None else [self._matrix])]

    def ready(self) -> bool:
        return all(array.is_ready() for array in self._arrays())  # type: ignore[attr-defined]

    def read(self) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        signals = {name: float(np.asarray(scalar).reshape(())) for name, scalar in self._scalars.items()}
        if self._matrix is None:
            return signals, None
        matrix = np.asarray(self._matrix, dtype=np.float32)
        gradients = matrix[:, self._gradient]
        known = gradients[gradients.view(np.uint32) != NOT_MEASURED_BITS].astype(np.float64)
        if known.size:
            signals.setdefault("grad_norm_total", float(np.sqrt(np.square(known).sum())))
        return signals, matrix


def _here(array: jax.Array) -> jax.Array:
    return array if array.is_fully_addressable else array.addressable_data(0)
