"""Topics as the worker needs them: what is there, what is missing, creating it or saying how to create it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from anomaly.errors import PreflightError
from anomaly.settings import Settings
from anomaly.topics import topic_configurations

CREATE_TIMEOUT_MS = 15_000
MOST_COPIES = 3


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


def missing_topics(settings: Settings, cluster: Cluster) -> list[TopicPlan]:
    """What to create. Telemetry that is there already decides how many partitions the others get."""
    topics = settings.topics
    partitions = cluster.partitions.get(topics.telemetry, settings.partitions)
    copies = settings.replication_factor or min(MOST_COPIES, cluster.brokers)
    wanted = topic_configurations(topics, settings.telemetry_retention_days, settings.max_message_bytes)
    return [
        TopicPlan(name, partitions, copies, configuration)
        for name, configuration in wanted.items()
        if name not in cluster.partitions
    ]


async def create_topics(admin: AIOKafkaAdminClient, plans: Iterable[TopicPlan], settings: Settings) -> None:
    """Create them; raise `PreflightError` with every line to type where this worker may not."""
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
            plans, {plan.name: str(error) or type(error).__name__ for plan in plans}, settings
        ) from error
    failures = {}
    for topic, code, message, *_ in response.topic_errors:
        if code and code != TopicAlreadyExistsError.errno:  # two workers may start at once
            failures[topic] = message or for_code(code).__name__
    if failures:
        raise _refused([plan for plan in plans if plan.name in failures], failures, settings)


def _refused(plans: list[TopicPlan], failures: Mapping[str, str], settings: Settings) -> PreflightError:
    reasons = "; ".join(f"{topic}: {reason}" for topic, reason in failures.items())
    lines = "\n".join(f"  {plan.command(settings)}" for plan in plans)
    return PreflightError(
        f"these topics are missing, or hidden from this worker, and it could not create them ({reasons}). If they are "
        f"there, allow it READ and WRITE on them; else allow it CREATE on topics that start with "
        f"{settings.topic_prefix!r}, or create them by hand:\n{lines}"
    )
