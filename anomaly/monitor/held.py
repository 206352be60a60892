"""Records that came before their layout wait here, with every later record of their run; bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from anomaly.monitor.log import LogRecord
from anomaly.monitor.state import RunState
from anomaly.records import LayoutMessage, StepMessage

MAX_RECORDS = 256
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Held:
    """One raw record, its message, and where it was forwarded from: (partition, offset), or None."""

    record: LogRecord
    message: StepMessage | LayoutMessage
    origin: tuple[int, int] | None

    @property
    def steps(self) -> StepMessage:
        """The message; only step records are ever held."""
        assert isinstance(self.message, StepMessage)
        return self.message

    @property
    def count(self) -> int:
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
        self._bytes = 0

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
        return len(self._records) > MAX_RECORDS or self._bytes > MAX_BYTES

    def append(self, held: Held) -> None:
        """Add the newest."""
        self._records.append(held)
        self._bytes += len(held.record.value or b"")

    def popleft(self) -> Held:
        """Take the oldest out."""
        held = self._records.popleft()
        self._bytes -= len(held.record.value or b"")
        return held
