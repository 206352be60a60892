"""Steps whose numbers are still on their way from the device, for the trainers of `anomaly.torch` and `anomaly.jax`.

A step is handed to `Telemetry` once its numbers have arrived, in order, looked at whenever the next step is reported.
So records lag behind by a step or two on an accelerator, and nobody waits for the device.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anomaly.hook import Telemetry

_log = logging.getLogger(__name__)

MOST_PENDING = 64
"""Steps that may be on their way; with more, the oldest is reported without what has not arrived.

A loop that never reads a number from the device runs ahead of it: XLA lets 32 computations be in flight, a CUDA graph
of a small model as many steps as the stream's queue holds.
"""


class Reading(Protocol):
    """Numbers on their way."""

    def ready(self) -> bool:
        """Whether `read` would return at once."""

    def read(self) -> tuple[dict[str, float], NDArray[np.float32] | None]:
        """Whole-model signals, and the matrix of the layout's shape (layers, signals)."""


class _Step(NamedTuple):
    step: float
    time: float
    signals: dict[str, Any]
    reading: Reading


class Pending:
    """Feeds a `Telemetry` in order. ``missed`` counts the steps that went without their device numbers."""

    def __init__(
        self,
        telemetry: Telemetry,
        unix_seconds: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.missed = 0
        self._telemetry = telemetry
        self._unix_seconds = unix_seconds
        self._monotonic = monotonic
        self._steps: deque[_Step] = deque()

    def add(self, step: float, signals: dict[str, Any], reading: Reading) -> None:
        """Report a step that ends now, once `reading` has arrived; `signals` are known already."""
        self._steps.append(_Step(step, self._unix_seconds(), signals, reading))
        self.drain()

    def drain(self) -> None:
        """Report what has arrived."""
        while self._steps and (self._steps[0].reading.ready() or len(self._steps) > MOST_PENDING):
            self._report(self._steps.popleft())

    def finish(self, seconds: float) -> None:
        """Report everything, waiting at most `seconds` for what is still on its way."""
        until = self._monotonic() + seconds
        while self._steps:
            if self._steps[0].reading.ready() or self._monotonic() >= until:
                self._report(self._steps.popleft())
            else:
                time.sleep(0.001)

    def _report(self, pending: _Step) -> None:
        signals: dict[str, float] = {}
        matrix = None
        if pending.reading.ready():
            try:
                signals, matrix = pending.reading.read()
            except Exception as error:
                if not self.missed:
                    _log.warning("what was measured at step %s cannot be read: %s", pending.step, error)
                self.missed += 1
        else:
            self.missed += 1
        self._telemetry.step(pending.step, layers=matrix, time=pending.time, **pending.signals, **signals)
