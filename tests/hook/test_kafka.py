"""The hook against real brokers: away at the start, killed in the middle, the end of a process, forks."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from anomaly import Layout, Telemetry
from anomaly.broker import DevelopmentBroker, free_port
from anomaly.producer import Pacing
from anomaly.topics import Topics, home_partition
from tests.conftest import Kafka
from tests.hook.recording import in_first_order, read, sequences, wait_until
from tests.kafka_servers import ApacheKafka

SOON = Pacing(look=0.01, acknowledgement=5.0, first_backoff=0.05, longest_backoff=0.2, closing_backoff=0.05)


def make_topic(servers: str, topic: str, partitions: int = 3) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


def messages(servers: str, topic: str, partition: int) -> list[bytes]:
    """Everything in one partition."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reader", "enable.auto.commit": False})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        consumer.assign([TopicPartition(topic, partition, 0)])
        found: list[bytes] = []
        position = 0
        while position < end:
            message = consumer.poll(30)
            assert message is not None, f"{topic} ends at {end}, nothing came after {position}"
            assert message.error() is None
            found.append(message.value() or b"")
            position = (message.offset() or 0) + 1
        return found
    finally:
        consumer.close()


def test_records_arrive_in_their_home_partition(kafka: Kafka) -> None:
    topic = Topics(kafka.prefix).telemetry
    make_topic(kafka.bootstrap_servers, topic)
    with Telemetry("r1", bootstrap_servers=kafka.bootstrap_servers, topic_prefix=kafka.prefix) as run:
        run.layout(Layout(("a",), ("x",)))
        for step in range(100):
            run.step(step, loss=1.0, layers=np.ones((1, 1), dtype=np.float32))
    assert run.stats()["waiting"] == 0
    found = messages(kafka.bootstrap_servers, topic, home_partition(b"r1", 3))
    assert sequences(found)[:100] == list(range(100))
    assert read(found)[-1].events == ({"kind": "finished", "outcome": "completed"},)


def test_a_broker_that_is_away_at_the_start_gets_everything_once_it_comes(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.WARNING)
    port = free_port()
    run = Telemetry("r1", bootstrap_servers=f"127.0.0.1:{port}", pacing=SOON)
    for step in range(50):
        run.step(step, loss=1.0)
    wait_until(lambda: run.stats()["failures"] >= 3)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Unable connect" in caplog.messages[0]  # the reason, which aiokafka says only to its log
    with DevelopmentBroker(port) as broker:
        make_topic(broker.bootstrap_servers, "training.telemetry", 1)
        for step in range(50, 100):
            run.step(step, loss=1.0)
        assert run.close(30)
        assert sequences(messages(broker.bootstrap_servers, "training.telemetry", 0)) == list(range(100))
    assert len(caplog.records) == 1
    assert not recwarn.list


@pytest.fixture
def own_apache_kafka(request: pytest.FixtureRequest) -> Callable[[], ApacheKafka]:
    request.getfixturevalue("apache_kafka")  # skips or fails where there is none
    return ApacheKafka


def test_a_broker_killed_in_the_middle_loses_nothing_and_nothing_comes_out_of_order(
    own_apache_kafka: Callable[[], ApacheKafka], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with own_apache_kafka() as server:
        make_topic(server.bootstrap_servers, "training.telemetry", 1)
        run = Telemetry("r1", bootstrap_servers=server.bootstrap_servers, pacing=SOON)
        step = 0

        def step_until(condition: Callable[[], bool]) -> None:
            def stepped() -> bool:
                nonlocal step
                run.step(step, loss=float(step))
                step += 1
                return condition()

            wait_until(stepped, 60)

        step_until(lambda: run.stats()["acknowledged"] > 50)
        server.kill()
        waiting = step + 200
        step_until(lambda: step > waiting)
        server.start()
        acknowledged = run.stats()["acknowledged"]
        step_until(lambda: run.stats()["acknowledged"] > acknowledged + 300)
        assert run.close(60)
        found = sequences(messages(server.bootstrap_servers, "training.telemetry", 0))
    assert in_first_order(found) == list(range(step))
    assert run.stats()["dropped"] == 0
    assert len([record for record in caplog.records if record.name.startswith("a")]) <= 1


def python(program: str, servers: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANOMALY_BOOTSTRAP_SERVERS": servers, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_script_that_just_ends_has_sent_everything() -> None:
    program = """
        from anomaly import Telemetry
        run = Telemetry("r1")
        for step in range(100):
            run.step(step, loss=1.0)
    """
    with DevelopmentBroker() as broker:
        make_topic(broker.bootstrap_servers, "training.telemetry", 1)
        done = python(program, broker.bootstrap_servers)
        assert (done.returncode, done.stderr) == (0, "")
        assert sequences(messages(broker.bootstrap_servers, "training.telemetry", 0)) == list(range(100))


def test_a_script_that_fails_has_sent_how_far_it_came() -> None:
    program = """
        from anomaly import Telemetry
        with Telemetry("r1") as run:
            run.step(0, loss=1.0)
            raise ValueError("out of memory")
    """
    with DevelopmentBroker() as broker:
        make_topic(broker.bootstrap_servers, "training.telemetry", 1)
        done = python(program, broker.bootstrap_servers)
        assert done.returncode == 1
        assert done.stderr.endswith("ValueError: out of memory\n")
        records = read(messages(broker.bootstrap_servers, "training.telemetry", 0))
    assert records[-1].events == ({"kind": "finished", "outcome": "failed", "error": "ValueError"},)


def test_without_a_broker_a_script_ends_soon_and_says_so_once() -> None:
    program = """
        from anomaly import Telemetry
        run = Telemetry("r1")
        run.step(0, loss=1.0)
        run.close(timeout=0.5)
    """
    done = python(program, f"127.0.0.1:{free_port()}")
    assert done.returncode == 0
    assert done.stderr.count("cannot be sent") == 1
    assert done.stderr.count("ends incomplete") == 1
    assert len(done.stderr.splitlines()) == 2


def test_a_forked_child_neither_hangs_nor_reports() -> None:
    program = """
        import os, sys
        from anomaly import Telemetry
        run = Telemetry("r1")
        run.step(0, loss=1.0)
        while not run.stats()["acknowledged"]:
            pass
        child = os.fork()
        if not child:
            run.step(1, loss=1.0)
            run.event("phase", name="child")
            assert run.close()
            assert run.stats()["recorded"] == 1
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        run.step(1, loss=2.0)
    """
    with DevelopmentBroker() as broker:
        make_topic(broker.bootstrap_servers, "training.telemetry", 1)
        done = python(program, broker.bootstrap_servers)
        assert (done.returncode, done.stderr) == (0, "")
        records = read(messages(broker.bootstrap_servers, "training.telemetry", 0))
    assert [(record.sequence, record.model["loss"]) for record in records] == [(0, 1.0), (1, 2.0)]
    assert all(record.events == () for record in records)
