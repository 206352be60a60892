"""Topics for a reader's tests: made, and written to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

Record = tuple[bytes | None, bytes | None, int]
"""Key, value, partition."""


def make(servers: str, topic: str, partitions: int) -> None:
    asyncio.run(_make(servers, topic, partitions))


def write(servers: str, topic: str, records: Iterable[Record]) -> None:
    asyncio.run(_write(servers, topic, records))


async def _make(servers: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def _write(servers: str, topic: str, records: Iterable[Record]) -> None:
    # A record a batch: the embedded broker's latest offset is the base of the last batch + 1.
    producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=1)
    await producer.start()
    try:
        for key, value, partition in records:
            await producer.send_and_wait(topic, value, key, partition)
    finally:
        await producer.stop()
