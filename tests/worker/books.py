"""A partition book and records for it, without a broker."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.structs import ConsumerRecord

from anomaly.monitor import PartitionMonitor
from anomaly.worker.guard import Lease
from anomaly.worker.partition_book import PartitionBook

LEASE = Lease(6.0, clock=lambda: 0.0)


def kafka_record(offset: int, value: bytes | None = b"{}", key: bytes | None = b"k") -> Any:
    size = len(value or b"")
    record: Any = ConsumerRecord("telemetry", 0, offset, 1_000, 0, key, value, None, 1, size, ())
    return record


def book_after(*records: Any) -> PartitionBook:
    """A book that has processed `records`, one batch each."""
    book = PartitionBook(0, 1, PartitionMonitor(0, 1), position=0)
    for number, record in enumerate(records):
        outcome = book.monitor.process([record])
        book.advance(record.offset + 1, outcome, float(number))
    return book


def commit_offset(book: PartitionBook) -> int:
    return book.commit()[0]


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)
