"""Which fetched records are next: nothing twice, no hole that another fetch could fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from faust.types import TP

RECORD_BYTES = 200
"""What a record takes beside its value."""


@dataclass(slots=True)
class Batch:
    """What one poll returned for one partition: raw aiokafka records, continuous and in order."""

    follows: int
    """The offset after the last one delivered before; these records start here, or later at a hole that stays."""
    records: list[Any]
    value_bytes: int

    @property
    def weight(self) -> int:
        """Bytes it takes while it waits, about."""
        return self.value_bytes + RECORD_BYTES * len(self.records)


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """There is a hole: go back to this offset; if it is still there then, it stays."""

    offset: int


class Continuity:
    """The next offset of each partition that is read.

    Records below it were delivered before and are dropped. Records above it leave a hole: the partition is read again
    from where the hole begins, once; what is then still missing, retention or a transaction has taken, and is counted.
    """

    def __init__(self) -> None:
        self.missing_offsets = 0
        self._next: dict[TP, int] = {}
        self._read_again: dict[TP, int] = {}

    def restart(self, positions: Mapping[TP, int]) -> None:
        """Deliver each partition from here on, and no other partition."""
        self._next = dict(positions)
        self._read_again.clear()

    def delivered(self, tp: TP) -> int | None:
        """The offset after the last record delivered; None for a partition that is not read."""
        return self._next.get(tp)

    def accept(self, tp: TP, records: list[Any]) -> Batch | ReadAgain | None:
        """What to do with fetched `records` (not empty): deliver a batch, read again, or nothing."""
        expected = self._next.get(tp)
        if expected is None:
            return None  # not ours to read yet: `restart` says from where
        if records[0].offset < expected:
            records = [record for record in records if record.offset >= expected]
            if not records:
                return None
        first = records[0].offset
        if first > expected and self._read_again.get(tp) != expected:
            self._read_again[tp] = expected
            return ReadAgain(expected)
        self.missing_offsets += first - expected
        self._next[tp] = records[-1].offset + 1
        return Batch(expected, records, sum(len(record.value or b"") for record in records))
