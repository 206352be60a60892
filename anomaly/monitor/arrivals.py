"""A batch of the log, decoded, and which of its records may be judged together.

A run's records that follow each other in a batch, with other runs' between them, are judged in one call where all of
them are plain (`plain`): that leaves nothing behind but in the run's own state, so whatever lies between finds and does
what it would have. What does more (alarms, say) is done when its turn comes. A fork is told what its parent knows when
it begins, so nothing is judged ahead across the beginning of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anomaly import codec
from anomaly.errors import Reason, RecordError
from anomaly.monitor.apply import Heard
from anomaly.monitor.limits import Limits, check_events
from anomaly.monitor.lives import BRIEF_READINGS, later
from anomaly.monitor.log import LogRecord, seconds_of, size_of
from anomaly.monitor.state import RunState
from anomaly.records import LayoutMessage, StepMessage
from anomaly.topics import is_preflight


@dataclass(slots=True, eq=False)
class Arrival:
    """One raw record: what it says, or why that cannot be used; neither for what preflight wrote.

    `clock` is the partition's once it has come, `next` the record that may be judged together with it.
    """

    record: LogRecord
    message: StepMessage | LayoutMessage | None
    refusal: RecordError | None
    clock: int
    next: Arrival | None = None
    judged: bool = False
    heard: Heard | None = None
    """What the charts have said of it already."""


def arrivals(
    records: Sequence[LogRecord], clock: int, limits: Limits, begins: Callable[[str, int], bool]
) -> list[Arrival]:
    """The records of a batch, which begins at this clock. `begins`: whether a run may begin at some clock."""
    arrived, last = [], dict[str, Arrival]()
    for record in records:
        arrival = Arrival(record, None, None, clock)
        arrived.append(arrival)
        if not record.value and is_preflight(record.key, record.value):
            continue
        seconds = seconds_of(record.timestamp)
        arrival.clock = clock = later(clock, seconds)
        try:
            message = arrival.message = _decoded(record, seconds, limits)
        except RecordError as error:
            arrival.refusal = error
            continue
        if message.fork is not None and begins(message.run, clock):
            last.clear()
        before = last.get(message.run)
        if before is not None and _goes_with(before.message, message, record):
            before.next = arrival
        last[message.run] = arrival
    return arrived


def _goes_with(
    before: StepMessage | LayoutMessage | None, message: StepMessage | LayoutMessage, record: LogRecord
) -> bool:
    """Whether a message says nothing of its run, of its rank or of its layout but what the one before has said."""
    return (
        isinstance(message, StepMessage)
        and isinstance(before, StepMessage)
        and len(message.steps) == len(before.steps) == 1
        and (message.layout is None) == (before.layout is None)
        and message.layout_hash == before.layout_hash
        and message.rank == before.rank
        and message.session == before.session
        and message.fork == before.fork
        and message.place == before.place
        and message.tags is None
        and message.events is None
        and before.events is None
        and not record.headers
    )


def following(arrival: Arrival, state: RunState) -> list[StepMessage]:
    """The messages that may be judged with this one's, next first; none of them reaches a look at the layers.

    A run is open for long after its last record; one that comes so late that it might not be goes by itself.
    """
    room = min(state.history.room, state.looks.due - state.readings - 1) - 1
    closes, messages = state.life.closes, list[StepMessage]()
    brief = state.readings <= BRIEF_READINGS  # how long it is known depends on how many they are
    if state.owners is not None or state.looks.suspects or state.book.open or closes is None or brief:
        return messages
    each = arrival.next
    while each is not None and len(messages) < room and each.clock <= closes:
        assert isinstance(each.message, StepMessage)
        messages.append(each.message)
        each = each.next
    return messages


def mark(arrival: Arrival, judged: int, heard: Heard | None) -> None:
    """So many of those that `following` gave are judged; of the one behind them the charts have said `heard`."""
    each = arrival.next
    for _ in range(judged):
        assert each is not None
        each.judged = True
        each = each.next
    if heard is not None:
        assert each is not None
        each.heard = heard


def _decoded(record: LogRecord, seconds: float | None, limits: Limits) -> StepMessage | LayoutMessage:
    size, limit = size_of(record), limits.max_message_bytes
    if size > limit:
        raise RecordError(
            Reason.TOO_LARGE,
            f"got {size} bytes with key and headers, at most {limit} are allowed; send fewer records a message",
        )
    try:
        message = codec.decode(record.value or b"", seconds)
    except (RecordError, MemoryError):
        raise
    except Exception as error:  # an error of ours must not end the worker either
        raise RecordError(Reason.PROCESSING_ERROR, f"decoding: {type(error).__name__}: {error}") from None
    if isinstance(message, StepMessage) and message.events:
        check_events(message.events, limits.events_per_record)
    return message
