"""Topics from outside the worker: plain clients that write, read to the end and ask for commits."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from anomaly.errors import SnapshotError
from anomaly.monitor import PartitionMonitor, RunState, snapshot
from anomaly.topics import Topics, is_preflight

Record = Any
"""aiokafka's ConsumerRecord."""


def step(run: str, step: float, **values: Any) -> bytes:
    """A JSON step record."""
    return json.dumps({"run": run, "step": step, "time": 1_790_000_000.0 + step, **values}).encode()


class Client:
    """One broker, as a bystander sees it."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.servers = bootstrap_servers

    async def produce(self, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Write (key, value) pairs in order, wherever aiokafka's default partitioner puts them."""
        # A record a batch: the embedded broker's latest offset is the base of the last batch + 1.
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, max_batch_size=1)
        await producer.start()
        try:
            for key, value in records:
                await producer.send(topic, value, key)
            await producer.flush()
        finally:
            await producer.stop()

    async def read(self, topic: str, partitions: int) -> dict[int, list[Record]]:
        """Everything in `topic` now, by partition, without what preflight wrote."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            tps = [TopicPartition(topic, partition) for partition in range(partitions)]
            ends = await consumer.end_offsets(tps)
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            found: dict[int, list[Record]] = defaultdict(list)
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    found[tp.partition] += [
                        each for each in records if not is_preflight(each.key, each.value)
                    ]
            return {partition: records for partition, records in found.items() if records}
        finally:
            await consumer.stop()

    async def committed(self, topics: Topics, partitions: int) -> dict[int, int]:
        """The group's commits in telemetry."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            tps = [TopicPartition(topics.telemetry, partition) for partition in range(partitions)]
            commits = await admin.list_consumer_group_offsets(topics.consumer_group, partitions=tps)
            return {tp.partition: commit.offset for tp, commit in commits.items()}
        finally:
            await admin.close()


def undisturbed(
    log: dict[int, list[Record]], partitions: int
) -> tuple[dict[int, list[bytes]], dict[str, bytes]]:
    """What a monitor without Kafka, given one record at a time, makes of the same log: transitions and states."""
    transitions: dict[int, list[bytes]] = {}
    states: dict[str, bytes] = {}
    for partition, records in log.items():
        monitor = PartitionMonitor(partition, partitions)
        outcomes = [monitor.process([record]) for record in records]
        transitions[partition] = [each.encode() for outcome in outcomes for _, each in outcome.transitions]
        states |= {run: without_marks(state) for run, state in monitor.runs.items()}
    return transitions, states


def saved_states(changelog: dict[int, list[Record]]) -> dict[str, bytes]:
    """The last snapshot of each run, without offset and revision; unreadable ones are passed over."""
    states: dict[str, bytes] = {}
    for records in changelog.values():
        for record in records:
            if record.value is None:
                states.pop(record.key.decode(), None)
                continue
            try:
                states[record.key.decode()] = without_marks(snapshot.load(record.value))
            except SnapshotError:  # damaged on purpose
                continue
    return states


def without_marks(state: RunState) -> bytes:
    """The state's bytes without offset, revision and forwarding marks."""
    return snapshot.dump(state, marks=False)
