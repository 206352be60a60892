"""Dead letters as the commands see them: read from the topic, chosen, told."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from anomaly import codec
from anomaly.errors import Reason, RecordError
from anomaly.records import LayoutMessage, StepMessage
from anomaly.topics import DEAD_LETTER_HEADERS, FORWARDED_OFFSET, FORWARDED_PARTITION, REQUEUED

OF_A_WORKER = frozenset((*DEAD_LETTER_HEADERS, FORWARDED_PARTITION, FORWARDED_OFFSET, REQUEUED))
Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. Times are unix seconds; what its headers do not say is None or empty."""

    partition: int
    offset: int
    unix_seconds: float
    """When it was refused."""
    reason: str
    detail: str
    topic: str
    origin: Place | None
    """Where the record lies in `topic`."""
    timestamp_ms: int | None
    """The record's own."""
    omitted: int
    """Bytes of a record that was too large for a letter; 0: all of it is here."""
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...]
    """The producer's own."""

    @property
    def place(self) -> Place:
        """Where the letter itself lies: what tells it from all others."""
        return self.partition, self.offset

    @property
    def message(self) -> StepMessage | LayoutMessage | None:
        """The record, where it can be read."""
        try:
            return codec.decode(self.value)
        except (RecordError, ArithmeticError, LookupError, TypeError, ValueError):  # it is here for a reason
            return None

    @property
    def run(self) -> str:
        """The run it was of: what it says, else its key."""
        message = self.message
        return message.run if message is not None else (self.key or b"").decode(errors="backslashreplace")


def letter_of(record: Any) -> Letter:
    """A record of the dead letters' topic."""
    headers: dict[str, bytes | None] = dict(record.headers)
    partition, offset = _whole(headers.get("partition")), _whole(headers.get("offset"))
    return Letter(
        partition=record.partition,
        offset=record.offset,
        unix_seconds=record.timestamp / 1000,
        reason=_text(headers.get("reason")),
        detail=_text(headers.get("detail")),
        topic=_text(headers.get("topic")),
        origin=None if partition is None or offset is None else (partition, offset),
        timestamp_ms=_whole(headers.get("timestamp")),
        omitted=_whole(headers.get("omitted")) or 0,
        key=record.key,
        value=record.value or b"",
        headers=tuple((name, value) for name, value in record.headers if name not in OF_A_WORKER),
    )


def sent_again(record: Any) -> Place | None:
    """The letter of which this record of the dead letters' topic says that it was sent again."""
    headers: dict[str, bytes | None] = dict(record.headers)
    if headers.get("reason") != REQUEUED.encode():
        return None
    return place_of(_text(headers.get(REQUEUED)))


def place_of(text: str) -> Place | None:
    """``partition:offset`` as numbers; None for anything else.

    >>> place_of("3:41"), place_of("3"), place_of("a:b")
    ((3, 41), None, None)
    """
    partition, _, offset = text.partition(":")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        return None
    return (int(partition), int(offset)) if len(text) < 32 else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: of these places, where any are given; of this reason, run and time."""

    places: frozenset[Place] = frozenset()
    reason: Reason | None = None
    run: str = "*"
    since: float = float("-inf")
    """Unix seconds."""
    until: float = float("inf")

    def __call__(self, letter: Letter) -> bool:
        """Whether it is one of them."""
        if self.places and letter.place not in self.places:
            return False
        if self.reason is not None and letter.reason != self.reason:
            return False
        return self.since <= letter.unix_seconds <= self.until and (
            self.run == "*" or fnmatchcase(letter.run, self.run)
        )


@dataclass(slots=True)
class Found:
    """What the topic holds of the wanted letters: all of them counted, the newest kept, oldest first."""

    reasons: Counter[str] = field(default_factory=Counter)
    letters: list[Letter] = field(default_factory=list)
    again: set[Place] = field(default_factory=set)
    """Letters, wanted or not, that were sent again."""


async def find(records: AsyncIterable[Any], wanted: Wanted, limit: int) -> Found:
    """Read the topic's records; keep at most `limit` letters."""
    found = Found()
    newest: list[tuple[float, Place, Letter]] = []
    async for record in records:
        again = sent_again(record)
        if again is not None:
            found.again.add(again)
            continue
        letter = letter_of(record)
        if wanted(letter):
            found.reasons[letter.reason] += 1
            heapq.heappush(newest, (letter.unix_seconds, letter.place, letter))
            if len(newest) > limit:
                heapq.heappop(newest)
    found.letters = [letter for _, _, letter in sorted(newest, key=lambda each: each[:2])]
    return found


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="backslashreplace")


def _whole(value: bytes | None) -> int | None:
    text = (value or b"").decode(errors="replace")
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
