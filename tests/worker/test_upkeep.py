"""A worker on Apache Kafka, some of whose runs are quiet, over, long forgotten, or written by somebody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from anomaly.monitor import RunState, snapshot
from anomaly.topics import Topics
from tests.conftest import Kafka
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, Record, saved_states, step, undisturbed

PARTITIONS = 2
NAN = float("nan")
HOUR, DAY = 3_600, 86_400
QUIET = ["quiet-0", "quiet-1", "quiet-2"]


async def produce(
    servers: str, topic: str, records: Sequence[tuple[str, bytes | None, float, int | None]]
) -> None:
    """(key, value, seconds ago, partition) each."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        for key, value, ago, partition in records:
            stamp = int((time.time() - ago) * 1000)
            await producer.send_and_wait(topic, value, key.encode(), partition, stamp)
    finally:
        await producer.stop()


def last_of(changelog: dict[int, list[Record]], run: str) -> Record:
    return [record for records in changelog.values() for record in records if record.key == run.encode()][-1]


@pytest.mark.kafka("apache")
def test_runs_leave_memory_and_the_changelog_when_their_time_has_come_and_ours_is_the_last_word(
    kafka: Kafka, tmp_path: Path
) -> None:
    client, topics = Client(kafka.bootstrap_servers), Topics(kafka.prefix)
    flags = ["--bootstrap-servers", client.servers, "--topic-prefix", kafka.prefix]
    flags += ["--partitions", str(PARTITIONS), "--idle-run-seconds", "1"]
    end = {"events": [{"kind": "finished"}]}
    old = [
        ("forgotten", step("forgotten", 1, loss=NAN), 30 * DAY, None),
        ("over", step("over", 1, loss=NAN, **end), 3 * HOUR, None),
    ]
    now = [(run, step(run, at, loss=2.0 + at / 100), 0.0, None) for at in range(12) for run in QUIET]
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        asyncio.run(produce(client.servers, topics.telemetry, [*old, *now]))
        wanted = {
            "anomaly_closed_runs_total": 1,
            "anomaly_forgotten_runs_total": 1,
            "anomaly_runs": 4,
            "anomaly_idle_runs": 4,
            "anomaly_snapshot_age_seconds": 0,
        }
        eventually(
            "closed, forgotten and out of memory",
            lambda: wanted.items() <= worker.metrics().items(),
        )
        shown = worker.metrics()
        assert shown['anomaly_run_step{run="quiet-0"}'] == 11
        assert shown['anomaly_run_loss{run="quiet-0"}'] == pytest.approx(2.11)
        changelog = asyncio.run(client.read(topics.changelog, PARTITIONS))
        assert last_of(changelog, "forgotten").value is None
        assert len(last_of(changelog, "over").value) < 600
        ours = last_of(changelog, "quiet-0")
        late = snapshot.dump(RunState("quiet-0", offset=0))
        ghost = snapshot.dump(RunState("ghost", offset=0))
        foreign = [("quiet-0", late, 0.0, ours.partition), ("ghost", ghost, 0.0, ours.partition)]
        asyncio.run(produce(client.servers, topics.changelog, foreign))

        def ours_is_last() -> bool:
            found = asyncio.run(client.read(topics.changelog, PARTITIONS))
            return last_of(found, "ghost").value is None and last_of(found, "quiet-0").value != late

        eventually("ours is the last word", ours_is_last)
        assert worker.metrics()["anomaly_foreign_snapshots_total"] == 2
        worker.kill()
        eventually("started again", lambda: worker.text.count(" ready: ") == 2)
        more = [(run, step(run, 12, loss=NAN), 0.0, None) for run in QUIET]
        asyncio.run(produce(client.servers, topics.telemetry, more))
        opened = 'anomaly_transitions_total{status="opened"}'
        eventually("incidents of runs that were away", lambda: worker.metrics()[opened] == 3)
        worker.terminate()
    changelog = asyncio.run(client.read(topics.changelog, PARTITIONS))
    _, states = undisturbed(asyncio.run(client.read(topics.telemetry, PARTITIONS)), PARTITIONS)
    saved = saved_states(changelog)
    assert {run: saved[run] for run in QUIET} == {run: states[run] for run in QUIET}
