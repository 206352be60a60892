"""How what the monitor reports is written to Kafka: transitions, refused records, records on their way home."""

from __future__ import annotations

from typing import Any

from anomaly.errors import Reason
from anomaly.monitor.log import size_of
from anomaly.topics import FORWARDED_OFFSET, FORWARDED_PARTITION, Topics
from anomaly.worker.outbox import Headers, Outgoing
from anomaly.worker.store import UnreadableSnapshot

MAX_DETAIL = 2000
"""Characters of a dead letter's detail: it may quote a name from outside."""


def dead_letter(topics: Topics, record: Any, reason: Reason, detail: str, max_bytes: int) -> Outgoing:
    """The original bytes and headers, with why and from where.

    A compressed record may be much larger than what a topic takes: of one over `max_bytes` only its place is kept.
    """
    size = size_of(record)
    origin = _origin(reason, detail, record.topic, record.partition, record.offset, record.timestamp)
    if size > max_bytes:
        key = record.key if record.key is not None and len(record.key) <= MAX_DETAIL else None
        return Outgoing(topics.deadletter, key, b"", headers=[*origin, _omitted(size)])
    value = (
        b"" if record.key is None and record.value is None else record.value
    )  # aiokafka sends no such record
    return Outgoing(topics.deadletter, record.key, value, headers=[*record.headers, *origin])


def unreadable_snapshot(topics: Topics, found: UnreadableSnapshot, max_bytes: int) -> Outgoing:
    """The snapshot itself where it fits into a dead letter; otherwise only where it lies in the changelog."""
    size = len(found.value)
    origin = _origin(
        Reason.SNAPSHOT_UNREADABLE, found.detail, found.tp.topic, found.tp.partition, found.offset
    )
    if size > max_bytes:
        return Outgoing(topics.deadletter, found.key, b"", headers=[*origin, _omitted(size)])
    return Outgoing(topics.deadletter, found.key, found.value, headers=origin)


def forward(topics: Topics, record: Any, home_key: bytes, partition: int) -> Outgoing:
    """The same bytes and timestamp, under the key and in the partition where the run is at home."""
    headers: Headers = [
        *record.headers,
        (FORWARDED_PARTITION, b"%d" % record.partition),
        (FORWARDED_OFFSET, b"%d" % record.offset),
    ]
    timestamp = record.timestamp if record.timestamp >= 0 else None  # -1: it has none
    return Outgoing(topics.telemetry, home_key, record.value, partition, timestamp, headers)


def _origin(
    reason: Reason, detail: str, topic: str, partition: int, offset: int, timestamp: int = -1
) -> Headers:
    return [
        ("reason", reason.encode()),
        ("detail", detail[:MAX_DETAIL].encode(errors="replace")),
        ("topic", topic.encode()),
        ("partition", b"%d" % partition),
        ("offset", b"%d" % offset),
        ("timestamp", b"%d" % timestamp),
    ]


def _omitted(size: int) -> tuple[str, bytes]:
    return ("omitted", b"%d" % size)
