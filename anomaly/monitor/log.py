"""What goes into a partition's monitor and what comes out: records of the log, and what a batch of them caused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from anomaly.errors import Reason
from anomaly.incidents.transition import Transition


class LogRecord(Protocol):
    """What a partition's log holds, as aiokafka gives it; `timestamp` in milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


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
    counts: Counter[str] = field(default_factory=Counter)
    """Admissions, refusals, values: by their reason."""
