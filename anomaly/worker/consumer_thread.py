"""The thread of a worker that talks to the broker: short fetches, commits with metadata, heartbeats as the lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import faust
from aiokafka.errors import CommitFailedError, IllegalStateError, RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaTopicPartition
from faust.transport.drivers import aiokafka as stock
from faust.types import TP

from anomaly.worker.guard import Lease

FETCH_MAX_WAIT_MS = 100


class BatchApp(faust.App):
    """A Faust app with what this transport asks for."""

    def __init__(self, *args: Any, lease: Lease, idempotent: bool, **kwargs: Any) -> None:
        self.lease = lease
        self.idempotent = idempotent
        super().__init__(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Fetched:
    """One partition's latest answer to a fetch."""

    stamp: int
    """Another one for every answer; a wall clock's, so only that it changes says something."""
    end: int
    """Where the partition ended then."""
    position: int
    """Where the next fetch begins: records, and what transactions leave behind them, are read up to here."""
    delivered: int | None = None
    """The offset after the last record that the agent was given."""


class ConsumerThread(stock.AIOKafkaConsumerThread):
    """Stock, with what the module's docstring says."""

    app: BatchApp

    async def on_start(self) -> None:
        """Start the consumer, and watch its heartbeats."""
        await super().on_start()
        _renew_with_heartbeats(self._ensure_consumer()._coordinator, self.app.lease)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # Faust hard-codes 1500
        return consumer

    def partition_count(self, topic: str) -> int | None:
        """How many partitions `topic` has, by the latest metadata."""
        found = self._ensure_consumer()._client.cluster.partitions_for_topic(topic)
        return len(found) if found else None

    def fetched(self, tp: TP) -> Fetched | None:
        """The latest answer to a fetch of `tp`; None before the first, or when it is not ours."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        if assignment is None or KafkaTopicPartition(*tp) not in assignment.tps:
            return None
        state = assignment.state_value(KafkaTopicPartition(*tp))
        if state.timestamp is None or not state.has_valid_position:
            return None
        return Fetched(state.timestamp, state.highwater, state.position)

    async def commit_with(self, commits: Mapping[TP, tuple[int, str]]) -> bool:
        """Commit offsets with metadata; False when a rebalance makes that impossible now. Raises `KafkaError`."""
        offsets = {KafkaTopicPartition(*tp): OffsetAndMetadata(*commit) for tp, commit in commits.items()}
        consumer = self._ensure_consumer()
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError, RebalanceInProgressError):
            return False
        return True

    async def committed(self, partitions: list[TP]) -> dict[TP, tuple[int, str]]:
        """Committed offset and metadata of each partition that has one."""
        asked = [KafkaTopicPartition(*tp) for tp in partitions]
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(asked)
        return {
            TP(*tp): (commit.offset, commit.metadata) for tp, commit in found.items() if commit.offset >= 0
        }


def _renew_with_heartbeats(coordinator: Any, lease: Lease) -> None:
    send = coordinator._do_heartbeat

    async def heartbeat() -> bool:
        sent = lease.now()
        answered: bool = await send()
        if answered:
            lease.renew(sent)
        return answered

    coordinator._do_heartbeat = heartbeat
