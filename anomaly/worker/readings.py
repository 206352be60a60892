"""What a run shows in /metrics: read from its live state at the scrape, kept where the state is not in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from anomaly.incidents.open_incident import OpenIncident
from anomaly.metrics import Phase, RunReading
from anomaly.monitor.snapshot import Head
from anomaly.monitor.state import Context, Life, RunState, Timers
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
        phase=phase_of(state.life, state.context, state.timers),
        last_record_unix_seconds=state.last_time,
        step=None if state.newest_step is None else step_number(state.newest_step),
        loss=state.history.newest("loss"),
        grad_norm_total=state.history.newest("grad_norm_total"),
        lr=state.context.lr,
        steps_per_second=steps_per_second,
        worst_score=state.slab.worst if len(state.slab) else None,
        attempt=state.attempt,
        ranks=_ranks(state),
        **_of_incidents(state.open_incidents),
    )


def reading_of_head(head: Head) -> RunReading:
    """What a run shows before its next record: the last one's own values are not in a snapshot."""
    opened = [*head.book.open, *(head.timers.book.open if head.timers is not None else ())]
    return RunReading(
        run=head.run,
        phase=phase_of(head.marks.life, head.context, head.timers),
        last_record_unix_seconds=head.last_time,
        step=None if head.newest_step is None else step_number(head.newest_step),
        lr=head.context.lr,
        attempt=head.attempt,
        **_of_incidents(opened),
    )


def _ranks(state: RunState) -> int:
    """As the comparison of ranks counted them; only where it has nothing to compare are they counted here."""
    live = state.live
    if live is not None:
        return len(live.seen)
    return sum(not rank.missing for rank in list(state.ranks.values()))


def _of_incidents(incidents: Collection[OpenIncident]) -> dict[str, Any]:
    if not incidents:
        return {}  # as most runs at most times
    opened: dict[tuple[str, str], float] = {}
    for one in incidents:
        if one.opened_time is not None:
            opened.setdefault((one.kind, one.severity), one.opened_time)
    return {"incidents_open": Counter(one.severity for one in incidents), "opened": opened}


def phase_of(life: Life, context: Context, timers: Timers | None) -> Phase:
    """Where the run stands."""
    if life.closed or context.outcome is not None:
        return Phase.FINISHED
    if timers is None:
        return Phase.TRAINING
    if timers.book.of_kind("run_silent") is not None:
        return Phase.SILENT
    return Phase.PAUSED if timers.paused else Phase.TRAINING
