"""What is wrong with Kafka is said before anything starts, in one sentence with what to do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka import Consumer

from anomaly.broker import free_port
from anomaly.errors import KafkaUnreachableError, PreflightError
from anomaly.settings import Settings
from anomaly.topics import PREFLIGHT_HEADER, PREFLIGHT_KEY
from anomaly.worker.commits import CommitMetadata
from anomaly.worker.preflight import preflight
from tests.conftest import Kafka
from tests.worker.processes import WorkerProcess, eventually


def settings_of(kafka: Kafka) -> Settings:
    return Settings(
        bootstrap_servers=kafka.bootstrap_servers, topic_prefix=kafka.prefix, partitions=3,
        development_broker=kafka.is_development_broker,
    )  # fmt: skip


def refusal(settings: Settings) -> str:
    with pytest.raises(PreflightError) as caught:
        asyncio.run(preflight(settings))
    return str(caught.value)


def create(settings: Settings, **partitions: int) -> None:
    async def run() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
        await admin.start()
        names = {name: getattr(settings.topics, name) for name in partitions}
        await admin.create_topics([NewTopic(names[name], count, 1) for name, count in partitions.items()])
        await admin.close()

    asyncio.run(run())


def commit(settings: Settings, offset: int, metadata: str) -> None:
    async def run() -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers, group_id=settings.topics.consumer_group,
            enable_auto_commit=False,
        )  # fmt: skip
        await consumer.start()
        tp = TopicPartition(settings.topics.telemetry, 0)
        consumer.assign([tp])
        await consumer.commit({tp: OffsetAndMetadata(offset, metadata)})
        await consumer.stop()

    asyncio.run(run())


def test_missing_topics_are_created_alike_and_a_second_worker_finds_them(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    assert asyncio.run(preflight(settings)) == 3
    assert asyncio.run(preflight(replace(settings, partitions=7))) == 3


def test_telemetry_that_is_there_decides_how_many_partitions_the_others_get(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    create(settings, telemetry=5)
    assert asyncio.run(preflight(settings)) == 5


def test_test_writes_carry_the_key_and_header_that_every_reader_passes_over(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    asyncio.run(preflight(settings))

    async def read() -> list[tuple[bytes, bytes, list[str]]]:
        consumer = AIOKafkaConsumer(
            settings.topics.changelog,
            bootstrap_servers=settings.bootstrap_servers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        record = await asyncio.wait_for(consumer.getone(), 20)
        await consumer.stop()
        return [(record.key, record.value, [name for name, _ in record.headers])]

    assert asyncio.run(read()) == [(PREFLIGHT_KEY, b"", [PREFLIGHT_HEADER])]


def test_unequal_partition_counts_are_refused(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    create(settings, telemetry=4, incidents=2)
    text = refusal(settings)
    assert f"{kafka.prefix}.incidents has 2 partitions and {kafka.prefix}.telemetry has 4" in text
    assert "choose another topic_prefix" in text


@pytest.mark.kafka("apache")
def test_topics_that_may_not_be_created_are_told_as_lines_to_type(kafka: Kafka) -> None:
    settings = replace(settings_of(kafka), replication_factor=3)
    text = refusal(settings)
    assert "could not create them" in text
    lines = [line.strip() for line in text.splitlines()[1:]]
    assert len(lines) == 5
    assert lines[0].startswith(
        f"kafka-topics.sh --bootstrap-server {kafka.bootstrap_servers} --create --topic {kafka.prefix}.telemetry "
        "--partitions 3 --replication-factor 3 --config cleanup.policy=delete --config retention.ms=604800000"
    )


@pytest.mark.kafka("apache")
def test_commits_beyond_the_end_mean_a_topic_made_anew(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    asyncio.run(preflight(settings))
    commit(settings, 1000, "")
    text = refusal(settings)
    assert "has committed 1000: the topic was made anew" in text
    assert "--group" in text


@pytest.mark.kafka("apache")
def test_a_partition_count_that_changed_since_the_last_commit_is_refused(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    asyncio.run(preflight(settings))
    commit(settings, 0, CommitMetadata(partitions=2, incidents=0).encode())
    assert "has 3 partitions, and had 2 when group" in refusal(settings)


@pytest.mark.kafka("apache")
def test_a_group_that_others_use_is_refused(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    asyncio.run(preflight(settings))

    async def run() -> None:
        consumer = AIOKafkaConsumer(
            settings.topics.telemetry, bootstrap_servers=settings.bootstrap_servers,
            group_id=settings.topics.consumer_group,
        )  # fmt: skip
        await consumer.start()
        try:
            with pytest.raises(PreflightError, match="1 members that are no anomaly workers"):
                await preflight(settings)
        finally:
            await consumer.stop()

    asyncio.run(run())


def test_nobody_at_the_address_is_said_with_the_reason() -> None:
    port = free_port()
    with pytest.raises(
        KafkaUnreachableError, match=rf"no Kafka broker answers at 127.0.0.1:{port} \(.*refused|failed"
    ):
        asyncio.run(preflight(Settings(bootstrap_servers=f"127.0.0.1:{port}")))


def test_the_process_exits_with_69_when_kafka_is_unreachable(tmp_path: Path) -> None:
    with WorkerProcess(
        tmp_path, "--bootstrap-servers", f"127.0.0.1:{free_port()}", supervised=False
    ) as worker:
        assert worker.wait() == 69
        assert "start it, or correct bootstrap_servers" in worker.text
        assert "Traceback" not in worker.text


@pytest.mark.kafka("apache")
def test_the_process_exits_with_2_when_it_is_refused(kafka: Kafka, tmp_path: Path) -> None:
    create(settings_of(kafka), telemetry=4, incidents=2)
    flags = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix]
    with WorkerProcess(tmp_path, *flags) as worker:
        assert worker.wait() == 2
        assert "must be equal" in worker.text
        assert "Traceback" not in worker.text


@pytest.mark.kafka("apache")
def test_a_changelog_with_another_partition_count_is_refused(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    create(settings, telemetry=4, incidents=4, changelog=2)
    assert f"{settings.topics.changelog} has 2 partitions and {settings.topics.telemetry} has 4" in refusal(
        settings
    )


@pytest.mark.kafka("apache")
def test_a_consumer_of_the_new_protocol_in_the_group_is_refused(kafka: Kafka) -> None:
    settings = settings_of(kafka)
    asyncio.run(preflight(settings))
    other = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers, "group.id": settings.topics.consumer_group,
            "group.protocol": "consumer",
        }
    )  # fmt: skip
    other.subscribe([settings.topics.telemetry])
    try:
        eventually(
            "the other one is in the group", lambda: other.poll(0.2) is not None or bool(other.assignment())
        )
        assert "belongs to consumers of Kafka's newer group protocol" in refusal(settings)
    finally:
        other.close()


def test_a_data_dir_whose_parent_is_a_file_is_said_and_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "anomaly", "worker", "--data-dir", str(tmp_path / "file" / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f"data_dir: got {tmp_path}/file/data, which cannot be made (Not a directory)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_dir_whose_parent_is_missing_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    command = [
        sys.executable, "-m", "anomaly", "worker", "--data-dir", str(folder), "--metrics-address", "127.0.0.1:0",
        "--bootstrap-servers", f"127.0.0.1:{free_port()}",
    ]  # fmt: skip
    assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 69
    assert folder.is_dir()
