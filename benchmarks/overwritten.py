"""Recovery from a changelog in which every state was overwritten a hundred times: minutes, so only with ``--long``.

A worker judges and saves 1,000 runs. Then each of its snapshots is written again a hundred times, byte for byte, which
would take it most of an hour. The broker's cleaner has passed when a few times the live states are left on disk. A
worker starts on that, records come, and the rest is as for `recovery_1000_runs`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from anomaly.topics import Topics
from benchmarks.looks import LOOK_SECONDS
from benchmarks.rows import Row, row
from benchmarks.sections import Bench
from benchmarks.state import FULL, QUICK, RECOVERY_NOTE, State
from benchmarks.topics import PARTITIONS, fill

NAMES = ("recovery_1000_runs_overwritten",)
PREFIX = "bench-overwritten"
TIMES, QUICK_TIMES = 100, 2
CLEAN = 8.0
"""Times the live states: what the cleaner leaves alone are the newest segments, 32 MiB of each partition."""
LONGEST_SECONDS = 480.0
POLL_SECONDS = 5.0


def measure(bench: Bench) -> list[Row]:
    """One row. RuntimeError on a broker without a cleaner."""
    if bench.broker.logs is None:
        raise RuntimeError("this broker has no cleaner; Apache Kafka is needed")
    state = State(bench, QUICK if bench.quick else FULL, PREFIX)
    backlog = state.backlog()
    with state.worker("rolling") as worker:
        state.caught_up(worker, backlog.values)
        state.saved(worker)
    changelog = Topics(PREFIX, f"{PREFIX}-rolling").changelog
    times = QUICK_TIMES if bench.quick else TIMES
    states = dict(_records(bench.broker.bootstrap_servers, changelog))
    live = sum(map(len, states.values()))
    fill(
        bench.broker.bootstrap_servers, changelog, (record for _ in range(times) for record in states.items())
    )
    left = _cleaned(bench.broker.logs, changelog, CLEAN * live + (32 << 20) * PARTITIONS)
    with state.worker("rolling") as worker, state.published():
        state.caught_up(worker, 1)
        back = state.recovery(worker)
    note = (
        f"{times} times {live / 1e6:.0f} MB written, {left / 1e6:.0f} MB left by the cleaner; {RECOVERY_NOTE}"
    )
    return [row(NAMES[0], back, "s", note)]


def _records(bootstrap_servers: str, topic: str) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every record with a value."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "bench-overwritten-reader"})
    try:
        for number in range(PARTITIONS):
            partition = TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(partition)
            consumer.assign([partition])
            while consumer.position([partition])[0].offset < end:
                record = consumer.poll(POLL_SECONDS)
                if record is None or record.error():
                    raise RuntimeError(f"{topic} could not be read: {record and record.error()}")
                key, value = record.key(), record.value()
                if key and value:
                    yield key, value
                if record.offset() == end - 1:
                    break
    finally:
        consumer.close()


def _cleaned(logs: Path, topic: str, wanted: float) -> int:
    """Bytes of `topic` on disk once at most `wanted` are left."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while (left := sum(path.stat().st_size for path in logs.glob(f"{topic}-*/*.log"))) > wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{left / 1e6:,.0f} MB are left in {topic} after {LONGEST_SECONDS:g} s: not cleaned"
            )
        time.sleep(LOOK_SECONDS)
    return left
