"""The files' own time: what the worker's timers would have seen, as far as the records' `time` tells.

Each run has a clock of its own, that of its records, since files of different days lie behind each other. A run without
`time` has none, and nothing becomes of it by time. What follows the last record nobody knows: the end of a file ends
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from anomaly.incidents.transition import Transition
from anomaly.monitor.state import RunState
from anomaly.monitor.timers import PartitionTimers, silence_limit

TICK_SECONDS = 0.5
"""How often the worker asks; what is due is found at the first asking after it."""


class FileClock:
    """The timers of the runs of some files."""

    def __init__(self, runs: Mapping[str, RunState]) -> None:
        self._runs = runs
        self._timers: dict[str, PartitionTimers] = {}
        self._now: dict[str, float] = {}

    def until(self, run: str, time: float | None) -> list[Transition]:
        """What comes due in a run before the record of that `time` (unix seconds) is taken."""
        state, timers = self._runs.get(run), self._timers.get(run)
        if time is None or state is None or timers is None:
            return []
        gap = time - self._now[run]
        if gap <= 0 or state.timers is None:
            return []
        begins = silence_limit(state, state.timers) + TICK_SECONDS
        if gap <= begins:
            return []
        # before the rest of the gap, so that the silence is told when it began to be one, not when it was over
        outcome = timers.tick(begins, self._now[run] + begins)
        self._now[run] += begins
        return [transition for _, transition in outcome.transitions]

    def came(self, run: str, time: float | None) -> list[Transition]:
        """What the record just taken means to the timers; a time that goes back moves nothing."""
        if time is None or run not in self._runs:
            return []
        timers = self._timers.get(run)
        if timers is None:
            timers = self._timers[run] = PartitionTimers(0, {run: self._runs[run]}, self._runs.get)
            self._now[run] = time
        gap = max(0.0, time - self._now[run])
        self._now[run] += gap
        timers.arrivals[run] = 1
        return [transition for _, transition in timers.tick(gap, time).transitions]
