"""The values around an incident, read again from telemetry at its `source`: this run's alone, bounded in all respects.

First back from the source, in blocks that grow, until enough of the run before the onset is there; then on from it;
last, for a layout that was sent before all that, back by time: a hook repeats it every minute in which it sends.
No group, nothing committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from anomaly.errors import AnomalyError
from anomaly.incidents import Source, Transition
from anomaly.notify.gathering import Gathered
from anomaly.notify.wanted import before_and_after
from anomaly.notify.window import Window, window_of
from anomaly.reading import TopicReader
from anomaly.records import Layout

AFTER = 60
"""Steps of the run after the last of the incident that are looked for."""
FIRST_BLOCK = 256
LARGEST_BLOCK = 8_192
LAYOUT_SECONDS = 90.0
FARTHER = 8
LAYOUTS_SHARE = 0.5
"""Of a budget, after which a layout is looked for in place of more records: without it none can be read."""


class EvidenceMissingError(AnomalyError):
    """There is nothing to show around an incident; the message says why."""


class Budget(NamedTuple):
    """What one look may cost."""

    seconds: float
    bytes: int
    records: int
    """Of all runs in the partition."""


FOR_A_PAGE = Budget(1.2, 128 << 20, 200_000)
FOR_A_PERSON = Budget(30.0, 1 << 30, 2_000_000)


async def read_evidence(
    reader: TopicReader,
    topic: str,
    transition: Transition,
    budget: Budget,
    layouts: dict[bytes, Layout] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Window:
    """What was measured around an incident. `layouts` are kept from one look to the next; `clock` is in seconds.

    Raises `EvidenceMissingError` where there is nothing to show, and as `TopicReader` does.
    """
    source = transition.source
    if source is None:
        raise EvidenceMissingError("this incident does not say where its evidence lies: it is from a replay")
    partition = TopicPartition(topic, source.partition)
    if partition not in await reader.partitions(topic):
        raise EvidenceMissingError(f"topic {topic} has no partition {source.partition}")
    starts, ends = await reader.since([partition], 0.0), await reader.ends([partition])
    start, end = starts[partition], ends[partition]
    _check(topic, source, start, end)
    gathered = Gathered(transition, {} if layouts is None else layouts)
    lasted = int(transition.step - transition.first_step)  # in steps, of which each may be a reading
    before, _ = before_and_after(transition, lasted)
    look = _Look(reader, partition, gathered, before, budget, clock)
    await look.back(start, source.offset)
    await look.on(source.offset, end)
    await look.layouts(start)
    notes = () if look.has_enough else look.notes(start)
    found = window_of(transition, gathered.plan, gathered.pieces(), notes)
    if found is not None:
        return found
    if gathered.lacks_layouts:
        raise EvidenceMissingError(
            "the layout of this run's records was not found: too far back, or no longer kept"
        )
    raise EvidenceMissingError("the records around its source hold nothing that could be shown")


def _check(topic: str, source: Source, start: int, end: int) -> None:
    place = f"{topic}, partition {source.partition},"
    if source.offset < start:
        raise EvidenceMissingError(
            f"{place} begins at offset {start:,} by now; the evidence lay at {source.offset:,} and is no longer kept: "
            "telemetry_retention_days says for how long it is"
        )
    if source.offset >= end:
        raise EvidenceMissingError(
            f"{place} ends at offset {end:,}; the evidence should lie at {source.offset:,}: the topic was made anew"
        )


class _Look:
    """One look at one partition, and what it has cost so far."""

    def __init__(
        self,
        reader: TopicReader,
        partition: TopicPartition,
        gathered: Gathered,
        before: int,
        budget: Budget,
        clock: Callable[[], float],
    ) -> None:
        self._reader, self._partition, self._gathered = reader, partition, gathered
        self._clock, self._until, self._budget = clock, clock() + budget.seconds, budget
        self._before = before
        self._bytes = self._records = self._lowest = 0
        self._hurried = False

    @property
    def has_enough(self) -> bool:
        """Whether what was before the onset is all there, as far as it is shown."""
        return self._gathered.begins or len(self._gathered.before) >= self._before

    @property
    def spent(self) -> bool:
        """Whether no more may be read."""
        return self._spent_to(1.0)

    def _spent_to(self, share: float) -> bool:
        left = self._until - self._clock()
        return (
            left <= (1 - share) * self._budget.seconds
            or self._bytes > share * self._budget.bytes
            or self._records > share * self._budget.records
        )

    async def back(self, start: int, source: int) -> None:
        """The source, and from it back. `start` is the partition's first offset."""
        gathered, size = self._gathered, FIRST_BLOCK
        self._lowest = source
        await self._read(source, source + 1, gathered.take)
        if source not in gathered:
            raise EvidenceMissingError(
                f"{self._partition.topic}, partition {self._partition.partition}, offset {source:,} holds no record of "
                "this run: it was not readable, or the topic was made anew"
            )
        while self._lowest > start and not self.spent:
            high, low = self._lowest, max(start, self._lowest - size)
            oldest = await self._read(low, high, gathered.take)
            if self.spent:
                gathered.forget(low, high)  # or the steps before what was read last would be missing
                break
            self._lowest, size = low, min(size * 4, LARGEST_BLOCK)
            if self.has_enough or (oldest is not None and gathered.is_quiet(oldest)):
                return
            if gathered.lacks_layouts and self._spent_to(LAYOUTS_SHARE):
                break
        self._hurried = self._lowest > start

    async def on(self, source: int, end: int) -> None:
        """From the source on."""
        low, size = source + 1, FIRST_BLOCK
        while low < end and not self.spent and len(self._gathered.after) < AFTER:
            high = min(end, low + size)
            first = await self._read(low, high, self._gathered.take_later)
            if first is not None and self._gathered.is_quiet(first):
                return
            low, size = high, min(size * 4, LARGEST_BLOCK)

    async def layouts(self, start: int) -> None:
        """The layouts that are missing, from before all that was read, the nearest first."""
        high, seconds = self._lowest, LAYOUT_SECONDS
        while high > start and not self.spent and self._gathered.lacks_layouts:
            since = max(self._gathered.oldest_seconds - seconds, 0.0)
            found = await self._reader.since([self._partition], since)
            low = max(start, min(found[self._partition], high))
            while high > low and not self.spent and self._gathered.lacks_layouts:
                middle = max(low, high - LARGEST_BLOCK)
                await self._read(middle, high, self._gathered.take_layout)
                high = middle
            seconds *= FARTHER

    def notes(self, start: int) -> tuple[str, ...]:
        """What the reader of a picture should know of what is not on it."""
        if self._lowest <= start and start > 0:
            return ("earlier telemetry is no longer kept",)
        return ("there was no time to read more",) if self._hurried else ()

    async def _read(self, low: int, high: int, take: Callable[[Any], None]) -> int | None:
        """Read these offsets; return the time of the first, in milliseconds."""
        first: int | None = None
        async for records in self._reader.between({self._partition: low}, {self._partition: high}):
            for record in records:
                first = record.timestamp if first is None else first
                self._records += 1
                self._bytes += len(record.value or b"")
                take(record)
            if self.spent:
                break
        self._gathered.resolve()
        return first
