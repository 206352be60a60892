"""The ACLs that docs/security.md lists, as the tests grant them."""

from __future__ import annotations

from confluent_kafka.admin import AclOperation

from anomaly.topics import Topics
from tests.security.cluster import Allowed, group, topic


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
