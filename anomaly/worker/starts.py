"""Where each partition begins: at its commit, or at its beginning, which is then committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faust.types import TP

from anomaly.worker.commits import CommitMetadata, read_metadata
from anomaly.worker.same_topic import check_read
from anomaly.worker.transport import Consumer


@dataclass(frozen=True, slots=True)
class Start:
    """The beginning of one partition's processing."""

    offset: int
    end: int
    """The partition's end now: up to there the log may have been processed before."""
    metadata: CommitMetadata


async def find_starts(
    consumer: Consumer, topic: str, assigned: set[int], partitions: int, read: Mapping[int, int]
) -> dict[int, Start]:
    """A start for each assigned partition of `topic`, which has `partitions`; `read` is how far states show it read.

    One without a commit gets its beginning committed: stock Faust would not go there after a rebalance, and what had
    been fetched before it would be lost.
    """
    tps = [TP(topic, partition) for partition in assigned]
    if not tps:
        return {}
    ends = await consumer.highwaters(*tps)
    check_read(topic, {tp.partition: end for tp, end in ends.items()}, read)
    commits = await consumer.committed(tps)
    fresh = [tp for tp in tps if tp not in commits]
    if fresh:
        metadata = CommitMetadata(partitions).encode()
        beginnings = await consumer.earliest_offsets(*fresh)
        first = {tp: (beginnings[tp], metadata) for tp in fresh}
        await consumer.commit_with(first)  # False in a rebalance: then this is asked again
        commits |= first
    return {
        tp.partition: Start(offset, ends[tp], read_metadata(text)) for tp, (offset, text) in commits.items()
    }
