"""One notifier's world: topics of its own on a real broker, its anomaly.toml, transitions and actions as they come."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from anomaly.incidents.actions import IncidentAction, encode_action
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.settings import Settings
from anomaly.settings_sources import load
from anomaly.topic_admin import look
from anomaly.topic_admin import until as settle
from anomaly.topics import Topics, home_partition, topic_configurations
from tests.notify.pages import nan_gradient
from tests.notify.recording_server import RecordingServer
from tests.worker.processes import NotifierProcess

PARTITIONS = 4
SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
PATIENCE_SECONDS = 60.0


async def until(
    what: str, seen: Callable[[], bool], seconds: float = PATIENCE_SECONDS, pause: float = 0.05
) -> None:
    """Return once `seen` says yes; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(pause)


def webhook(name: str, server: RecordingServer, **more: object) -> str:
    """A receiver that posts to `server`."""
    lines = {"name": name, "type": "webhook", "url": f"{server.url}/{name}", **more}
    return "[[receivers]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


def told(server: RecordingServer) -> list[dict[str, Any]]:
    """What `server` was told, in order: the payloads, with their idempotency keys as `id`."""
    return [{"id": request.headers["webhook-id"], **request.json} for request in list(server.requests)]


def keys(server: RecordingServer, event: str = "") -> list[str]:
    """The idempotency keys in order, of one event or of all."""
    return [one["id"] for one in told(server) if one["type"].endswith(event)]


def repeats(names: list[str]) -> list[str]:
    """Those that came more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def incident(number: int, transition: int = 0, **changes: object) -> Transition:
    """A transition of the incident of this number, in a run of its own, written now."""
    now = time.time()
    fields: dict[str, object] = {
        "incident": f"{number:016x}",
        "run": f"run-{number}",
        "transition": transition,
        "severity": Severity.WARNING,
        "status": Status.UPDATED if transition else Status.OPENED,
        "opened_unix_seconds": now,
        "updated_unix_seconds": now,
    }
    return nan_gradient(**(fields | changes))


def over(number: int, transition: int = 1, **changes: object) -> Transition:
    """Its end."""
    return incident(number, transition, status=Status.RESOLVED, **changes)


class Stage:
    """`folder` holds anomaly.toml, its secret and logs."""

    def __init__(self, bootstrap_servers: str, prefix: str, folder: Path) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.topics = Topics(prefix)
        self.folder = folder
        self._producer: AIOKafkaProducer | None = None
        (folder / "secret").write_text(SECRET)

    def configure(self, *tables: str, **settings: object) -> Settings:
        """Write anomaly.toml; every webhook gets the secret."""
        head = {
            "bootstrap_servers": self.bootstrap_servers,
            "topic_prefix": self.topics.prefix,
            "partitions": PARTITIONS,
        }
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in (head | settings).items())
        secret = f"secret_file = {json.dumps(str(self.folder / 'secret'))}\n"
        text += "".join(table + (secret if 'type = "webhook"' in table else "") for table in tables)
        (self.folder / "anomaly.toml").write_text(text)
        return load({}, {}, self.folder).settings

    def notifier(self, **options: Any) -> NotifierProcess:
        """Not started yet."""
        return NotifierProcess(self.folder, **options)

    async def make_topics(self) -> None:
        """As a worker makes them."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        configurations = topic_configurations(self.topics, 7, 1 << 20)
        names = self.topics.of_notifier
        await admin.create_topics(
            [NewTopic(name, PARTITIONS, 1, topic_configs=configurations[name]) for name in names]
        )
        await _shown(admin, set(names))
        await admin.close()

    async def publish(self, *transitions: Transition) -> None:
        """As a worker writes them: in their run's partition, acknowledged."""
        for one in transitions:
            await self._send(self.topics.incidents, one.run, one.encode())

    async def publish_many(self, transitions: list[Transition]) -> None:
        """The same, as fast as it goes."""
        await asyncio.gather(
            *(self._send(self.topics.incidents, one.run, one.encode()) for one in transitions)
        )

    async def publish_raw(self, value: bytes) -> None:
        """Whatever it is."""
        await self._send(self.topics.incidents, "raw", value)

    async def act(self, **fields: Any) -> None:
        """What a person does with an incident."""
        action = IncidentAction(who="ana", why="test", unix_seconds=time.time(), **fields)
        await self._send(self.topics.incident_actions, action.incident or "match", encode_action(action))

    async def committed(self, receiver: str) -> int:
        """How many transitions the receiver's group is past, of all partitions."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            tps = [TopicPartition(self.topics.incidents, partition) for partition in range(PARTITIONS)]
            commits = await admin.list_consumer_group_offsets(
                self.topics.notify_group(receiver), partitions=tps
            )
            return sum(max(commit.offset, 0) for commit in commits.values())
        finally:
            await admin.close()

    async def ledger(self) -> list[tuple[bytes, bytes | None]]:
        """Every record of the notifications topic now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            tps = [TopicPartition(self.topics.notifications, partition) for partition in range(PARTITIONS)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            await consumer.seek_to_beginning(*tps)
            found = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                batches = await consumer.getmany(timeout_ms=200)
                found += [(one.key, one.value) for one in itertools.chain(*batches.values())]
            return found
        finally:
            await consumer.stop()

    async def _send(self, topic: str, key: str, value: bytes) -> None:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap_servers, acks="all", max_batch_size=1
            )
            await self._producer.start()
        partition = home_partition(key.encode(), PARTITIONS)
        await self._producer.send_and_wait(topic, value, key.encode(), partition=partition)

    async def close(self) -> None:
        """Give back the connection."""
        if self._producer is not None:
            await self._producer.stop()


async def _shown(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    async def missing() -> bool | None:
        return True if names <= (await look(admin)).partitions.keys() else None

    await settle(missing, "the topics are not there")


def play(stage: Stage, play: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine with the stage's topics there."""

    async def whole() -> None:
        await stage.make_topics()
        try:
            await play()
        finally:
            await stage.close()

    asyncio.run(whole())
