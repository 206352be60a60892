"""Topics for a reader's tests: made, and written to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from itertools import repeat

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

Record = tuple[bytes | None, bytes | None, int]
"""Key, value, partition."""


def make(servers: str, topic: str, partitions: int) -> None:
    asyncio.run(_make(servers, topic, partitions))


def write(servers: str, topic: str, records: Iterable[Record]) -> None:
    asyncio.run(_write(servers, topic, records))


def write_a_second_apart(servers: str, topic: str, records: Sequence[Record]) -> None:
    """The same, each a second after the one before, the last a second ago: their order is no matter of luck."""
    now_ms = int(time.time() * 1000)
    times = [now_ms + 1000 * (at - len(records)) for at in range(len(records))]
    asyncio.run(_write(servers, topic, records, times))


async def _make(servers: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def _write(
    servers: str, topic: str, records: Iterable[Record], times_ms: Iterable[int | None] = repeat(None)
) -> None:
    # A record a batch: the embedded broker's latest offset is the base of the last batch + 1.
    producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=1)
    await producer.start()
    try:
        for (key, value, partition), time_ms in zip(records, times_ms, strict=False):
            await producer.send_and_wait(topic, value, key, partition, time_ms)
    finally:
        await producer.stop()
