"""The changelog's size follows what is live, not what was ever written, on Apache Kafka with its cleaner at work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from anomaly.settings import Settings
from anomaly.topics import Topics
from anomaly.worker.preflight import preflight
from tests.conftest import Kafka
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, step

RUNS = 10
LAYERS = {f"h.{at}": {"grad_norm": 1.0, "act_rms": 1.0, "weight_norm": 1.0} for at in range(80)}
SEGMENT = 1 << 20
OVERWRITTEN = 50
"""Times that all states were written in this test; a day's worth differs only in how often the cleaner passed."""


def roll_soon(servers: str, topic: str) -> None:
    """Small segments, which are cleaned as soon as they are full; everything else stays as the worker made it."""
    wanted = {"segment.bytes": str(SEGMENT), "min.compaction.lag.ms": "0"}
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in wanted.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


@pytest.mark.kafka("apache")
def test_after_fifty_times_its_size_was_written_the_changelog_holds_little_more_than_the_live_states(
    kafka: Kafka, tmp_path: Path
) -> None:
    client, topics = Client(kafka.bootstrap_servers), Topics(kafka.prefix)
    settings = Settings(bootstrap_servers=client.servers, topic_prefix=kafka.prefix, partitions=1)
    asyncio.run(preflight(settings))
    roll_soon(client.servers, topics.changelog)
    flags = ["--bootstrap-servers", client.servers, "--topic-prefix", kafka.prefix, "--partitions", "1"]
    with WorkerProcess(tmp_path, *flags, "--snapshot-seconds", "0.1") as worker:
        worker.wait_ready()
        at = 0
        while worker.metrics()["anomaly_snapshots_total"] < RUNS * OVERWRITTEN:
            records = [
                (f"run-{run}".encode(), step(f"run-{run}", at, loss=2.0, layers=LAYERS))
                for run in range(RUNS)
            ]
            asyncio.run(client.produce(topics.telemetry, records))
            at += 1
        eventually("all saved", lambda: worker.metrics()["anomaly_snapshot_age_seconds"] == 0)
        written = worker.metrics()["anomaly_snapshot_bytes_total"]
        worker.terminate()
    found: dict[str, int] = {}

    def compacted() -> bool:
        records = asyncio.run(client.read(topics.changelog, 1))[0]
        found["kept"] = sum(len(record.value or b"") for record in records)
        found["live"] = sum({record.key: len(record.value or b"") for record in records}.values())
        return found["kept"] <= 2 * found["live"] + SEGMENT

    eventually("the cleaner has passed", compacted, 120)
    print(f"written {written:.0f} bytes, kept {found['kept']}, live {found['live']}")
    assert written > 20 * found["live"]
