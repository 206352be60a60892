"""The brokers that other tests stand on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from anomaly.broker import DevelopmentBroker
from anomaly.errors import SettingsError
from tests.conftest import Kafka
from tests.kafka_servers import ApacheKafka


def make_topic(bootstrap_servers: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(timeout=20)


def publish(bootstrap_servers: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    producer.produce(topic, value)
    assert producer.flush(20) == 0


def first_value(bootstrap_servers: str, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        message = consumer.poll(20)
        return message.value() if message is not None else None
    finally:
        consumer.close()


def test_what_is_published_can_be_read_again(kafka: Kafka) -> None:
    topic = f"{kafka.prefix}.letters"
    make_topic(kafka.bootstrap_servers, topic)
    publish(kafka.bootstrap_servers, topic, b"a record")
    assert first_value(kafka.bootstrap_servers, topic) == b"a record"


@pytest.mark.kafka("apache")
def test_a_marker_asks_for_one_broker(kafka: Kafka) -> None:
    assert kafka.kind == "apache"
    assert not kafka.is_development_broker


@pytest.mark.usefixtures("apache_kafka")  # skipped where it cannot run
def test_a_killed_apache_kafka_comes_back_with_its_data() -> None:
    with ApacheKafka() as server:
        make_topic(server.bootstrap_servers, "letters")
        publish(server.bootstrap_servers, "letters", b"a record")
        server.kill()
        server.start()
        assert first_value(server.bootstrap_servers, "letters") == b"a record"


def test_a_stopped_development_broker_leaves_neither_process_nor_port() -> None:
    with DevelopmentBroker() as broker:
        pid, port = broker.pid, broker.port
        assert broker.bootstrap_servers == f"127.0.0.1:{port}"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_in_use_is_said_before_anything_starts() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} of 127.0.0.1.*pass another --port"):
            DevelopmentBroker(port)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_broker_command_ends_its_broker_when_it_is_asked_to_stop(stop: signal.Signals) -> None:
    program = "import sys; from anomaly.broker import main; sys.exit(main(['--port', '0']))"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        port = int(line.split("127.0.0.1:")[1].split(",")[0])
        process.send_signal(stop)
        assert process.wait(20) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
