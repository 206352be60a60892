"""The ledger: what each receiver was told last of each incident, in the compacted notifications topic.

An entry lies in its incident's partition, so that who reads one knows where the other is. A write is repeated until
it is acknowledged: nothing is committed before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from anomaly.connection import Connection
from anomaly.credentials import kafka_options
from anomaly.errors import NotifyError
from anomaly.notify.entry import SEPARATOR, Entry, decode_entry, entry_key
from anomaly.topics import is_preflight

POLL_MS = 200
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
MAX_ENTRY_BYTES = 4 << 20

log = logging.getLogger(__name__)


class Ledger:
    """All receivers' entries. Use it with `start` and `stop`."""

    def __init__(self, connection: Connection, topic: str, one_record_a_batch: bool) -> None:
        self._connection = connection
        self._topic = topic
        self._extra = {"max_batch_size": 1} if one_record_a_batch else {"linger_ms": 2}
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises `KafkaError`."""
        self._producer = AIOKafkaProducer(
            **kafka_options(self._connection), acks="all", max_request_size=MAX_ENTRY_BYTES, **self._extra
        )
        await self._producer.start()

    async def stop(self) -> None:
        """Give back the connection."""
        if self._producer is not None:
            await self._producer.stop()

    async def write(self, partition: int, entry: Entry) -> None:
        """Write `entry`; return once it is acknowledged."""
        await self._write(partition, entry.key, entry.encode())

    async def forget(self, partition: int, receiver: str, incident: str) -> None:
        """Write its tombstone."""
        await self._write(partition, entry_key(receiver, incident), None)

    async def _write(self, partition: int, key: bytes, value: bytes | None) -> None:
        assert self._producer is not None
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._producer.send_and_wait(self._topic, value, key, partition=partition)
                return
            except TopicAuthorizationFailedError:
                raise
            except KafkaError as error:  # the same entry again does no harm, an entry too few does
                log.warning("the ledger in %s waits for Kafka: %r", self._topic, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def read(self, receiver: str, partitions: Iterable[int]) -> dict[int, dict[str, Entry]]:
        """The receiver's entries of each partition, by incident, as the topic ends now."""
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        found: dict[int, dict[str, Entry]] = {tp.partition: {} for tp in tps}
        consumer = AIOKafkaConsumer(
            **kafka_options(self._connection),
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # else its own way to the end may overtake the seek below
            max_partition_fetch_bytes=MAX_ENTRY_BYTES,
        )
        await consumer.start()
        try:
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            await consumer.seek_to_beginning(*tps)
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for tp, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                    for record in records:
                        _take(found[tp.partition], receiver, record.key, record.value)
        finally:
            await consumer.stop()
        return found


def _take(entries: dict[str, Entry], receiver: str, key: bytes | None, value: bytes | None) -> None:
    """One record. What no notifier wrote is passed over: a page too many is better than none."""
    if key is None or is_preflight(key, value):
        return
    of, _, incident = key.decode("utf-8", "replace").partition(SEPARATOR)
    if of != receiver:
        return
    if value is None:
        entries.pop(incident, None)
        return
    try:
        entry = decode_entry(value)
    except NotifyError as error:
        log.error("an entry for incident %s cannot be read, and counts as none: %s", incident, error)
        return
    known = entries.get(incident)
    # A notifier that was cut off may have written late: what knows more holds.
    if known is None or _order(entry) >= _order(known):
        entries[incident] = entry


def _order(entry: Entry) -> tuple[int, int, int]:
    return (entry.transition.transition, entry.round, entry.number)
