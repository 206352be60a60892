"""Topics and groups as a worker or a notifier needs them: what is there, what is missing, creating it or saying how,
and whether it may be written.

`who` in a message is who asks: "this worker", "this notifier".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest

from anomaly.errors import PreflightError
from anomaly.settings import Settings
from anomaly.topics import PREFLIGHT_HEADER, PREFLIGHT_KEY, topic_configurations

CREATE_TIMEOUT_MS = 15_000
MOST_COPIES = 3
PATIENCE_SECONDS = 15.0
POLL_SECONDS = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a broker says: how many brokers there are, and each visible topic's partitions."""

    brokers: int
    partitions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic to create."""

    name: str
    partitions: int
    replication_factor: int
    configuration: Mapping[str, str]

    def command(self, settings: Settings) -> str:
        """The line that creates it by hand."""
        secured = " --command-config client.properties" if settings.security_protocol != "PLAINTEXT" else ""
        options = "".join(f" --config {name}={value}" for name, value in self.configuration.items())
        return (
            f"kafka-topics.sh --bootstrap-server {settings.bootstrap_servers}{secured} --create --topic {self.name}"
            f" --partitions {self.partitions} --replication-factor {self.replication_factor}{options}"
        )


async def look(admin: AIOKafkaAdminClient) -> Cluster:
    """Read the cluster's metadata: all topics at once, because asking for one by name may create it."""
    cluster = await admin.describe_cluster()
    topics = await admin.describe_topics()
    counts = {topic["topic"]: len(topic["partitions"]) for topic in topics if topic["partitions"]}
    return Cluster(len(cluster["brokers"]), counts)


def missing_topics(settings: Settings, cluster: Cluster, names: Iterable[str]) -> list[TopicPlan]:
    """What of `names` to create. Telemetry that is there already decides how many partitions the others get."""
    topics = settings.topics
    partitions = cluster.partitions.get(topics.telemetry, settings.partitions)
    copies = settings.replication_factor or min(MOST_COPIES, cluster.brokers)
    wanted = topic_configurations(topics, settings.telemetry_retention_days, settings.max_message_bytes)
    return [
        TopicPlan(name, partitions, copies, wanted[name]) for name in names if name not in cluster.partitions
    ]


async def ensure_topics(
    admin: AIOKafkaAdminClient, settings: Settings, names: tuple[str, ...], who: str
) -> Cluster:
    """Create what of `names` is missing; return the cluster with all of them. Raises `PreflightError`."""
    cluster = await look(admin)
    plans = missing_topics(settings, cluster, names)
    await create_topics(admin, plans, settings, who)
    created = {plan.name for plan in plans}

    async def see() -> Cluster | None:  # what one broker created, the next one may learn a moment later
        seen = await look(admin)
        return seen if created <= seen.partitions.keys() else None

    return await until(
        see,
        f"topics {', '.join(sorted(created))} are there now, but the cluster does not show them; allow {who} READ and "
        "WRITE on them. It waited, and gave up",
    )


async def coordinator_of(
    admin: AIOKafkaAdminClient,
    group: str,
    who: str,
    look_at: Callable[[int], Awaitable[None]] | None = None,
) -> int:
    """The node that coordinates `group`, which `who` may join. Raises `PreflightError`.

    `look_at` is asked about that node too, and again until the broker knows its groups.
    """

    async def ask() -> int | None:  # a broker that has just started does not know its groups yet
        try:
            node = int(await admin.find_coordinator(group))
            if look_at is not None:
                await look_at(node)
            await _may_join(admin, group, node)
        except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError):
            return None
        return node

    try:
        return await until(ask, f"no broker coordinates group {group}")
    except GroupAuthorizationFailedError:
        raise PreflightError(f"{who} may not use group {group}; allow it READ on that group") from None


async def _may_join(admin: AIOKafkaAdminClient, group: str, node: int) -> None:
    """Describing a group needs less than joining it; a heartbeat of nobody needs as much, and changes nothing."""
    response = await admin._send_request(HeartbeatRequest(group, -1, ""), node)
    if response.error_code == GroupAuthorizationFailedError.errno:
        raise GroupAuthorizationFailedError(group)


async def write_test_record(producer: AIOKafkaProducer, topic: str, who: str) -> Any:
    """Write what every reader passes over; return where it is. Raises `PreflightError` where it is refused, and as it
    is what says that no broker answers, or that `who` may write nowhere at all.
    """
    try:
        return await producer.send_and_wait(topic, b"", PREFLIGHT_KEY, headers=[(PREFLIGHT_HEADER, b"")])
    except TopicAuthorizationFailedError:
        raise PreflightError(f"{who} may not write to topic {topic}; allow it WRITE on that topic") from None
    except (KafkaConnectionError, NodeNotReadyError, ClusterAuthorizationFailedError):
        raise
    except KafkaError as error:
        raise PreflightError(
            f"a test record cannot be written to topic {topic} ({type(error).__name__}: {error}); look at the broker's "
            "log and at the topic's min.insync.replicas"
        ) from error


async def until(look_again: Callable[[], Awaitable[T | None]], otherwise: str) -> T:
    """Ask again and again, for a while, until there is an answer. Raises `PreflightError`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while (found := await look_again()) is None:
        if loop.time() > deadline:
            raise PreflightError(f"{otherwise} after {PATIENCE_SECONDS:g} s; look at the broker's log")
        await asyncio.sleep(POLL_SECONDS)
    return found


async def create_topics(
    admin: AIOKafkaAdminClient, plans: Iterable[TopicPlan], settings: Settings, who: str
) -> None:
    """Create them; raise `PreflightError` with every line to type where `who` may not."""
    plans = list(plans)
    if not plans:
        return
    requests = [
        NewTopic(plan.name, plan.partitions, plan.replication_factor, topic_configs=dict(plan.configuration))
        for plan in plans
    ]
    try:
        response = await admin.create_topics(requests, timeout_ms=CREATE_TIMEOUT_MS)
    except KafkaError as error:
        raise _refused(
            plans, {plan.name: str(error) or type(error).__name__ for plan in plans}, settings, who
        ) from error
    failures = {}
    for topic, code, message, *_ in response.topic_errors:
        if code and code != TopicAlreadyExistsError.errno:  # two workers may start at once
            failures[topic] = message or for_code(code).__name__
    if failures:
        raise _refused([plan for plan in plans if plan.name in failures], failures, settings, who)


def _refused(
    plans: list[TopicPlan], failures: Mapping[str, str], settings: Settings, who: str
) -> PreflightError:
    reasons = "; ".join(f"{topic}: {reason}" for topic, reason in failures.items())
    lines = "\n".join(f"  {plan.command(settings)}" for plan in plans)
    return PreflightError(
        f"these topics are missing, or hidden from {who}, and it could not create them ({reasons}). If they are "
        f"there, allow it READ and WRITE on them; else allow it CREATE on topics that start with "
        f"{settings.topic_prefix!r}, or create them by hand:\n{lines}"
    )
