"""Snapshots of somebody else in a changelog that is ours: a worker that had lost the partition wrote late.

Recovery is not misled by them (the highest wins), but compaction is: it keeps a run's last record, whatever it says. So
what lies between our own writes is looked at every few seconds, and the runs it names are written once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from anomaly.credentials import kafka_options
from anomaly.errors import KafkaUnreachableError
from anomaly.metrics import WorkerMetrics
from anomaly.settings import Settings
from anomaly.topics import SNAPSHOT_MAX_BYTES, is_preflight
from anomaly.worker.saver import Saver
from anomaly.worker.store import RunStateStore
from anomaly.worker.stream import Stream

LOOK_SECONDS = 10.0
READ_SECONDS = 60.0

log = logging.getLogger("anomaly.worker")


class ForeignRecords:
    """Looks at the changelog; `ends` asks where partitions end."""

    def __init__(
        self, settings: Settings, turn: asyncio.Lock, saver: Saver, stream: Stream, store: RunStateStore,
        metrics: WorkerMetrics, ends: Callable[..., Awaitable[Mapping[TP, int]]],
    ) -> None:  # fmt: skip
        self._connection = settings.connection
        self._changelog = settings.topics.changelog
        self._turn = turn
        self._saver = saver
        self._stream = stream
        self._store = store
        self._metrics = metrics
        self._ends = ends

    async def look(self) -> None:
        """Find what is not ours since the last look, and have its runs written again."""
        async with self._saver.nothing_in_flight():
            tps = [TP(self._changelog, partition) for partition in self._stream.books]
            ends = await self._ends(*tps) if tps else {}
            unread = {tp: self._store.unread(tp, end) for tp, end in ends.items()}
        spans = {tp: (min(offsets), ends[tp]) for tp, offsets in unread.items() if offsets}
        if not spans:
            return
        records = await self._read(spans)
        async with self._turn:
            for tp, record in records:
                if record.offset in unread[tp]:
                    self._write_again(tp, record)
            for tp, (_, end) in spans.items():
                if tp.partition in self._stream.books:
                    self._store.set_persisted_offset(tp, end - 1)

    def _write_again(self, tp: TP, record: Any) -> None:
        if is_preflight(record.key, record.value) or tp.partition not in self._stream.books:
            return
        run = (record.key or b"").decode(errors="replace")
        self._metrics.foreign.inc()
        log.warning(
            "partition %d: another worker wrote run %r at offset %d", tp.partition, run, record.offset
        )
        self._stream.write_again(tp.partition, run)

    async def _read(self, spans: Mapping[TP, tuple[int, int]]) -> list[tuple[TP, Any]]:
        consumer = AIOKafkaConsumer(
            **kafka_options(self._connection),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=SNAPSHOT_MAX_BYTES,
        )
        await consumer.start()
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await _read_spans(consumer, spans)
        except TimeoutError:
            raise KafkaUnreachableError(
                f"topic {self._changelog} could not be read to its end in {READ_SECONDS:g} s"
            ) from None
        finally:
            await consumer.stop()


async def _read_spans(
    consumer: AIOKafkaConsumer, spans: Mapping[TP, tuple[int, int]]
) -> list[tuple[TP, Any]]:
    found: list[tuple[TP, Any]] = []
    ends = {TopicPartition(*tp): end for tp, (_, end) in spans.items()}
    consumer.assign(list(ends))
    for tp, (start, _) in spans.items():
        consumer.seek(TopicPartition(*tp), start)
    unread = set(ends)
    while unread:
        for raw, records in (await consumer.getmany(*unread, timeout_ms=200)).items():
            found += [(TP(*raw), record) for record in records if record.offset < ends[raw]]
        unread = {raw for raw in unread if await consumer.position(raw) < ends[raw]}
    return found
