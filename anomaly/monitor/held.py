"""Records that came before their layout wait here, with every later record of their run; bounded.

By records and bytes for a run; by bytes for a partition; and by the offsets that have come since, because nothing at or
above the oldest is committed: a single record whose layout never comes must not make every restart read for days.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from anomaly.monitor.log import LogRecord
from anomaly.monitor.state import RunState
from anomaly.records import LayoutMessage, StepMessage

MAX_RECORDS = 256
MAX_BYTES = 1 << 20
MAX_PARTITION_BYTES = 16 << 20
MAX_OFFSETS = 100_000


class Held(NamedTuple):
    """One raw record, its message, and where it was forwarded from: (partition, offset), or None."""

    record: LogRecord
    message: StepMessage | LayoutMessage
    origin: tuple[int, int] | None
    clock: int
    """The partition's, before this record."""

    @property
    def steps(self) -> StepMessage:
        """The message; only step records are ever held."""
        assert isinstance(self.message, StepMessage)
        return self.message

    @property
    def records(self) -> int:
        """Step records in it; a layout counts as one."""
        return len(self.message.steps) if isinstance(self.message, StepMessage) else 1

    def repeated(self, state: RunState) -> bool:
        """Whether this forwarded record has been applied before."""
        return self.origin is not None and self.origin[1] <= state.origins.get(self.origin[0], -1)

    def note_origin(self, state: RunState) -> None:
        """Remember that this forwarded record is applied."""
        if self.origin is not None:
            partition, offset = self.origin
            state.origins[partition] = max(offset, state.origins.get(partition, -1))


class HeldRecords:
    """The held records of one run, oldest first."""

    def __init__(self) -> None:
        self._records: deque[Held] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def first(self) -> Held:
        """The oldest itself."""
        return self._records[0]

    @property
    def oldest(self) -> int:
        """The offset of the oldest."""
        return self._records[0].record.offset

    @property
    def full(self) -> bool:
        """Whether the bound is passed, so that the oldest must go."""
        return len(self._records) > MAX_RECORDS or self.bytes > MAX_BYTES

    def append(self, held: Held) -> None:
        """Add the newest."""
        self._records.append(held)
        self.bytes += len(held.record.value or b"")

    def popleft(self) -> Held:
        """Take the oldest out."""
        held = self._records.popleft()
        self.bytes -= len(held.record.value or b"")
        return held


class HeldRuns:
    """The held records of a partition's runs."""

    def __init__(self) -> None:
        self._runs: dict[str, HeldRecords] = {}
        self._order: deque[tuple[int, str]] = deque()
        """(offset, run) as they came; what has left is passed over."""
        self._bytes = 0

    def __contains__(self, run: object) -> bool:
        return run in self._runs

    @property
    def oldest(self) -> Held | None:
        """The oldest of all."""
        while self._order:
            offset, run = self._order[0]
            held = self._runs.get(run)
            if held is not None and held.oldest <= offset:
                return held.first
            self._order.popleft()
        return None

    def of(self, run: str) -> HeldRecords | None:
        """One run's; None where it has none."""
        return self._runs.get(run)

    def append(self, held: Held) -> None:
        """Hold a record, behind all others of its run."""
        run = held.message.run
        of_run = self._runs.setdefault(run, HeldRecords())
        self._bytes -= of_run.bytes
        of_run.append(held)
        self._bytes += of_run.bytes
        self._order.append((held.record.offset, run))

    def popleft(self, run: str) -> Held:
        """Take a run's oldest out."""
        of_run = self._runs[run]
        self._bytes -= of_run.bytes
        held = of_run.popleft()
        self._bytes += of_run.bytes
        if not of_run:
            del self._runs[run]
        return held

    def overdue(self, run: str, offset: int) -> Iterator[Held]:
        """Take out, oldest first, what must go by now: of `run`, and of the partition, whose newest is `offset`."""
        while (of_run := self._runs.get(run)) is not None and of_run.full:
            yield self.popleft(run)
        while (oldest := self.oldest) is not None and (
            self._bytes > MAX_PARTITION_BYTES or offset - oldest.record.offset > MAX_OFFSETS
        ):
            yield self.popleft(oldest.message.run)
