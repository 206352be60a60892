"""The ACLs that docs/security.md lists, as the tests grant them; topics as an administrator makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

from confluent_kafka.admin import AclOperation

from anomaly.settings import Settings
from anomaly.topics import Topics
from anomaly.worker.preflight import preflight
from tests.security.cluster import Allowed, SecureKafka, group, topic
from tests.security.logins import settings_of
from tests.worker.topic_tools import Client, Record

PARTITIONS = 2


def of_hook(topics: Topics) -> list[Allowed]:
    """What a training job needs."""
    return topic(topics.telemetry, AclOperation.WRITE)


def of_worker(topics: Topics) -> dict[str, list[Allowed]]:
    """What a worker needs on topics that are there, one entry for each that can be missing."""
    read, write, describe = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
    return {
        "telemetry READ": topic(topics.telemetry, read),
        "telemetry WRITE": topic(topics.telemetry, write),
        "incidents READ": topic(topics.incidents, read),
        "incidents WRITE": topic(topics.incidents, write),
        "deadletter WRITE": topic(topics.deadletter, write),
        "changelog READ": topic(topics.changelog, read),
        "changelog WRITE": topic(topics.changelog, write),
        "incident-actions DESCRIBE": topic(topics.incident_actions, describe),
        "group READ": group(topics.consumer_group, read),
    }


def of_worker_that_creates(topics: Topics) -> list[Allowed]:
    """What a worker needs that makes its topics, all under the team's prefix."""
    operations = (AclOperation.READ, AclOperation.WRITE, AclOperation.CREATE)
    return topic(f"{topics.prefix}.*", *operations) + group(topics.consumer_group, AclOperation.READ)


def of_notifier(topics: Topics, receiver: str) -> dict[str, list[Allowed]]:
    """What a notifier needs on topics that are there, one entry for each that can be missing."""
    read, write = AclOperation.READ, AclOperation.WRITE
    return {
        "incidents READ": topic(topics.incidents, read),
        "incident-actions READ": topic(topics.incident_actions, read),
        "notifications READ": topic(topics.notifications, read),
        "notifications WRITE": topic(topics.notifications, write),
        "group READ": group(topics.notify_group(receiver), read),
    }


def made(secure: SecureKafka, topics: Topics) -> Topics:
    """Make the topics as an administrator would."""
    settings = Settings(
        bootstrap_servers=secure.bootstrap_servers, topic_prefix=topics.prefix, partitions=PARTITIONS
    )
    assert asyncio.run(preflight(settings)) == PARTITIONS
    return topics


def settings_for(secure: SecureKafka, topics: Topics, password: str) -> Settings:
    """A worker that logs in under the name of the topics' prefix."""
    connection = secure.connection(sasl_username=topics.prefix, sasl_password=password)
    return replace(settings_of(connection), topic_prefix=topics.prefix, partitions=PARTITIONS)


def keys(client: Client, name: str) -> list[bytes]:
    return [record.key for records in everything(client, name) for record in records]


def values(client: Client, name: str) -> list[bytes]:
    return [record.value for records in everything(client, name) for record in records]


def everything(client: Client, name: str) -> Collection[list[Record]]:
    return asyncio.run(client.read(name, PARTITIONS)).values()
