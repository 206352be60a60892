"""Which seconds count for the timers: those in which an answered fetch showed a partition read to its end.

While the worker is away or behind, while the broker does not answer or this process stands still, records may exist
that nobody has seen, and no silence may be told from them.
"""

from __future__ import annotations

from collections import deque

from anomaly.worker.consumer_thread import Fetched

FRESH_SECONDS = 2.0
"""How old the answer may be."""


class EndInSight:
    """One partition's end. A look every half second or so."""

    def __init__(self, now: float) -> None:
        self._looked = now
        self._stamp: int | None = None
        self._ends: deque[tuple[float, int]] = deque()
        """(when at the earliest, where the partition ended) of the answers that are fresh."""

    def seconds(self, now: float, fetched: Fetched | None, position: int) -> float:
        """The seconds since the last look, or 0.0 if they do not count. Everything below `position` is processed."""
        if fetched is not None and fetched.stamp != self._stamp:
            self._stamp = fetched.stamp
            self._ends.append((self._looked, fetched.end))
        while self._ends and now - self._ends[0][0] > FRESH_SECONDS:
            self._ends.popleft()
        if fetched is not None and position == fetched.delivered:
            position = max(position, fetched.position)
        passed, self._looked = now - self._looked, now
        reached = any(end <= position for _, end in self._ends)
        return passed if reached else 0.0
