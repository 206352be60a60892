"""What a run shows in /metrics: read from its live state at the scrape, kept where the state is not in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from anomaly.metrics import RunReading
from anomaly.monitor.snapshot import Head
from anomaly.monitor.state import RunState
from anomaly.records import MILLIONTHS, step_number

RATE_SECONDS = 10.0
"""Steps per second are taken over at least this much of the records' own time."""


class RunReader:
    """Reads states; remembers of each run only where its present rate was counted from."""

    def __init__(
        self,
        states: Callable[[], Iterable[RunState]],
        resting: Callable[[], Iterable[RunReading]] = tuple,
    ) -> None:
        self._states = states
        self._resting = resting
        self._marks: dict[str, tuple[float, int, float | None]] = {}

    def __call__(self) -> Iterator[RunReading]:
        """One reading a run. Called from the thread that serves /metrics: nothing here changes a state."""
        states = list(self._states())
        live = {state.run for state in states}
        self._marks = {run: mark for run, mark in self._marks.items() if run in live}
        for state in states:
            yield reading_of(state, self._rate(state))
        yield from self._resting()

    def _rate(self, state: RunState) -> float | None:
        time, step = state.last_time, state.newest_step
        if time is None or step is None:
            return None
        since, first, rate = self._marks.get(state.run, (time, step, None))
        if step < first or time < since:  # it started over
            since, first, rate = time, step, None
        elif time - since >= RATE_SECONDS:
            since, first, rate = time, step, (step - first) / MILLIONTHS / (time - since)
        self._marks[state.run] = (since, first, rate)
        return rate


def reading_of(state: RunState, steps_per_second: float | None = None) -> RunReading:
    """What a live run shows."""
    return RunReading(
        run=state.run,
        last_record_unix_seconds=state.last_time,
        step=None if state.newest_step is None else step_number(state.newest_step),
        loss=state.latest.get("loss"),
        grad_norm_total=state.latest.get("grad_norm_total"),
        lr=state.context.lr,
        steps_per_second=steps_per_second,
        worst_score=state.slab.worst if len(state.slab) else None,
        attempt=state.attempt,
        incidents_open=Counter(incident.severity for incident in state.open_incidents),
    )


def reading_of_head(head: Head) -> RunReading:
    """What a run shows before its next record: the last one's own values are not in a snapshot."""
    opened = [*head.book.open, *(head.timers.book.open if head.timers is not None else ())]
    return RunReading(
        run=head.run,
        last_record_unix_seconds=head.last_time,
        step=None if head.newest_step is None else step_number(head.newest_step),
        lr=head.context.lr,
        attempt=head.attempt,
        incidents_open=Counter(incident.severity for incident in opened),
    )
