"""All runs of one partition, from the partition's log alone: no I/O, no clock, no surprise.

A raw record goes: skip what preflight wrote → decode → send home what lies elsewhere → skip what its run has applied →
hold what came before its layout → admit (new, repeated, late, restarted) → judge. Whatever cannot be used is parked
with its reason. Cutting the log into batches anywhere changes no bit of state and no transition.
"""

from __future__ import annotations

from collections.abc import Sequence

from anomaly import codec
from anomaly.errors import Reason, RecordError
from anomaly.incidents.transition import Source
from anomaly.json_records import MAX_TIME
from anomaly.monitor.apply import apply_steps
from anomaly.monitor.held import Held, HeldRecords
from anomaly.monitor.limits import Limits
from anomaly.monitor.log import DeadLetter, Forward, LogRecord, Outcome
from anomaly.monitor.state import RunState
from anomaly.records import LayoutMessage, StepMessage, home_key
from anomaly.topics import (
    FORWARDED_OFFSET,
    FORWARDED_PARTITION,
    PREFLIGHT_HEADER,
    PREFLIGHT_KEY,
    home_partition,
)

MAX_OFFSET = (1 << 63) - 1


class PartitionMonitor:
    """The runs of one partition and the rules between a raw record and a run's state."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        limits: Limits | None = None,
        runs: dict[str, RunState] | None = None,
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self.limits = limits or Limits()
        self.runs: dict[str, RunState] = {} if runs is None else runs
        self.outcome = Outcome()
        self._held: dict[str, HeldRecords] = {}

    def process(self, records: Sequence[LogRecord]) -> Outcome:
        """Take the partition's next records, in offset order; return all that came of them."""
        for record in records:
            self._take_record(record)
        return self.drain()

    def drain(self) -> Outcome:
        """What has come of records since the last call."""
        outcome, self.outcome = self.outcome, Outcome()
        return outcome

    def oldest_held(self) -> int | None:
        """The offset of the oldest record that waits for its layout; nothing at or above it may be committed."""
        return min((held.oldest for held in self._held.values()), default=None)

    def take(self, message: StepMessage | LayoutMessage) -> None:
        """Judge a message that comes from no log (replay); `RecordError` where it contradicts itself."""
        state = self._state(message)
        if isinstance(message, LayoutMessage):
            self._add_layout(state, message)
        else:
            apply_steps(state, message, None, self.limits, self.outcome)

    def _take_record(self, record: LogRecord) -> None:
        headers = dict(record.headers)
        if record.key == PREFLIGHT_KEY and PREFLIGHT_HEADER in headers:
            return
        try:
            message = self._decoded(record)
            key = home_key(message.run, message.fork)
            origin = _origin(headers, self.partitions)
            home = home_partition(key, self.partitions)
            if home != self.partition:
                self._send_home(record, key, home, origin)
                return
        except RecordError as error:
            self._park(record, error.reason, error.detail)
            return
        state = self._state(message)
        if record.offset <= state.offset:
            return  # replayed after a crash, and its effect is in the state
        held = self._held.get(message.run)
        waiting = Held(record, message, origin)
        if isinstance(message, LayoutMessage):
            self._safely(waiting, state)
            self._release(message.run, state)
        elif held is not None or self._lacks_layout(state, message):
            self._hold(waiting, state)
        else:
            self._safely(waiting, state)

    def _decoded(self, record: LogRecord) -> StepMessage | LayoutMessage:
        value = record.value or b""
        if len(value) > self.limits.max_message_bytes:
            raise RecordError(
                Reason.TOO_LARGE,
                f"got {len(value)} bytes, at most {self.limits.max_message_bytes} are allowed; send fewer records",
            )
        try:
            return codec.decode(value, _seconds(record.timestamp))
        except RecordError:
            raise
        except Exception as error:  # an error of ours must not end the worker either
            raise RecordError(Reason.PROCESSING_ERROR, f"decoding: {type(error).__name__}: {error}") from None

    def _send_home(self, record: LogRecord, key: bytes, home: int, origin: tuple[int, int] | None) -> None:
        if origin is not None:
            detail = f"forwarded to partition {self.partition}, its home is {home}; has the partition count changed?"
            raise RecordError(Reason.WRONG_PARTITION, detail)
        self.outcome.forwards.append(Forward(record, key, home))
        self.outcome.counts["forwarded"] += 1

    def _state(self, message: StepMessage | LayoutMessage) -> RunState:
        state = self.runs.get(message.run)
        if state is None:
            state = self.runs[message.run] = RunState(message.run, message.fork)
            state.slab.budget = self.limits.false_warnings_per_million_steps
        return state

    def _lacks_layout(self, state: RunState, message: StepMessage) -> bool:
        return message.layout is None and message.layout_hash not in state.layouts

    def _hold(self, waiting: Held, state: RunState) -> None:
        held = self._held.setdefault(state.run, HeldRecords())
        held.append(waiting)
        self.outcome.counts["held"] += 1
        while held.full:
            oldest = held.popleft()
            detail = (
                f"layout {oldest.steps.layout_hash.hex()} did not come; send the layout before its records"
            )
            self._park(oldest.record, Reason.LAYOUT_MISSING, detail)
            self._applied(oldest, state)
            self._release(state.run, state)

    def _release(self, run: str, state: RunState) -> None:
        """Judge what was held, up to the next record whose layout is still missing."""
        held = self._held.get(run)
        while held and not self._lacks_layout(state, held.first.steps):
            self._safely(held.popleft(), state)
            state = self.runs[run]
        if held is not None and not held:
            del self._held[run]

    def _safely(self, waiting: Held, state: RunState) -> None:
        """Apply one message; an error of ours parks it and the run starts cold behind it, other runs go on."""
        state = self.runs[state.run]
        try:
            if waiting.repeated(state):
                self.outcome.counts["duplicate"] += waiting.count
            elif isinstance(waiting.message, LayoutMessage):
                self._add_layout(state, waiting.message)
            else:
                source = Source(self.partition, waiting.record.offset)
                apply_steps(state, waiting.message, source, self.limits, self.outcome)
        except RecordError as error:
            self._park(waiting.record, error.reason, error.detail)
        except Exception as error:
            self._park(waiting.record, Reason.PROCESSING_ERROR, f"{type(error).__name__}: {error}")
            state = self.runs[state.run] = cold(state)
        self._applied(waiting, state)

    def _applied(self, waiting: Held, state: RunState) -> None:
        offset = waiting.record.offset
        held = self._held.get(state.run)
        if not held or offset < held.oldest:
            state.offset = max(state.offset, offset)
        waiting.note_origin(state)
        touched = self.outcome.touched
        touched[state.run] = min(offset, touched.get(state.run, offset))

    def _add_layout(self, state: RunState, message: LayoutMessage) -> None:
        layout = message.layout
        if layout.hash not in state.layouts:
            if len(state.layouts) >= self.limits.layouts_per_run:
                raise RecordError(
                    Reason.LAYOUT_LIMIT,
                    f"run {message.run!r} has {len(state.layouts)} layouts, at most "
                    f"{self.limits.layouts_per_run} are allowed; send the same names in the same order",
                )
            state.layouts[layout.hash] = layout
        self.outcome.counts["layouts"] += 1

    def _park(self, record: LogRecord, reason: Reason, detail: str) -> None:
        self.outcome.dead_letters.append(DeadLetter(record, reason, detail))


def cold(state: RunState) -> RunState:
    """A run that starts cold: its incidents, attempt and ordinals stay, what was learned goes."""
    return RunState(
        state.run,
        state.fork,
        offset=state.offset,
        revision=state.revision,
        origins=state.origins,
        attempt=state.attempt,
        tags=state.tags,
        layouts=state.layouts,
        first_time=state.first_time,
        book=state.book,
        timers=state.timers,
    )


def _seconds(timestamp: int) -> float | None:
    """Kafka's milliseconds as a record's time; None for none (-1) and for what no clock shows."""
    seconds = timestamp / 1000
    return seconds if 0 <= seconds < MAX_TIME else None


def _origin(headers: dict[str, bytes], partitions: int) -> tuple[int, int] | None:
    """(partition, offset) a record was forwarded from; None for one that was not, or whose headers say nothing.

    Anyone may write such headers, and a header may be null: what a worker cannot have written says nothing.
    """
    partition, offset = (headers.get(name) or b"" for name in (FORWARDED_PARTITION, FORWARDED_OFFSET))
    if not (partition.isdigit() and offset.isdigit() and len(partition) <= 10 and len(offset) <= 19):
        return None
    if not (int(partition) < partitions and int(offset) <= MAX_OFFSET):
        return None
    return int(partition), int(offset)
