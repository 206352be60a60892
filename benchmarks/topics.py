"""Topics filled before anything is measured, so that no program waits for a producer."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from anomaly.settings import Settings
from anomaly.topics import Topics, topic_configurations

PARTITIONS = 8
FLUSH_SECONDS = 60.0
LOG_ERRORS = 3
"""Of librdkafka's levels, those of syslog."""


def make_topic(bootstrap_servers: str, topics: Topics) -> None:
    """Create the telemetry topic, configured as the worker would."""
    settings = Settings()
    configuration = topic_configurations(
        topics, settings.telemetry_retention_days, settings.max_message_bytes
    )
    topic = NewTopic(topics.telemetry, PARTITIONS, 1, config=configuration[topics.telemetry])
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": LOG_ERRORS})
    for future in admin.create_topics([topic]).values():
        future.result()


def loader(bootstrap_servers: str, failures: list[KafkaError]) -> Producer:
    """Librdkafka's producer with its default batches and Java's partitioner; what is not taken goes to `failures`."""

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    return Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "log_level": LOG_ERRORS,
            "partitioner": "murmur2_random",  # a record elsewhere than at home would be forwarded
            "max.in.flight.requests.per.connection": 1,  # a repeated request would overtake what follows it
            "queue.buffering.max.kbytes": 65_536,
            "on_delivery": delivered,
        }
    )


def fill(bootstrap_servers: str, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
    """Publish all (key, value) with librdkafka: its default batches, Java's partitioner. Returns once acknowledged."""
    failures: list[KafkaError] = []
    producer = loader(bootstrap_servers, failures)
    for key, value in messages:
        while True:
            try:
                producer.produce(topic, value, key=key)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(FLUSH_SECONDS) or failures:
        raise RuntimeError(f"{topic} could not be filled: {failures[:1] or 'no acknowledgement'}")
