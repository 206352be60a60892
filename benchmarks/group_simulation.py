"""A consumer group of many workers without a broker: Faust's own assignor on made-up members.

What is real: `faust.assignor.PartitionAssignor`, what its members tell each other and how many bytes that is. What is
made up: the members, the topics' partition counts, and that a rebalance is one exchange without errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from faust.assignor.partition_assignor import PartitionAssignor
from yarl import URL

from anomaly.topics import Topics

TOPICS = Topics()


@dataclass(frozen=True)
class Rebalance:
    """What one rebalance did. Partitions are telemetry's; each has its changelog partition with it.

    moved: partitions that another worker has now.  from_living: those of them whose worker is still there.
    fewest, most: partitions of a worker.  group_bytes: what the members' metadata and assignments take in the broker's
    record of the group.
    """

    moved: int
    from_living: int
    fewest: int
    most: int
    group_bytes: int


class Group:
    """Workers that share `partitions`; joining and leaving is a rebalance each."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._members: dict[str, Any] = {}
        self._cluster = SimpleNamespace(partitions_for_topic=lambda _: set(range(partitions)))

    def join(self, *names: str) -> Rebalance:
        """New workers, which know nothing of the others."""
        before = self._owners()
        for name in names:
            self._members[name] = _assignor(name)
        return self._rebalance(before)

    def leave(self, *names: str) -> Rebalance:
        """Workers that are gone."""
        before = self._owners()
        for name in names:
            del self._members[name]
        return self._rebalance(before)

    def _rebalance(self, before: dict[int, str]) -> Rebalance:
        topics = {TOPICS.telemetry, TOPICS.changelog}
        told = {name: member.metadata(topics) for name, member in self._members.items()}
        leader = next(iter(self._members.values()))
        assigned = leader.assign(self._cluster, told)
        for name, member in self._members.items():
            member.on_assignment(assigned[name])
        after = self._owners()
        moved = [partition for partition, owner in after.items() if before.get(partition, owner) != owner]
        counts = [sum(owner == name for owner in after.values()) for name in self._members]
        texts = [told[name].user_data for name in told] + [assigned[name].user_data for name in assigned]
        return Rebalance(
            moved=len(moved),
            from_living=sum(before[partition] in self._members for partition in moved),
            fewest=min(counts),
            most=max(counts),
            group_bytes=sum(map(len, texts)),
        )

    def _owners(self) -> dict[int, str]:
        """Each partition's worker."""
        return {
            tp.partition: name
            for name, member in self._members.items()
            for tp in member.assigned_actives()
            if tp.topic == TOPICS.telemetry
        }


def _assignor(name: str) -> Any:
    """Faust's assignor with as much of an app as it asks for: one table, an address, no sensors."""
    nothing = SimpleNamespace(
        on_assignment_start=lambda _: None,
        on_assignment_error=lambda *_: None,
        on_assignment_completed=lambda *_: None,
    )
    app = SimpleNamespace(
        tables=SimpleNamespace(data={}, changelog_topics={TOPICS.changelog}),
        conf=SimpleNamespace(canonical_url=URL(f"http://{name}.workers.example:6066")),
        tracer=None,
        sensors=nothing,
    )
    return PartitionAssignor(cast(Any, app))
