"""Topics, keys and where a record is at home: one place for the producer, the worker and every reader.

The **home** of a record is murmur2 of its key, as Java's client and aiokafka compute it, modulo the partitions. Only
the partition decides: a record with another key or none is judged where it lies if that is its home, and is sent home
otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from aiokafka.partitioner import murmur2

DAY_SECONDS = 86_400
INCIDENTS_LONGER_DAYS = 7
"""Days that incidents are kept longer than the telemetry they speak of."""
PREFLIGHT_KEY = b"__preflight__"
PREFLIGHT_HEADER = "preflight"
FORWARDED_PARTITION = "forwarded_partition"
FORWARDED_OFFSET = "forwarded_offset"
DEAD_LETTER_HEADERS = ("reason", "detail", "topic", "partition", "offset", "timestamp", "omitted")
"""The last headers of a dead letter. `timestamp` is the record's own, in milliseconds; `omitted` stands there alone
where the record is too large for a letter: how many bytes were left where it lay."""
REQUEUED = "requeued"
"""Header: which dead letter, ``partition:offset``, a record in telemetry came back from. The dead letters hold an empty
record with the same header and that reason: this letter was sent again."""
DEAD_LETTER_ROOM = 64 * 1024
"""Bytes a dead letter may be larger than the record it keeps, for its headers."""
SNAPSHOT_MAX_BYTES = 16 << 20


def is_preflight(key: bytes | None, value: bytes | None) -> bool:
    """Whether a record is a worker's test write, which every reader passes over: that key and nothing else.

    The key alone would hide what anyone sends under it.
    """
    return key == PREFLIGHT_KEY and not value


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of a team's topics."""

    prefix: str = "training"
    group: str = ""

    @property
    def consumer_group(self) -> str:
        """The workers' consumer group, also the name of the Faust app."""
        return self.group or f"{self.prefix}.anomaly"

    @property
    def telemetry(self) -> str:
        """Step records and layouts, from the hooks."""
        return f"{self.prefix}.telemetry"

    @property
    def incidents(self) -> str:
        """Transitions of incidents, from the workers."""
        return f"{self.prefix}.incidents"

    @property
    def incident_actions(self) -> str:
        """What people do with an incident."""
        return f"{self.prefix}.incident-actions"

    @property
    def notifications(self) -> str:
        """What each receiver was told last of each incident, from the notifier to itself."""
        return f"{self.prefix}.notifications"

    @property
    def deadletter(self) -> str:
        """Records that were refused, unchanged."""
        return f"{self.prefix}.deadletter"

    def notify_group(self, receiver: str) -> str:
        """The consumer group of a receiver's notifiers."""
        return f"{self.consumer_group}.notify.{receiver}"

    @property
    def of_worker(self) -> tuple[str, ...]:
        """What must be there for a worker."""
        return (self.telemetry, self.incidents, self.incident_actions, self.deadletter, self.changelog)

    @property
    def of_notifier(self) -> tuple[str, ...]:
        """What must be there for a notifier."""
        return (self.incidents, self.incident_actions, self.notifications)

    @property
    def changelog(self) -> str:
        """Snapshots, one per run; named as Faust names the changelog of a table called ``state``."""
        return f"{self.consumer_group}-state-changelog"


def topic_configurations(
    topics: Topics, telemetry_retention_days: float, max_message_bytes: int
) -> dict[str, dict[str, str]]:
    """What each topic is created with, beside partitions and replication factor."""

    def kept(days: float) -> dict[str, str]:
        return {"cleanup.policy": "delete", "retention.ms": str(int(days * DAY_SECONDS * 1000))}

    return {
        topics.telemetry: {**kept(telemetry_retention_days), "max.message.bytes": str(max_message_bytes)},
        topics.incidents: kept(telemetry_retention_days + INCIDENTS_LONGER_DAYS),
        topics.incident_actions: kept(30),
        topics.deadletter: {**kept(30), "max.message.bytes": str(max_message_bytes + DEAD_LETTER_ROOM)},
        topics.notifications: {
            "cleanup.policy": "compact",
            "segment.ms": "3600000",
            "min.cleanable.dirty.ratio": "0.1",
            "delete.retention.ms": str(DAY_SECONDS * 1000),
        },
        topics.changelog: {
            "cleanup.policy": "compact",
            "segment.bytes": str(32 << 20),
            "segment.ms": "60000",  # the segment that is written to is never compacted
            "min.cleanable.dirty.ratio": "0.1",
            "min.compaction.lag.ms": "60000",
            "max.message.bytes": str(SNAPSHOT_MAX_BYTES),
        },
    }


@lru_cache(maxsize=65_536)
def home_partition(key: bytes, partitions: int) -> int:
    """The partition a key belongs to, 0 … partitions - 1.

    >>> home_partition(b"r1", 32)
    28
    """
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
