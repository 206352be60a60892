"""What waits on the training host: records in order, bounded in number and bytes, and events looking for a record.

When it is full the **oldest** waiting record goes. Either way one gap remains; this way the records that reach a worker
after an outage say how the run is now, which a person can still act on. The sequence numbers show the gap, the events
of a dropped record move to the next one, and layouts do not wait here at all, so none can be dropped.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly.records import MAX_EVENTS, MAX_RECORDS_A_MESSAGE, NOT_MEASURED, Event, Layout

GROUP_BYTES = 256 * 1024
"""Records that wait travel together up to this size, well under every broker's default limit of 1 MiB."""
RECORD_BYTES = 400
"""What a waiting record takes beside its row, roughly."""
EVENT_SECONDS = 1.0
"""How long an event waits for a record to travel with."""


class Record(NamedTuple):
    """One step of one rank. ``step`` in millionths, ``time`` in unix seconds, ``row`` float32 of the layout's width."""

    sequence: int
    step: int
    time: float
    row: NDArray[np.float32]
    layout: Layout
    events: tuple[Event, ...]

    @property
    def bytes(self) -> int:
        """What it takes while it waits."""
        return int(self.row.nbytes) + RECORD_BYTES


@dataclass(slots=True)
class Counts:
    """What has happened to this object's records so far."""

    recorded: int = 0
    acknowledged: int = 0
    dropped: int = 0
    refused_values: int = 0
    refused_records: int = 0
    messages: int = 0
    failures: int = 0

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


class Backlog:
    """The queue between the training thread and the sending one. Every method takes microseconds."""

    def __init__(self, max_records: int, max_bytes: int, counts: Counts) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._counts = counts
        self._lock = (
            threading.RLock()
        )  # re-entrant: a signal handler may report while a step is being reported
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._sequence = 0
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._events_since = 0.0
        self._last: tuple[int, Layout] | None = None

    def __len__(self) -> int:
        return len(self._records)

    @property
    def fills_a_message(self) -> bool:
        """Whether as much waits as one message takes."""
        return self._bytes >= GROUP_BYTES

    def put(self, step: int, time: float, row: NDArray[np.float32], layout: Layout) -> None:
        """Add a record, with the events that wait; drop the oldest where it would exceed a bound."""
        with self._lock:
            events = tuple(self._events)
            self._events.clear()
            record = Record(self._sequence, step, time, row, layout, events)
            self._sequence += 1
            self._last = (step, layout)
            self._records.append(record)
            self._bytes += record.bytes
            self._counts.recorded += 1
            while len(self._records) > self._max_records or self._bytes > self._max_bytes:
                if not self._drop():
                    break

    def _drop(self) -> bool:
        if len(self._records) < 2:
            return False
        oldest = self._records.popleft()
        self._bytes -= oldest.bytes
        self._counts.dropped += 1
        if oldest.events:
            following = self._records[0]
            self._records[0] = following._replace(events=(oldest.events + following.events)[-MAX_EVENTS:])
        return True

    def add_event(self, event: Event, now: float) -> None:
        """Let an event wait for the next record; `now` is monotonic seconds."""
        with self._lock:
            if not self._events:
                self._events_since = now
            self._events.append(event)

    def events_are_due(self, now: float) -> bool:
        """Whether events have waited long enough; before the first step they wait for it."""
        return bool(self._events) and self._last is not None and now - self._events_since >= EVENT_SECONDS

    def release_events(self, time: float) -> None:
        """Wait no longer: let the events travel with the last record, or with one of its step with nothing measured."""
        with self._lock:
            if self._events and self._records:
                last = self._records.pop()
                self._records.append(last._replace(events=(*last.events, *self._events)[-MAX_EVENTS:]))
                self._events.clear()
            elif self._events:
                step, layout = self._last or (0, Layout((), ()))
                self.put(step, time, np.repeat(NOT_MEASURED, layout.width), layout)

    def take(self) -> list[Record]:
        """Remove and return what may travel in one message: consecutive, one layout, at most `GROUP_BYTES`."""
        group: list[Record] = []
        size = 0
        with self._lock:
            while self._records and len(group) < MAX_RECORDS_A_MESSAGE:
                record = self._records[0]
                size += record.bytes
                if group and (
                    size > GROUP_BYTES
                    or record.layout is not group[0].layout
                    or record.sequence != group[-1].sequence + 1
                ):
                    break
                group.append(self._records.popleft())
                self._bytes -= record.bytes
        return group
