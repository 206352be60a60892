"""How what the monitor reports is written to Kafka: transitions, refused records, records on their way home."""

from __future__ import annotations

from typing import Any

from anomaly.errors import Reason
from anomaly.topics import FORWARDED_OFFSET, FORWARDED_PARTITION, Topics
from anomaly.worker.outbox import Headers, Outgoing
from anomaly.worker.store import UnreadableSnapshot

MAX_DETAIL = 2000
"""Characters of a dead letter's detail: it may quote a name from outside."""


def dead_letter(topics: Topics, record: Any, reason: Reason, detail: str) -> Outgoing:
    """The original bytes and headers, with why and from where."""
    headers = _origin(reason, detail, record.topic, record.partition, record.offset)
    value = (
        b"" if record.key is None and record.value is None else record.value
    )  # aiokafka sends no such record
    return Outgoing(topics.deadletter, record.key, value, headers=[*record.headers, *headers])


def unreadable_snapshot(topics: Topics, found: UnreadableSnapshot, max_bytes: int) -> Outgoing:
    """The snapshot itself where it fits into a dead letter; otherwise only where it lies in the changelog."""
    fits = len(found.value) <= max_bytes
    detail = (
        found.detail if fits else f"{found.detail} (its {len(found.value)} bytes are left in the changelog)"
    )
    headers = _origin(Reason.SNAPSHOT_UNREADABLE, detail, found.tp.topic, found.tp.partition, found.offset)
    return Outgoing(topics.deadletter, found.key, found.value if fits else b"", headers=headers)


def forward(topics: Topics, record: Any, home_key: bytes, partition: int) -> Outgoing:
    """The same bytes and timestamp, under the key and in the partition where the run is at home."""
    headers: Headers = [
        *record.headers,
        (FORWARDED_PARTITION, b"%d" % record.partition),
        (FORWARDED_OFFSET, b"%d" % record.offset),
    ]
    timestamp = record.timestamp if record.timestamp >= 0 else None  # -1: it has none
    return Outgoing(topics.telemetry, home_key, record.value, partition, timestamp, headers)


def _origin(reason: Reason, detail: str, topic: str, partition: int, offset: int) -> Headers:
    return [
        ("reason", reason.encode()),
        ("detail", detail[:MAX_DETAIL].encode(errors="replace")),
        ("topic", topic.encode()),
        ("partition", b"%d" % partition),
        ("offset", b"%d" % offset),
    ]
