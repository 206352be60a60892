"""Whether this process may still believe that the incidents are its own to tell.

Kafka gives them to another notifier once no heartbeat came for a session. A process that was stopped for that long (a
laptop's lid, a frozen container) must not go on where it was: it ends and is started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anomaly.errors import AnomalyError

SHARE = 0.8
"""Of the session: the rest is for what is already on its way."""


class LeaseLostError(AnomalyError):
    """Another notifier may have gone on."""

    retriable = True


class Pulse:
    """`beat` regularly, `check` before anything leaves."""

    def __init__(self, session_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = SHARE * session_seconds
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """From now on something is its own to lose; a slow start is no standstill."""
        self._latest = self._clock()
        self._lost = 0.0

    def beat(self) -> None:
        """The event loop came round, and with it the heartbeats."""
        now = self._clock()
        if now - self._latest > self._limit:
            self._lost = self._lost or now - self._latest
        self._latest = now

    def check(self) -> None:
        """Raise `LeaseLostError` if it did not for most of a session, ever."""
        self.beat()
        if self._lost:
            raise LeaseLostError(
                f"this notifier stood still for {self._lost:.1f} s, and another may have gone on; it must start again"
            )
