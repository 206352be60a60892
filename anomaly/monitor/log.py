"""What goes into a partition's monitor and what comes out: records of the log, and what a batch of them caused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from anomaly.errors import Reason
from anomaly.incidents.transition import Transition
from anomaly.json_records import MAX_TIME
from anomaly.topics import FORWARDED_OFFSET, FORWARDED_PARTITION

MAX_OFFSET = (1 << 63) - 1


class LogRecord(Protocol):
    """What a partition's log holds, as aiokafka gives it; `timestamp` in milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def seconds_of(timestamp: int) -> float | None:
    """Kafka's milliseconds as a record's time; None for none (-1) and for what no clock shows."""
    seconds = timestamp / 1000
    return seconds if 0 <= seconds < MAX_TIME else None


def origin_of(record: LogRecord, partitions: int) -> tuple[int, int] | None:
    """(partition, offset) a record was forwarded from; None for one that was not, or whose headers say nothing.

    Anyone may write such headers, and a header may be null: what a worker cannot have written says nothing.
    """
    if not record.headers:
        return None
    headers = dict(record.headers)
    partition, offset = (headers.get(name) or b"" for name in (FORWARDED_PARTITION, FORWARDED_OFFSET))
    if not (partition.isdigit() and offset.isdigit() and len(partition) <= 10 and len(offset) <= 19):
        return None
    if not (int(partition) < partitions and int(offset) <= MAX_OFFSET):
        return None
    return int(partition), int(offset)


def size_of(record: LogRecord) -> int:
    """Bytes of a record as its producer gave it: key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value or b"")
    return size


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be used, and why."""

    record: LogRecord
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Forward:
    """A record that lies elsewhere and is sent home: same bytes and timestamp, the home's key and partition."""

    record: LogRecord
    key: bytes
    partition: int


@dataclass(slots=True)
class Outcome:
    """What a batch of the log caused, in order. The caller sends it, then may forget it."""

    transitions: list[tuple[bytes, Transition]] = field(default_factory=list)
    """(home key, transition)"""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    touched: dict[str, int] = field(default_factory=dict)
    """Run → the lowest offset applied to its state; a held one may be below an earlier batch's."""
    clocks: dict[str, int] = field(default_factory=dict)
    """Run → the partition's clock before the record at that offset."""
    counts: Counter[str] = field(default_factory=Counter)
    """Admissions, refusals, values: by their reason."""
