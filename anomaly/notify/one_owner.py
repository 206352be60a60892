"""All partitions to one member of a group: the one that has been there longest; the others stand by.

Incidents are few, so one process is enough; it knows every page of its receiver, which its limit and a storm need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

NAME = "training-anomaly-one-owner"
VERSION = 0


def one_owner(since_unix_seconds: float) -> type[AbstractPartitionAssignor]:
    """The assignor of a consumer that came at `since_unix_seconds`."""

    class OneOwner(AbstractPartitionAssignor):  # type: ignore[misc]
        name = NAME

        @classmethod
        def metadata(cls, topics: Iterable[str]) -> Any:
            return ConsumerProtocolMemberMetadata(VERSION, list(topics), f"{since_unix_seconds:.6f}".encode())

        @classmethod
        def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
            owner = min(members, key=lambda member: (_since(members[member].user_data), member))
            found = [
                (topic, sorted(cluster.partitions_for_topic(topic) or ()))
                for topic in sorted({topic for one in members.values() for topic in one.subscription})
            ]
            return {
                member: ConsumerProtocolMemberAssignment(VERSION, found if member == owner else [], b"")
                for member in members
            }

        @classmethod
        def on_assignment(cls, assignment: Any) -> None:
            pass

    return OneOwner


def _since(user_data: bytes | None) -> float:
    try:
        return float((user_data or b"").decode())
    except ValueError:
        return float("inf")
