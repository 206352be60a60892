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
from anomaly.monitor.apply import apply_steps
from anomaly.monitor.forks import forked
from anomaly.monitor.held import Held, HeldRuns
from anomaly.monitor.limits import Limits, check_events, check_layout_bytes
from anomaly.monitor.lives import Away, Lives, Nowhere, cold, reduced, reopened
from anomaly.monitor.log import DeadLetter, Forward, LogRecord, Outcome, origin_of, seconds_of, size_of
from anomaly.monitor.state import RunState
from anomaly.records import LayoutMessage, StepMessage, home_key
from anomaly.topics import home_partition, is_preflight

PREFLIGHT = "preflight"
"""The count of test writes, which nobody else counts."""
FORWARD_ROOM = 1024
"""Bytes that a longer key and two headers add at most."""


class PartitionMonitor:
    """The runs of one partition and the rules between a raw record and a run's state."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        limits: Limits | None = None,
        runs: dict[str, RunState] | None = None,
        away: Away | None = None,
        clock: int = 0,
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self.limits = limits or Limits()
        self.runs: dict[str, RunState] = {} if runs is None else runs
        self.lives = Lives(self.runs, away or Nowhere(), self.limits, clock)
        for state in self.runs.values():
            state.judge_by(self.lives.levels)
        self.outcome = Outcome()
        self._held = HeldRuns()

    def process(self, records: Sequence[LogRecord]) -> Outcome:
        """Take the partition's next records, in offset order; return all that came of them."""
        for record in records:
            self._take_record(record)
        return self.drain()

    def drain(self) -> Outcome:
        """What has come of records since the last call."""
        outcome, self.outcome = self.outcome, Outcome()
        return outcome

    def oldest_held(self) -> Held | None:
        """The oldest record that waits for its layout; nothing at or above its offset may be committed."""
        return self._held.oldest

    def holds(self, run: str) -> bool:
        """Whether records of this run wait for a layout."""
        return run in self._held

    def close(self, run: str) -> bool:
        """Drop what was learned of a run in memory whose next record would find it closed; False if it is not so."""
        state = self.runs.get(run)
        if state is None or state.life.closed or not self.lives.closed(state.life) or run in self._held:
            return False
        self.runs[run] = reduced(state)
        return True

    def take(self, message: StepMessage | LayoutMessage) -> None:
        """Judge a message that comes from no log (replay); `RecordError` where it contradicts itself."""
        state = self.runs.get(message.run) or self._admitted(message, 0)
        if isinstance(message, LayoutMessage):
            self._add_layout(state, message)
        else:
            apply_steps(state, message, None, self.limits, self.outcome)

    def _take_record(self, record: LogRecord) -> None:
        if not record.value and is_preflight(record.key, record.value):
            self.outcome.counts[PREFLIGHT] += 1
            return
        clock, seconds = self.lives.clock, seconds_of(record.timestamp)
        self.lives.tick(seconds)
        try:
            message = self._decoded(record, seconds)
            key = home_key(message.run, message.fork)
            origin = origin_of(record, self.partitions)
            home = home_partition(key, self.partitions)
            if home != self.partition:
                self._send_home(record, key, home, origin)
                return
            state = self._state(message, record)
        except RecordError as error:
            self._park(record, error.reason, error.detail)
            return
        if state is None:
            return  # replayed after a crash, and its effect is in the state
        self._take(Held(record, message, origin, clock), state)
        if self._held.oldest is not None:
            self._let_go(message.run, record.offset)

    def _take(self, waiting: Held, state: RunState) -> None:
        if isinstance(waiting.message, LayoutMessage):
            self._safely(waiting, state)
            self._release(state.run)
        elif state.run in self._held or self._lacks_layout(state, waiting.message):
            self._held.append(waiting)
            self.outcome.counts["held"] += 1
        else:
            self._safely(waiting, state)

    def _decoded(self, record: LogRecord, seconds: float | None) -> StepMessage | LayoutMessage:
        size, limit = size_of(record), self.limits.max_message_bytes
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
            check_events(message.events, self.limits.events_per_record)
        return message

    def _send_home(self, record: LogRecord, key: bytes, home: int, origin: tuple[int, int] | None) -> None:
        if origin is not None:
            detail = f"forwarded to partition {self.partition}, its home is {home}; has the partition count changed?"
            raise RecordError(Reason.WRONG_PARTITION, detail)
        if size_of(record) + FORWARD_ROOM > self.limits.max_message_bytes:
            detail = f"has no room for the headers that send it home to partition {home}; use the murmur2 partitioner"
            raise RecordError(Reason.TOO_LARGE, detail)
        self.outcome.forwards.append(Forward(record, key, home))
        self.outcome.counts["forwarded"] += 1

    def _state(self, message: StepMessage | LayoutMessage, record: LogRecord) -> RunState | None:
        """The run's state as this record finds it; None if it is ahead of the record. `RecordError`: no room."""
        lives = self.lives
        known = self.runs.get(message.run)
        if known is not None and record.offset > known.offset and lives.open(known.life):
            return known
        if lives.behind(message.run, record.offset):
            return None
        state = lives.find(message.run)
        if state is None:
            return self._admitted(message, record.offset)
        if message.run in self._held:
            return state
        if lives.forgotten(state.life):
            return self._admitted(message, record.offset)
        return self._reopened(state, record) if lives.closed(state.life) else state

    def _reopened(self, state: RunState, record: LogRecord) -> RunState:
        time = seconds_of(record.timestamp)
        source = Source(self.partition, record.offset)
        fresh, transitions = reopened(state, time, source, self.lives.levels)
        key = home_key(state.run, state.fork)
        self.outcome.transitions += [(key, each) for each in transitions]
        self.runs[state.run] = fresh
        self.lives.lived(fresh)
        return fresh

    def _admitted(self, message: StepMessage | LayoutMessage, offset: int) -> RunState:
        """The state of a run that is not known: cold, or with its parent's reference where it is a fork of one."""
        state, lives = self.lives.admit(message, offset), self.lives
        parent = None if message.fork is None else lives.find(message.fork.parent)
        if parent is not None and parent is not state and not lives.closed(parent.life):
            forked(state, parent)
        return state

    def _lacks_layout(self, state: RunState, message: StepMessage) -> bool:
        return message.layout is None and message.layout_hash not in state.layouts

    def _let_go(self, run: str, offset: int) -> None:
        """Park what has been held for too long, by the counts of `held`."""
        for oldest in self._held.overdue(run, offset):
            detail = (
                f"layout {oldest.steps.layout_hash.hex()} did not come; send the layout before its records"
            )
            self._park(oldest.record, Reason.LAYOUT_MISSING, detail)
            self._applied(oldest, self.runs[oldest.message.run])
            self._release(oldest.message.run)

    def _release(self, run: str) -> None:
        """Judge what was held, up to the next record whose layout is still missing."""
        while (held := self._held.of(run)) and not self._lacks_layout(self.runs[run], held.first.steps):
            self._safely(self._held.popleft(run), self.runs[run])

    def _safely(self, waiting: Held, state: RunState) -> None:
        """Apply one message; an error of ours parks it and the run starts cold behind it, other runs go on."""
        state = self.runs[state.run]
        try:
            if waiting.origin is not None and waiting.repeated(state):
                self.outcome.counts["duplicate"] += waiting.records
            elif isinstance(waiting.message, LayoutMessage):
                self._add_layout(state, waiting.message)
            else:
                source = Source(self.partition, waiting.record.offset)
                apply_steps(state, waiting.message, source, self.limits, self.outcome)
        except RecordError as error:
            self._park(waiting.record, error.reason, error.detail)
        except MemoryError:
            raise  # not the record's fault: the worker ends, and the log is replayed
        except Exception as error:
            self._park(waiting.record, Reason.PROCESSING_ERROR, f"{type(error).__name__}: {error}")
            state = self.runs[state.run] = cold(state, self.lives.levels)
        self._applied(waiting, state)

    def _applied(self, waiting: Held, state: RunState) -> None:
        offset = waiting.record.offset
        held = self._held.of(state.run)
        if offset > state.offset and (not held or offset < held.oldest):
            state.offset = offset
        if waiting.origin is not None:
            waiting.note_origin(state)
        self.lives.lived(state)
        touched = self.outcome.touched
        if offset <= touched.get(state.run, offset):
            touched[state.run] = offset
            self.outcome.clocks[state.run] = waiting.clock

    def _add_layout(self, state: RunState, message: LayoutMessage) -> None:
        layout = message.layout
        if layout.hash not in state.layouts:
            if len(state.layouts) >= self.limits.layouts_per_run:
                raise RecordError(
                    Reason.LAYOUT_LIMIT,
                    f"run {message.run!r} has {len(state.layouts)} layouts, at most "
                    f"{self.limits.layouts_per_run} are allowed; send the same names in the same order",
                )
            check_layout_bytes(layout, state.layouts.values())
            state.layouts[layout.hash] = layout
        self.outcome.counts["layouts"] += 1

    def _park(self, record: LogRecord, reason: Reason, detail: str) -> None:
        self.outcome.dead_letters.append(DeadLetter(record, reason, detail))
